"""Figures in one house style: feature maps, confusion matrices, learning curves.

Matplotlib and seaborn are imported when a figure is drawn, not before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bionet.backend import Array, to_host

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
    if maps.ndim == 4 or each:
        flat = maps.reshape(number, -1)
        middle = 0.0 if symmetric else flat.mean(axis=1)
        reach = np.abs(flat - np.reshape(middle, (-1, 1))).max(axis=1)
        scale = np.where(reach > 0, reach, 1.0).reshape(-1, *[1] * (maps.ndim - 1))
        maps = (maps - np.reshape(middle, (-1, *[1] * (maps.ndim - 1)))) / scale
    if maps.ndim == 4:
        maps = np.clip(0.5 + 0.5 * maps, 0.0, 1.0)
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
