"""Figures: what is drawn, in which colours, and what is refused."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest

from bionet import plot


@pytest.fixture(autouse=True)
def no_screen():
    from matplotlib import pyplot as plt

    mpl.use("Agg")
    with mpl.rc_context():
        yield
    plt.close("all")


def test_maps_stand_in_the_wall_in_the_order_of_their_rows():
    W = np.arange(1.0, 6.0)[:, None] * np.ones((5, 6))
    kept = W.copy()
    ax = plot.feature_maps(W, (2, 3), columns=2, colorbar=False)
    wall = ax.images[0].get_array()
    assert wall.shape == (1 + 3 * 3, 1 + 2 * 4)  # one pixel of gap around maps of 2 x 3
    for index in range(5):
        top, left = 1 + 3 * (index // 2), 1 + 4 * (index % 2)
        np.testing.assert_array_equal(wall[top : top + 2, left : left + 3], index + 1)
    np.testing.assert_array_equal(W, kept)


def test_colours_are_centred_on_zero_or_span_the_weights():
    W = np.array([[-1.0, 0.0, 3.0, 1.0]])
    assert plot.feature_maps(W, (2, 2)).images[0].get_clim() == (-3.0, 3.0)
    assert plot.feature_maps(W, (2, 2), symmetric=False).images[0].get_clim() == (-1.0, 3.0)


def test_each_map_may_have_a_scale_of_its_own():
    W = np.array([[1.0, -1.0, 0.0, 0.5], [100.0, -100.0, 0.0, 50.0], [0.0, 0.0, 0.0, 0.0]])
    wall = plot.feature_maps(W, (2, 2), columns=3, each=True).images[0].get_array()
    np.testing.assert_array_equal(wall[1:3, 1:3], wall[1:3, 4:6])
    np.testing.assert_array_equal(wall[1:3, 7:9], 0.0)


def test_colour_maps_are_drawn_in_colour_and_zero_is_grey():
    W = np.zeros((2, 12))
    W[0, :4] = 1.0  # the red plane of the first map
    wall = np.asarray(plot.feature_maps(W, (3, 2, 2), columns=2).images[0].get_array())
    np.testing.assert_array_equal(wall[1, 1], [1.0, 0.5, 0.5])
    np.testing.assert_array_equal(wall[1, 4], [0.5, 0.5, 0.5])


def opponents():
    """A white-black pair and an orange-blue one of flat colours, and a row of zeros."""
    flat = np.array([[1, 1, 1], [-2, -2, -2], [1, 0, -1], [-1, 0, 1], [0, 0, 0]], dtype=float)
    return np.repeat(flat, 4, axis=1)


def test_opponents_stand_one_above_the_other_grey_ones_first():
    W = opponents()
    kept = W.copy()
    ax = plot.colour_wall(W, (3, 2, 2), columns=2, headings=False)
    wall = np.asarray(ax.images[0].get_array())
    assert wall.shape == (5 + 2 + 5 + 2 + 2, 2 + 1 + 2, 3)  # two pixels between groups
    assert {tuple(wall[0, 0]), tuple(wall[3, 0])} == {(1.0, 1.0, 1.0), (0.0, 0.0, 0.0)}
    np.testing.assert_array_equal(wall[7:9, :2], np.broadcast_to([1.0, 0.5, 0.0], (2, 2, 3)))
    np.testing.assert_array_equal(wall[10:12, :2], np.broadcast_to([0.0, 0.5, 1.0], (2, 2, 3)))
    np.testing.assert_array_equal(wall[14:, :2], 0.5)
    np.testing.assert_array_equal(wall[:, 2:], 1.0)  # no second pair in a row
    np.testing.assert_array_equal(W, kept)
    assert not ax.texts


def test_the_wall_says_how_many_pairs_are_how_colourful():
    ax = plot.colour_wall(opponents(), (3, 2, 2), title="t")
    assert [text.get_text() for text in ax.texts] == [
        "below 3 % colour: 1 pair",
        "above 30 % colour: 1 pair",
        "without a partner: 1 map",
    ]
    assert ax.get_title(loc="center") + ax.get_title(loc="left") == "t"
    pairs = plot.colour_wall(opponents(), (3, 2, 2), alone=False, edges=[0.2, 0.5, 0.8])
    assert [text.get_text() for text in pairs.texts] == [
        "below 20 % colour: 1 pair",
        "above 80 % colour: 1 pair",
    ]


def test_a_wall_wraps_into_strips_of_like_length():
    W = np.random.default_rng(0).standard_normal((6, 12))
    W = np.concatenate([W, -W])
    wall = plot.colour_wall(W, (3, 2, 2), columns=4, edges=(), headings=False).images[0].get_array()
    assert wall.shape == (5 + 1 + 5, 4 * 3 - 1, 3)
    assert (np.asarray(wall)[:, 9:] == 1.0).all()  # three pairs above three, not four above two


def test_a_wall_of_nothing_is_refused():
    with pytest.raises(ValueError, match="opposite enough"):
        plot.colour_wall(np.ones((3, 12)), (3, 2, 2), alone=False)
    with pytest.raises(ValueError, match="columns"):
        plot.colour_wall(opponents(), (3, 2, 2), columns=0)


def test_only_the_first_maps_are_drawn_on_request():
    ax = plot.feature_maps(np.ones((50, 4)), (2, 2), columns=5, count=10, colorbar=False)
    assert ax.images[0].get_array().shape == (1 + 2 * 3, 1 + 5 * 3)


def test_rows_of_another_size_are_refused():
    for draw in (plot.feature_maps, lambda W: plot.image(W[0])):
        with pytest.raises(ValueError, match=r"do not hold images of shape \(28, 28\)"):
            draw(np.ones((3, 100)))
    with pytest.raises(ValueError, match=r"colour images have shape \(3, rows, columns\)"):
        plot.feature_maps(np.ones((3, 8)), (2, 2, 2))


def test_the_confusion_matrix_has_true_labels_down_and_counts_in_its_cells():
    ax = plot.confusion(np.array([0, 0, 0, 1]), np.array([0, 1, 1, 1]))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted", "true")
    assert [text.get_text() for text in ax.texts] == ["1", "2", "0", "1"]


def test_a_learning_curve_counts_epochs_from_one():
    ax = plot.learning_curve({"a": [3.0, 2.0], "b": [1.0, 0.5, 0.2]})
    assert [line.get_xdata().tolist() for line in ax.lines] == [[1, 2], [1, 2, 3]]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]


def test_the_house_style_is_complete():
    plot.style()
    assert tuple(mpl.rcParams["axes.prop_cycle"].by_key()["color"]) == plot.CYCLE
    assert len(set(plot.CYCLE)) == len(plot.CYCLE)
