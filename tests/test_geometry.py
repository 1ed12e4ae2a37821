"""Boosts: against the matrix exponential, against present, the group's laws, the rotation in a product."""

from __future__ import annotations

import math

import numpy as np
import pytest
from backends import MAKERS, host
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.linalg import expm, polar

from bionet import plasticity
from bionet.measures import geometry

SEEDS = st.integers(0, 2**32)
DOSES = st.floats(-4, 4)


def directions(seed, count=2, features=6):
    u = np.random.default_rng(seed).standard_normal((count, features))
    return u / np.linalg.norm(u, axis=1, keepdims=True)


def rows_inside(seed, count=7, features=6, nearest=1e-6):
    """Rows of every radius below 1, some as near to the sphere as `nearest`."""
    rng = np.random.default_rng(seed)
    W = rng.standard_normal((count, features))
    radii = 1 - nearest ** rng.uniform(0, 1, count)
    return W / np.linalg.norm(W, axis=1, keepdims=True) * radii[:, None]


def generator(u):
    """K_u, built entry by entry."""
    N = u.size
    K = np.zeros((N + 1, N + 1))
    for i in range(N):
        K[i, N] = K[N, i] = u[i]
    return K


def signature(features):
    return np.diag([1.0] * features + [-1.0])


def widened(R):
    wide = np.eye(len(R) + 1)
    wide[:-1, :-1] = R
    return wide


def angle_between(u, v):
    return math.atan2(np.linalg.norm(v - (u @ v) * u), u @ v)


@given(SEEDS, st.floats(-6, 6), st.integers(1, 9))
def test_the_boost_is_the_exponential_of_its_generator(seed, s, features):
    """scipy's matrix exponential knows nothing of cosh and sinh."""
    (u,) = directions(seed, 1, features)
    L = geometry.boost_matrix(u, s)
    np.testing.assert_allclose(L, expm(s * generator(u)), rtol=0, atol=1e-12 * math.exp(abs(s)))


@given(SEEDS, st.floats(-1, 1), st.floats(0, 4))
def test_a_presentation_is_the_action_of_a_boost_inside_the_ball(seed, g, duration):
    W, v = rows_inside(seed), np.random.default_rng(seed + 1).standard_normal(6)
    a = np.linalg.norm(v)
    s = g * a * duration
    assume(abs(s) < 8)  # beyond, the matrix itself has lost 7 digits
    L = geometry.boost_matrix(v / a, s)
    expected = plasticity.present(W, v, np.full(7, g), duration)
    np.testing.assert_allclose(
        geometry.act(L, W), expected, rtol=0, atol=1e-15 * math.exp(2 * abs(s)) + 1e-12
    )


@given(SEEDS, st.sampled_from([-1.0, -0.4, 0.4, 1.0]), st.floats(0.05, 0.95))
def test_and_outside_up_to_the_blow_up(seed, g, fraction):
    rng = np.random.default_rng(seed)
    W, v = 5 * rng.standard_normal((7, 6)), rng.standard_normal(6)
    first = plasticity.blow_up_time(W, v, np.full(7, g)).min()
    assume(np.isfinite(first))
    a, T = np.linalg.norm(v), fraction * first
    moved = geometry.act(geometry.boost_matrix(v / a, g * a * T), W)
    np.testing.assert_allclose(moved, plasticity.present(W, v, np.full(7, g), T), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(moved, geometry.act(expm(g * a * T * generator(v / a)), W), rtol=1e-10)


@given(SEEDS, st.sampled_from([-1.0, 1.0]))
def test_past_infinity_the_action_raises_where_the_formula_is_finite_and_wrong(seed, g):
    rng = np.random.default_rng(seed)
    (u,) = directions(seed, 1)
    W = rng.standard_normal((1, 6))
    W += (-3.0 * g - W @ u)[:, None] * u  # y = 3, and g drives it outwards
    T = 1.3 * plasticity.blow_up_time(W, u, np.array([g]))[0]
    with pytest.raises(ArithmeticError, match="crossed infinity"):
        geometry.act(geometry.boost_matrix(u, g * T), W)
    wrong = plasticity.present(W, u, np.array([g]), T, check=False)
    assert np.sign(wrong @ u) == -np.sign(W @ u)  # back from the other side


def test_there_and_back_through_infinity_only_the_end_is_seen():
    """What the docstring warns of: a product of boosts can hide a crossing."""
    u, W = np.array([1.0, 0.0]), np.array([[3.0, 0.5]])
    out, back = geometry.boost_matrix(u, -1.0), geometry.boost_matrix(u, 1.0)
    np.testing.assert_allclose(geometry.act(back @ out, W), W, rtol=1e-12)
    with pytest.raises(ArithmeticError, match="crossed infinity"):
        geometry.act(out, W)


@given(SEEDS, DOSES, DOSES)
def test_products_keep_the_form_and_the_cone(seed, s1, s2):
    """L^T eta L = eta, and the last coordinate of what is inside stays positive."""
    u1, u2 = directions(seed)
    L = geometry.boost_matrix(u2, s2) @ geometry.boost_matrix(u1, s1)
    eta = signature(6)
    np.testing.assert_allclose(L.T @ eta @ L, eta, atol=1e-13 * math.exp(2 * (abs(s1) + abs(s2))))
    W = rows_inside(seed + 1)
    X = geometry.lift(W) @ L.T
    assert (X[:, -1] > 0).all()
    form = (X[:, :-1] ** 2).sum(axis=1) - X[:, -1] ** 2
    np.testing.assert_allclose(
        form, (W**2).sum(axis=1) - 1, rtol=0, atol=1e-13 * math.exp(2 * (abs(s1) + abs(s2)))
    )


@given(SEEDS, DOSES, DOSES)
def test_doses_of_parallel_images_add(seed, s1, s2):
    """Whatever their signs; opposite doses cancel; a negative image is a negative dose."""
    (u,) = directions(seed, 1)
    product = geometry.boost_matrix(u, s2) @ geometry.boost_matrix(u, s1)
    atol = 1e-14 * math.exp(abs(s1) + abs(s2))
    np.testing.assert_allclose(product, geometry.boost_matrix(u, s1 + s2), rtol=0, atol=atol)
    np.testing.assert_array_equal(geometry.boost_matrix(-u, s1), geometry.boost_matrix(u, -s1))
    np.testing.assert_allclose(
        geometry.boost_matrix(u, s1) @ geometry.boost_matrix(u, -s1),
        np.eye(7),
        atol=1e-14 * math.exp(2 * abs(s1)),
    )


@given(SEEDS, st.floats(0.05, 4), st.floats(0.05, 4), st.sampled_from([-1, 1]), st.sampled_from([-1, 1]))
def test_two_boosts_are_a_boost_and_the_rotation_of_the_closed_form(seed, s1, s2, sign1, sign2):
    """The angle and its sense, in the plane of the two images; the identity across it."""
    s1, s2 = sign1 * s1, sign2 * s2
    u1, u2 = directions(seed)
    phi = angle_between(u1, u2)
    assume(0.05 < phi < math.pi - 0.05)
    L = geometry.boost_matrix(u2, s2) @ geometry.boost_matrix(u1, s1)
    R, P = (part for part in polar(L))  # scipy's, by singular values
    epsilon = float(geometry.wigner_angle(phi, s1, s2))
    e2 = (u2 - (u1 @ u2) * u1) / np.linalg.norm(u2 - (u1 @ u2) * u1)
    c, s = math.cos(epsilon), math.sin(epsilon)
    plane = np.outer(u1, u1) + np.outer(e2, e2)
    turn = c * plane + s * (np.outer(e2, u1) - np.outer(u1, e2)) + np.eye(6) - plane
    atol = 1e-13 * math.exp(2 * (abs(s1) + abs(s2)))
    np.testing.assert_allclose(R, widened(turn), rtol=0, atol=min(atol, 1e-6))
    u, dose, mine = geometry.decompose(L)
    np.testing.assert_allclose(mine, turn, rtol=0, atol=min(atol, 1e-6))
    np.testing.assert_allclose(P, geometry.boost_matrix(u, dose), rtol=1e-7, atol=1e-7)
    assert math.cosh(dose) == pytest.approx(
        math.cosh(s1) * math.cosh(s2) + math.sinh(s1) * math.sinh(s2) * math.cos(phi), rel=1e-9
    )


@given(st.floats(0.1, 3.0), st.floats(0.05, 5), st.floats(0.05, 5))
def test_the_angle_in_the_form_of_the_text_books(phi, s1, s2):
    coth = 1 / math.tanh(s1 / 2) / math.tanh(s2 / 2)
    expected = 2 * math.atan2(math.sin(phi), coth + math.cos(phi))
    assert float(geometry.wigner_angle(phi, s1, s2)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("phi", [0.3, 1.1, 2.8])
def test_the_angle_for_small_and_for_large_doses(phi):
    """s1 s2 sin(phi)/2 to third order and more; the angle between the images itself; nothing at 0."""
    doses = np.array([0.1, 0.05, 0.025])
    off = np.abs(geometry.wigner_angle(phi, doses, 2 * doses) - doses**2 * math.sin(phi))
    order = np.polyfit(np.log(doses), np.log(off), 1)[0]
    assert order == pytest.approx(4, abs=0.1)
    assert float(geometry.wigner_angle(phi, 60.0, 60.0)) == pytest.approx(phi, rel=1e-12)
    assert float(geometry.wigner_angle(phi, 60.0, -60.0)) == pytest.approx(phi - math.pi, rel=1e-12)
    assert float(geometry.wigner_angle(phi, 0.0, 5.0)) == 0.0
    assert float(geometry.wigner_angle(0.0, 1e300, -1e300)) == 0.0


@given(SEEDS)
def test_the_commutator_of_two_generators_generates_a_rotation(seed):
    u, v = directions(seed)
    K, M = generator(u), generator(v)
    expected = np.zeros((7, 7))
    expected[:6, :6] = np.outer(u, v) - np.outer(v, u)
    np.testing.assert_allclose(K @ M - M @ K, expected, atol=1e-15)
    turn = expm(0.7 * expected)
    np.testing.assert_allclose(turn @ turn.T, np.eye(7), atol=1e-14)
    np.testing.assert_allclose(turn[-1], np.eye(7)[-1], atol=1e-15)


@given(SEEDS, DOSES, DOSES)
def test_the_other_order_turns_the_other_way(seed, s1, s2):
    """L_B L_A = R P and L_A L_B = P R^-1: a row at the origin ends at places that differ by R alone."""
    u1, u2 = directions(seed)
    A, B = geometry.boost_matrix(u1, s1), geometry.boost_matrix(u2, s2)
    R = geometry.decompose(B @ A)[2]
    atol = 1e-12 * math.exp(2 * (abs(s1) + abs(s2)))
    np.testing.assert_allclose(B @ A, widened(R) @ A @ B @ widened(R), rtol=0, atol=atol)
    np.testing.assert_allclose(geometry.decompose(A @ B)[2], R.T, rtol=0, atol=atol)
    origin = np.zeros((1, 6))
    np.testing.assert_allclose(
        geometry.act(B @ A, origin), geometry.act(A @ B, origin) @ R.T, rtol=0, atol=atol
    )


@given(SEEDS, st.floats(-3, 3))
def test_a_common_presentation_keeps_hyperbolic_distances(seed, s):
    W, (u,) = rows_inside(seed, nearest=1e-3), directions(seed + 1, 1)
    moved = plasticity.present(W, u, np.full(7, np.sign(s)), abs(s))
    d = geometry.distance(W[:1], W[1:])
    np.testing.assert_allclose(geometry.distance(moved[:1], moved[1:]), d, rtol=1e-8, atol=1e-10)
    if abs(s) > 0.5:  # what the eye sees on the page does change
        before, after = (np.linalg.norm(rows[1:] - rows[:1], axis=1) for rows in (W, moved))
        assert np.abs(after / before - 1).max() > 0.01


@given(SEEDS)
def test_the_distance_is_the_text_books(seed):
    W, other = rows_inside(seed), rows_inside(seed + 1)
    cosh = [(1 - w @ z) / math.sqrt((1 - w @ w) * (1 - z @ z)) for w, z in zip(W, other, strict=True)]
    np.testing.assert_allclose(np.cosh(geometry.distance(W, other)), cosh, rtol=1e-8)
    np.testing.assert_array_equal(geometry.distance(W, W), np.zeros(7))


def test_the_distance_from_the_origin_is_the_dose_that_leads_there():
    u, s = directions(3, 1)[0], np.array([1e-9, 1e-3, 0.5, 3.0])
    reached = plasticity.present(np.zeros((4, 6)), u, s, 1.0)
    np.testing.assert_allclose(geometry.distance(np.zeros((1, 6)), reached), s, rtol=1e-12)


@given(SEEDS, DOSES, DOSES)
def test_straight_lines_go_to_straight_lines(seed, s1, s2):
    """Three rows on a chord stay on one: the map is projective."""
    u1, u2 = directions(seed)
    ends = rows_inside(seed + 1, 2)
    mix = np.array([0.0, 0.4, 1.0])[:, None]
    chord = (1 - mix) * ends[0] + mix * ends[1]
    L = geometry.boost_matrix(u2, s2) @ geometry.boost_matrix(u1, s1)
    p, q, r = geometry.act(L, chord)
    assert np.linalg.norm(q - p) + np.linalg.norm(r - q) == pytest.approx(np.linalg.norm(r - p), abs=1e-8)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_backends_agree_and_keep_their_dtype(make, dtype):
    u1, u2 = directions(4)
    W = rows_inside(5) * 0.9
    L = geometry.boost_matrix(u2, 0.9) @ geometry.boost_matrix(u1, 0.7)
    atol = 2e-6 if dtype == np.float32 else 1e-13
    mu, mW, mL = make(u1, dtype), make(W, dtype), make(L, dtype)
    u, s, R = geometry.decompose(mL)
    ref_u, ref_s, ref_R = geometry.decompose(L)
    assert type(s) is float
    assert s == pytest.approx(ref_s, abs=atol)
    angles = np.array([0.1, 1.0])
    for made, expected in [
        (geometry.lift(mW), geometry.lift(W)),
        (geometry.boost_matrix(mu, 0.7), geometry.boost_matrix(u1, 0.7)),
        (geometry.act(mL, mW), geometry.act(L, W)),
        (u, ref_u),
        (R, ref_R),
        (
            geometry.wigner_angle(make(angles, dtype), make(1.0, dtype), make(2.0, dtype)),
            geometry.wigner_angle(angles, 1.0, 2.0),
        ),
        (geometry.distance(mW[:1, :], mW[1:, :]), geometry.distance(W[:1], W[1:])),
    ]:
        assert type(made) is type(mW)
        assert made.dtype == mW.dtype
        np.testing.assert_allclose(host(made), expected, atol=atol, rtol=atol)
    np.testing.assert_array_equal(host(mW), W.astype(dtype))


def test_no_boost_has_any_direction():
    u, s, R = geometry.decompose(widened(np.array([[0.0, -1.0], [1.0, 0.0]])))
    np.testing.assert_array_equal(u, [1.0, 0.0])
    assert s == 0.0
    np.testing.assert_array_equal(R, [[0.0, -1.0], [1.0, 0.0]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: geometry.lift(3.0), "at least one axis"),
        (lambda: geometry.lift([np.nan, 0.0]), "W must be finite"),
        (lambda: geometry.boost_matrix([[1.0, 0.0]], 1.0), "one direction"),
        (lambda: geometry.boost_matrix([1.0, 1.0], 1.0), "length 1, got 1.41421"),
        (lambda: geometry.boost_matrix([np.nan, 1.0], 1.0), "u must be finite"),
        (lambda: geometry.boost_matrix([1.0, 0.0], math.inf), "s must lie in"),
        (lambda: geometry.act(np.eye(3), np.zeros((2, 3))), "features \\+ 1"),
        (lambda: geometry.act(np.full((3, 3), np.nan), np.zeros((2, 2))), "L must be finite"),
        (lambda: geometry.decompose(np.zeros((2, 3))), "square matrix"),
        (lambda: geometry.decompose(2 * np.eye(3)), "product of boosts and rotations"),
        (lambda: geometry.decompose(-np.eye(3)), "sign of the last coordinate"),
        (lambda: geometry.wigner_angle(np.nan, 1.0, 1.0), "phi must be finite"),
        (lambda: geometry.distance(np.zeros(2), np.zeros(3)), "one length"),
        (lambda: geometry.distance(np.zeros(2), np.array([0.6, 0.8])), "inside the unit ball"),
        (lambda: geometry.distance(np.array([0.0, 2.0]), np.zeros(2)), "rows of W .* norm 2"),
    ],
)
def test_what_makes_no_sense_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(("dtype", "s"), [(np.float64, 1e4), (np.float64, -711.0), (np.float32, 100.0)])
def test_a_dose_beyond_the_matrix_is_not_beyond_present(dtype, s):
    u = np.array([1, 0], dtype)
    with pytest.raises(ArithmeticError, match=r"plasticity\.present"):
        geometry.boost_matrix(u, s)
    W = np.array([[0, 0.5]], dtype)
    np.testing.assert_allclose(
        plasticity.present(W, u, np.array([s], dtype), 1.0), np.sign(s) * u[None], atol=1e-12
    )
