"""Figures in one house style: feature maps, confusion matrices, learning curves.

Matplotlib and seaborn are imported when a figure is drawn, not before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from bionet.backend import Array, to_host
from bionet.measures.wall import wall_order

# Okabe & Ito (2008): told apart by readers of every colour vision.
BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, YELLOW, BLACK, GREY = "#CC79A7", "#56B4E9", "#F0E442", "#000000", "#767676"
CYCLE = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY, GREY)
DIVERGING = "RdBu_r"  # red strengthens, blue weakens, white is zero
SEQUENTIAL = "cividis"


def style() -> None:
    """Set the house style for all figures that follow."""
    import matplotlib as mpl
    import seaborn as sns
    from cycler import cycler

    sns.set_theme(context="notebook", style="ticks", font="DejaVu Sans")
    mpl.rcParams.update(
        {
            "axes.prop_cycle": cycler(color=CYCLE),
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.titlelocation": "left",
            "axes.titlesize": "medium",
            "axes.titleweight": "bold",
            "axes.labelsize": "medium",
            "figure.constrained_layout.use": True,
            "figure.dpi": 110,
            "figure.facecolor": "white",
            "figure.figsize": (7.0, 3.6),
            "font.size": 11,
            "image.interpolation": "nearest",
            "legend.frameon": False,
            "lines.linewidth": 1.8,
            "savefig.facecolor": "white",
        }
    )


def image(v: Array, shape: Sequence[int] = (28, 28), ax: Any = None, title: str = "") -> Any:
    """Draw one image, shape (features,), black on white, or in colour for shape (3, rows, columns)."""
    ax = _axes(ax, (2.2, 2.2))
    pixels = _pixels(to_host(v)[None], shape)[0]
    ax.imshow(pixels, cmap="gray_r", vmin=0.0, vmax=1.0)
    ax.set_title(title)
    ax.set_axis_off()
    return ax


def feature_maps(
    W: Array,
    shape: Sequence[int] = (28, 28),
    *,
    columns: int = 10,
    count: int | None = None,
    symmetric: bool = True,
    each: bool = False,
    ax: Any = None,
    colorbar: bool = True,
    title: str = "",
) -> Any:
    """Draw rows of `W` as a wall of images.

    Parameters
    ----------
    W : array, shape (hidden, features)
    shape : (rows, columns) or (3, rows, columns)
        Shape of one image; with three planes the wall is in colour, each map scaled on its own.
    columns, count : int
        Maps in a row of the wall, and maps in all (every row of `W` by default).
    symmetric : bool
        Centre the colours on zero (red strengthens, blue weakens); else from smallest to largest.
    each : bool
        Scale every map on its own instead of all together.
    ax : matplotlib axes, optional
    colorbar : bool
        Beside the wall; left out in colour and with ``each=True``.
    title : str

    Returns
    -------
    matplotlib.axes.Axes
    """
    maps = _pixels(to_host(W)[:count], shape)
    number, height, width = maps.shape[:3]
    rows = -(-number // columns)
    if maps.ndim == 4:
        maps = _tinted(maps, symmetric)
    elif each:
        maps = _own_scale(maps, symmetric)
    gap = 1
    wall = np.full(
        (rows * (height + gap) + gap, columns * (width + gap) + gap, *maps.shape[3:]),
        1.0 if maps.ndim == 4 else np.nan,
    )
    for index, tile in enumerate(maps):
        top = gap + (index // columns) * (height + gap)
        left = gap + (index % columns) * (width + gap)
        wall[top : top + height, left : left + width] = tile
    ax = _axes(ax, (0.62 * columns + 0.8, 0.62 * rows))
    if maps.ndim == 4:
        ax.imshow(wall)
    else:
        largest = float(np.nanmax(np.abs(wall))) or 1.0
        limits = (-largest, largest) if symmetric else (float(np.nanmin(wall)), float(np.nanmax(wall)))
        shown = ax.imshow(wall, cmap=DIVERGING if symmetric else "gray_r", vmin=limits[0], vmax=limits[1])
        if colorbar and not each:
            ax.figure.colorbar(shown, ax=ax, shrink=0.6, pad=0.02, label="weight")
    ax.set_axis_off()
    ax.set_title(title)
    return ax


def colour_wall(
    W: Array,
    shape: Sequence[int] = (3, 32, 32),
    *,
    columns: int = 16,
    edges: Sequence[float] = (0.03, 0.1, 0.3),
    below: float = -0.5,
    alone: bool = True,
    headings: bool = True,
    ax: Any = None,
    title: str = "",
) -> Any:
    """Draw rows of colour images with their opponents, from grey to colourful.

    The order is :func:`bionet.measures.wall.wall_order`'s. A row and its opponent stand one above the
    other; pairs are grouped by their share of colour, and inside a group they run through the
    axes of hues. Rows without a partner come last, side by side.

    Parameters
    ----------
    W : array, shape (hidden, features)
        Each map is scaled on its own; mid-grey is zero.
    shape : (3, rows, columns)
        Shape of one image.
    columns : int
        Pairs in a row of the wall, at most.
    edges, below
        As in :func:`bionet.measures.wall.wall_order`.
    alone : bool
        Draw the rows without a partner, too.
    headings : bool
        Write above each group its share of colour and how many pairs it has.
    ax : matplotlib axes, optional
    title : str

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        As :func:`bionet.measures.wall.wall_order`, or where there is nothing to draw.
    """
    if columns < 1:
        raise ValueError(f"columns must be at least 1, got {columns!r}")
    order = wall_order(W, shape, edges=edges, below=below)
    tiles = _tinted(_pixels(to_host(W), shape))  # (hidden, rows, columns, 3)
    height, width = tiles.shape[1:3]
    gap = max(1, width // 10)  # between pairs; the two of a pair are one pixel apart
    blank = round(0.42 * height) if headings else gap  # above a group
    blocks = [*zip(_shares_of_colour(edges), order.groups, strict=True)]
    if alone:
        blocks.append(("without a partner", order.alone[:, None]))
    strips: list[tuple[int, np.ndarray]] = []  # top of each, and its maps, (1 or 2, columns)
    texts: list[tuple[int, str]] = []
    top = 0
    for name, members in blocks:
        if len(members) == 0:
            continue
        noun = "pair" if members.shape[1] == 2 else "map"
        texts.append((top + blank, f"{name}: {len(members)} {noun}{'s' * (len(members) != 1)}"))
        top += blank if headings or top else 0
        for part in np.array_split(members, -(-len(members) // columns)):  # strips of like length
            strips.append((top, part.T))
            top += members.shape[1] * (height + 1) - 1 + gap
    if not strips:
        raise ValueError(f"no two rows are opposite enough for below={below!r}; raise it, or draw alone=True")
    wall = np.ones((top - gap, columns * (width + gap) - gap, 3))
    for top, strip in strips:
        for (level, place), row in np.ndenumerate(strip):
            y, x = top + level * (height + 1), place * (width + gap)
            wall[y : y + height, x : x + width] = tiles[row]
    ax = _axes(ax, (0.62 * columns, 0.62 * columns * wall.shape[0] / wall.shape[1] + 0.3 * bool(title)))
    ax.imshow(wall)
    for bottom, text in texts if headings else ():
        ax.text(-0.5, bottom - 0.1 * height, text, ha="left", va="bottom", size="small")
    ax.set_axis_off()
    ax.set_title(title)
    return ax


def confusion(y_true: Array, y_pred: Array, *, ax: Any = None, title: str = "") -> Any:
    """Draw a confusion matrix: true labels down, predicted labels across, counts in the cells."""
    import seaborn as sns
    from sklearn.metrics import confusion_matrix

    truth, guess = to_host(y_true), to_host(y_pred)
    labels = np.unique(np.concatenate([truth, guess]))
    counts = confusion_matrix(truth, guess, labels=labels)
    ax = _axes(ax, (6.2, 5.0))
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    sns.heatmap(
        share,
        annot=counts,
        fmt="d",
        cmap="Blues",
        vmin=0.0,
        vmax=1.0,
        square=True,
        linewidths=0.5,
        xticklabels=labels,
        yticklabels=labels,
        annot_kws={"size": 8},
        cbar_kws={"label": "share of the true class", "shrink": 0.8},
        ax=ax,
    )
    ax.set(xlabel="predicted", ylabel="true", title=title)
    ax.tick_params(axis="y", rotation=0)
    return ax


def learning_curve(curves: Mapping[str, Sequence[float]], *, ax: Any = None, ylabel: str = "loss") -> Any:
    """Draw one line for each named history, a point an epoch, with a legend."""
    ax = _axes(ax, (6.0, 3.4))
    for name, values in curves.items():
        ax.plot(np.arange(1, len(values) + 1), values, label=name)
    ax.set(xlabel="epoch", ylabel=ylabel)
    if len(curves) > 1:
        ax.legend()
    return ax


def _axes(ax: Any, size: tuple[float, float]) -> Any:
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=size)[1]


def _pixels(rows: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Rows (count, features) to (count, rows, columns) or, in colour, (count, rows, columns, 3)."""
    shape = tuple(shape)
    if rows.ndim != 2 or rows.shape[1] != int(np.prod(shape)):
        raise ValueError(f"rows of shape {rows.shape} do not hold images of shape {shape}")
    maps = rows.reshape(-1, *shape)
    if len(shape) == 3:
        if shape[0] != 3:
            raise ValueError(f"colour images have shape (3, rows, columns), got {shape}")
        return np.moveaxis(maps, 1, -1)
    return maps


def _shares_of_colour(edges: Sequence[float]) -> list[str]:
    """Names of the groups that these shares of colour mark off."""
    if len(edges) == 0:
        return ["all shares of colour"]
    percent = [f"{100 * edge:.3g}" for edge in edges]
    between = [f"{low} to {high} % colour" for low, high in pairwise(percent)]
    return [f"below {percent[0]} % colour", *between, f"above {percent[-1]} % colour"]


def _own_scale(maps: np.ndarray, symmetric: bool) -> np.ndarray:
    """Each map between -1 and 1, zero at zero or (not symmetric) at its own mean."""
    axes = tuple(range(1, maps.ndim))
    if not symmetric:
        maps = maps - maps.mean(axis=axes, keepdims=True)
    reach = np.abs(maps).max(axis=axes, keepdims=True)
    return maps / np.where(reach > 0, reach, 1.0)


def _tinted(maps: np.ndarray, symmetric: bool = True) -> np.ndarray:
    """Colour maps of any sign as colours in [0, 1], each scaled on its own; 0.5 is zero."""
    return np.clip(0.5 + 0.5 * _own_scale(maps, symmetric), 0.0, 1.0)
