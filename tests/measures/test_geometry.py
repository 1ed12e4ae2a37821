"""Boosts: against the matrix exponential, against present, the group's laws, the rotation in a product.

A boost of dose s has entries up to exp(|s|), and what it acts on is divided by D >= exp(-|s|): so rounding
errors grow as exp(|s|) in a matrix and as exp(2 |s|) in what is moved or turned by it.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from backends import MAKERS, host
from hypothesis import assume, given
from hypothesis import strategies as st
from oracles import assert_within, backward_bound, rounding
from scipy.linalg import expm, polar

from bionet import plasticity
from bionet.measures import geometry

SEEDS = st.integers(0, 2**32)
DOSES = st.floats(-4, 4)


def grown(*doses, power=2):
    """The rounding errors of a hundred operations after these doses."""
    return rounding(100) * math.exp(power * sum(abs(s) for s in doses))


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
    # scipy's exponential squares up to ten times, each time doubling the relative error
    assert_within(L, expm(s * generator(u)), 2**7 * grown(s, power=1))


@given(SEEDS, st.floats(-1, 1), st.floats(0, 4))
def test_a_presentation_is_the_action_of_a_boost_inside_the_ball(seed, g, duration):
    W, v = rows_inside(seed), np.random.default_rng(seed + 1).standard_normal(6)
    a = np.linalg.norm(v)
    s = g * a * duration
    assume(abs(s) < 8)  # beyond, the matrix itself has lost 7 digits
    L = geometry.boost_matrix(v / a, s)
    expected = plasticity.present(W, v, np.full(7, g), duration)
    assert_within(geometry.act(L, W), expected, grown(s))


@given(SEEDS, st.sampled_from([-1.0, -0.4, 0.4, 1.0]), st.floats(0.05, 0.95))
def test_and_outside_up_to_the_blow_up(seed, g, fraction):
    rng = np.random.default_rng(seed)
    W, v = 5 * rng.standard_normal((7, 6)), rng.standard_normal(6)
    first = plasticity.blow_up_time(W, v, np.full(7, g)).min()
    assume(np.isfinite(first))
    a, T = np.linalg.norm(v), fraction * first
    moved = geometry.act(geometry.boost_matrix(v / a, g * a * T), W)
    # the divided sums, and their divisor D, which comes down to 0 at the blow-up
    D = np.cosh(g * a * T) + W @ v / a * np.sinh(g * a * T)
    size = math.exp(abs(g * a * T)) * (1 + np.abs(W).sum(axis=1)) / np.abs(D)
    bound = rounding(100) * size[:, None] * (1 + np.abs(moved))
    assert_within(moved, plasticity.present(W, v, np.full(7, g), T), bound)
    assert_within(moved, geometry.act(expm(g * a * T * generator(v / a)), W), bound)


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
    assert_within(geometry.act(back @ out, W), W, grown(1.0, 1.0))
    with pytest.raises(ArithmeticError, match="crossed infinity"):
        geometry.act(out, W)


@given(SEEDS, DOSES, DOSES)
def test_products_keep_the_form_and_the_cone(seed, s1, s2):
    """L^T eta L = eta, and the last coordinate of what is inside stays positive."""
    u1, u2 = directions(seed)
    L = geometry.boost_matrix(u2, s2) @ geometry.boost_matrix(u1, s1)
    eta = signature(6)
    assert_within(L.T @ eta @ L, eta, grown(s1, s2))
    W = rows_inside(seed + 1)
    X = geometry.lift(W) @ L.T
    assert (X[:, -1] > 0).all()
    form = (X[:, :-1] ** 2).sum(axis=1) - X[:, -1] ** 2
    assert_within(form, (W**2).sum(axis=1) - 1, grown(s1, s2))


@given(SEEDS, DOSES, DOSES)
def test_doses_of_parallel_images_add(seed, s1, s2):
    """Whatever their signs; opposite doses cancel; a negative image is a negative dose."""
    (u,) = directions(seed, 1)
    product = geometry.boost_matrix(u, s2) @ geometry.boost_matrix(u, s1)
    assert_within(product, geometry.boost_matrix(u, s1 + s2), grown(s1, s2, power=1))
    np.testing.assert_array_equal(geometry.boost_matrix(-u, s1), geometry.boost_matrix(u, -s1))
    undone = geometry.boost_matrix(u, s1) @ geometry.boost_matrix(u, -s1)
    assert_within(undone, np.eye(7), grown(s1))


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
    bound = grown(s1, s2) / math.sin(phi)  # of which the plane of two near directions loses the sine
    assert_within(R, widened(turn), bound)
    u, dose, mine = geometry.decompose(L)
    assert_within(mine, turn, bound)
    assert_within(P, geometry.boost_matrix(u, dose), bound)
    expected = math.cosh(s1) * math.cosh(s2) + math.sinh(s1) * math.sinh(s2) * math.cos(phi)
    assert_within(math.cosh(dose), expected, grown(s1, s2, power=1))


@given(st.floats(0.1, 3.0), st.floats(0.05, 5), st.floats(0.05, 5))
def test_the_angle_in_the_form_of_the_text_books(phi, s1, s2):
    coth = 1 / math.tanh(s1 / 2) / math.tanh(s2 / 2)
    expected = 2 * math.atan2(math.sin(phi), coth + math.cos(phi))
    # nothing cancels but coth and the cosine, where one is near 1 and the other near -1
    bound = rounding(20) * expected * coth / (coth + math.cos(phi))
    assert_within(geometry.wigner_angle(phi, s1, s2), expected, bound)


@pytest.mark.parametrize("phi", [0.3, 1.1, 2.8])
def test_the_angle_for_small_and_for_large_doses(phi):
    """s1 s2 sin(phi)/2 to third order and more; the angle between the images itself; nothing at 0."""
    doses = np.array([0.1, 0.05, 0.025])
    off = np.abs(geometry.wigner_angle(phi, doses, 2 * doses) - doses**2 * math.sin(phi))
    order = np.polyfit(np.log(doses), np.log(off), 1)[0]
    assert order == pytest.approx(4, abs=0.1)
    # 1 + cos(phi) or 1 - cos(phi) cancels
    bound = rounding(20) / math.sin(phi) ** 2
    assert_within(geometry.wigner_angle(phi, 60.0, 60.0), phi, bound)
    assert_within(geometry.wigner_angle(phi, 60.0, -60.0), phi - math.pi, bound)
    assert float(geometry.wigner_angle(phi, 0.0, 5.0)) == 0.0
    assert float(geometry.wigner_angle(0.0, 1e300, -1e300)) == 0.0


@given(SEEDS)
def test_the_commutator_of_two_generators_generates_a_rotation(seed):
    u, v = directions(seed)
    K, M = generator(u), generator(v)
    expected = np.zeros((7, 7))
    expected[:6, :6] = np.outer(u, v) - np.outer(v, u)
    assert_within(K @ M - M @ K, expected, rounding(2 * 7))  # entries up to 1
    turn = expm(0.7 * expected)
    assert_within(turn @ turn.T, np.eye(7), rounding(100))
    np.testing.assert_array_equal(turn[-1], np.eye(7)[-1])


@given(SEEDS, DOSES, DOSES)
def test_the_other_order_turns_the_other_way(seed, s1, s2):
    """L_B L_A = R P and L_A L_B = P R^-1: a row at the origin ends at places that differ by R alone."""
    u1, u2 = directions(seed)
    A, B = geometry.boost_matrix(u1, s1), geometry.boost_matrix(u2, s2)
    R = geometry.decompose(B @ A)[2]
    bound = grown(s1, s2)
    # each R errs by the bound over the size of the matrix that it turns
    assert_within(B @ A, widened(R) @ A @ B @ widened(R), 3 * bound)
    assert_within(geometry.decompose(A @ B)[2], R.T, 2 * bound)
    origin = np.zeros((1, 6))
    assert_within(geometry.act(B @ A, origin), geometry.act(A @ B, origin) @ R.T, 3 * bound)


@given(SEEDS, st.floats(-3, 3))
def test_a_common_presentation_keeps_hyperbolic_distances(seed, s):
    W, (u,) = rows_inside(seed, nearest=1e-3), directions(seed + 1, 1)
    moved = plasticity.present(W, u, np.full(7, np.sign(s)), abs(s))
    d = geometry.distance(W[:1], W[1:])
    # an error of a row is a distance larger by 1 / (1 - |W|^2)
    room = min(1 - (rows**2).sum(axis=1).max() for rows in (W, moved))
    assert_within(geometry.distance(moved[:1], moved[1:]), d, grown(s) / room)
    if abs(s) > 0.5:  # what the eye sees on the page does change
        before, after = (np.linalg.norm(rows[1:] - rows[:1], axis=1) for rows in (W, moved))
        assert np.abs(after / before - 1).max() > 0.01


@given(SEEDS)
def test_the_distance_is_the_text_books(seed):
    W, other = rows_inside(seed), rows_inside(seed + 1)
    cosh = [(1 - w @ z) / math.sqrt((1 - w @ w) * (1 - z @ z)) for w, z in zip(W, other, strict=True)]
    # every 1 - w.z loses what it is smaller than 1; the distance's own error is as large
    room = [(1 - w @ w, 1 - z @ z, 1 - w @ z) for w, z in zip(W, other, strict=True)]
    bound = rounding(40) / np.min(room, axis=1) * np.array(cosh) * (1 + np.log(cosh))
    assert_within(np.cosh(geometry.distance(W, other)), cosh, bound)
    np.testing.assert_array_equal(geometry.distance(W, W), np.zeros(7))


def test_the_distance_from_the_origin_is_the_dose_that_leads_there():
    u, s = directions(3, 1)[0], np.array([1e-9, 1e-3, 0.5, 3.0])
    reached = plasticity.present(np.zeros((4, 6)), u, s, 1.0)
    bound = rounding(40) * s * np.cosh(s) ** 2  # a row errs by a rounding, which 1 / (1 - |W|^2) multiplies
    assert_within(geometry.distance(np.zeros((1, 6)), reached), s, bound)


@given(SEEDS, DOSES, DOSES)
def test_straight_lines_go_to_straight_lines(seed, s1, s2):
    """Three rows on a chord stay on one: the map is projective."""
    u1, u2 = directions(seed)
    ends = rows_inside(seed + 1, 2)
    mix = np.array([0.0, 0.4, 1.0])[:, None]
    chord = (1 - mix) * ends[0] + mix * ends[1]
    L = geometry.boost_matrix(u2, s2) @ geometry.boost_matrix(u1, s1)
    p, q, r = geometry.act(L, chord)
    around, straight = np.linalg.norm(q - p) + np.linalg.norm(r - q), np.linalg.norm(r - p)
    assert_within(around, straight, 4 * grown(s1, s2))


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_backends_agree_and_keep_their_dtype(make, dtype):
    u1, u2 = directions(4)
    W = rows_inside(5) * 0.9
    L = geometry.boost_matrix(u2, 0.9) @ geometry.boost_matrix(u1, 0.7)
    mu, mW, mL = make(u1, dtype), make(W, dtype), make(L, dtype)
    u, s, R = geometry.decompose(mL)
    ref_s = geometry.decompose(L)[1]
    assert type(s) is float

    def bound(function, *arrays):
        return backward_bound(function, *arrays, terms=3 * 7, dtype=dtype)  # three sums over a row

    def parts(index):
        """Of the product, for directions that are rounded."""

        def function(u1, u2):
            a, b = (u / np.linalg.norm(u) for u in (u1, u2))
            return geometry.decompose(geometry.boost_matrix(b, 0.9) @ geometry.boost_matrix(a, 0.7))[index]

        return function

    assert_within(s, ref_s, bound(parts(1), u1, u2))
    angles = np.array([0.1, 1.0])
    for made, function, arrays in [
        (geometry.lift(mW), geometry.lift, (W,)),
        (geometry.boost_matrix(mu, 0.7), lambda u: geometry.boost_matrix(u, 0.7), (u1,)),
        (geometry.act(mL, mW), geometry.act, (L, W)),
        (u, parts(0), (u1, u2)),
        (R, parts(2), (u1, u2)),
        (
            geometry.wigner_angle(make(angles, dtype), make(1.0, dtype), make(2.0, dtype)),
            geometry.wigner_angle, (angles, 1.0, 2.0),
        ),
        (geometry.distance(mW[:1, :], mW[1:, :]), lambda W: geometry.distance(W[:1], W[1:]), (W,)),
    ]:  # fmt: skip
        assert type(made) is type(mW)
        assert made.dtype == mW.dtype
        assert_within(host(made), function(*arrays), bound(function, *arrays))
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
        plasticity.present(W, u, np.array([s], dtype), 1.0), np.sign(s) * u[None], atol=rounding(10, dtype)
    )
