#!/usr/bin/env python3
"""Make what the live figures need: their data and the pictures that stand for them in print.

    interactive.py             write book/_static/interactive/competition-data.js and both pictures
    interactive.py --check     write nothing; fail where the committed data differ from what would be made

The data are five digits of MNIST's test set and 25 rows of the recorded network ``mnist``: for each digit the
five units with the largest currents that do not repeat one another. Rows are taken at L2 length 1, so that
currents compare directions. Pictures and maps are rounded to bytes; the currents are computed before that.
"""

import argparse
import base64
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from run_notebooks import stable_png

from bionet import data, dynamics, plasticity, plot
from bionet_reproduction import records

FOLDER = Path(__file__).resolve().parents[1] / "_static" / "interactive"
DATA = FOLDER / "competition-data.js"
OPENING, CLOSING = "window.bionet = window.bionet || {};\nwindow.bionet.competition = ", ";\n"

DIGITS = (4, 9, 7, 3, 8)  # the first of each in the test set
UNITS_EACH = 5
REPEATS = 0.85  # two rows with a larger cosine show the same thing
SHOWN, W_INH = 1, 0.8  # what the picture shows: the 9, at the talk's inhibition


# The data


def choose_rows(currents: np.ndarray, rows: np.ndarray) -> list[int]:
    """The units to show: for each image (a row of `currents`) its strongest, leaving repeats out."""
    chosen: list[int] = []
    for line in currents:
        own: list[int] = []
        for unit in np.argsort(-line, kind="stable"):
            if unit not in chosen and all(rows[unit] @ rows[other] < REPEATS for other in own):
                own.append(int(unit))
            if len(own) == UNITS_EACH:
                break
        chosen += own
    return chosen


def competition() -> dict[str, Any]:
    """Images, feature maps and currents of the live figure in chapter 2."""
    mnist = data.load("mnist", "test")
    W = np.asarray(records.load_trained("mnist").components_, float)  # (2000, 784)
    W /= np.linalg.norm(W, axis=1, keepdims=True)
    images = mnist.images[[np.flatnonzero(mnist.labels == d)[0] for d in DIGITS]].astype(float)
    chosen = choose_rows(images @ W.T, W)
    rows = W[chosen]
    maps = np.rint(127 * rows / np.abs(rows).max(axis=1, keepdims=True)).astype(np.int8)
    pixels = np.rint(255 * images).astype(np.uint8)
    return {
        "digits": [{"label": d, "pixels": encode(p)} for d, p in zip(DIGITS, pixels, strict=True)],
        "rows": [encode(row) for row in maps],
        "currents": np.round(images @ rows.T, 6).tolist(),  # (digits, units)
    }


def encode(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode("ascii")


def decode(text: str, dtype: type) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype)


def as_script(made: dict[str, Any]) -> str:
    """The data as a script that a page opened from a folder can load too."""
    return f"{OPENING}{json.dumps(made, indent=0)}{CLOSING}"


def committed() -> dict[str, Any]:
    """The data in the repository."""
    text = DATA.read_text(encoding="utf-8")
    return json.loads(text.removeprefix(OPENING).removesuffix(CLOSING))


def differences(made: dict[str, Any], kept: dict[str, Any]) -> list[str]:
    """Where two sets of data differ by more than rounding."""
    found = []
    if [d["label"] for d in made["digits"]] != [d["label"] for d in kept["digits"]]:
        found.append("the digits")
    if any(a["pixels"] != b["pixels"] for a, b in zip(made["digits"], kept["digits"], strict=False)):
        found.append("the pixels")
    maps = [np.array([decode(row, np.int8) for row in one["rows"]], int) for one in (made, kept)]
    if maps[0].shape != maps[1].shape or np.abs(maps[0] - maps[1]).max() > 1:
        found.append("the feature maps")
    if not np.allclose(made["currents"], kept["currents"], rtol=0, atol=2e-6):
        found.append("the currents")
    return found


# The pictures


def draw_competition(made: dict[str, Any]) -> Any:
    """The race for one digit, its exact end, and the bars over the feature maps."""
    import matplotlib.pyplot as plt

    currents = np.array(made["currents"][SHOWN])
    exact = dynamics.steady_state(currents, W_INH)
    times, path = dynamics.simulate(currents, W_INH, tau=1.0, dt=0.01, t_max=24.0)
    colours = np.where(exact > 0, plot.BLUE, "#c3c3c3").astype(object)
    colours[exact.argmax()] = plot.VERMILION
    fig, (above, below) = plt.subplots(2, 1, figsize=(7.6, 6.2), height_ratios=[1, 1.15])
    for unit in np.argsort(exact):
        above.plot(times, path[:, unit], color=colours[unit], lw=1.6 if exact[unit] > 0 else 0.8)
    above.scatter(np.full(len(exact), 25.2), exact, c=colours, s=22, ec=plot.BLACK, lw=0.6, zorder=3)
    above.axhline(0, color=plot.GREY, lw=0.8)
    above.set(xlabel="time (tau)", ylabel="activity h", xlim=(-0.3, 26))
    above.set_xticks([0, 6, 12, 18, 24, 25.2], ["0", "6", "12", "18", "", "exact"])
    label = made["digits"][SHOWN]["label"]
    above.set_title(f"digit {label}, w_inh = {W_INH}: {(exact > 0).sum()} of {len(exact)} units stay active")

    places = np.arange(len(exact))
    below.bar(places, path[-1], color=list(colours), width=0.62)
    below.hlines(exact, places - 0.42, places + 0.42, color=plot.BLACK, lw=1.6)
    below.axhline(0, color=plot.GREY, lw=0.8)
    below.set(ylabel="activity h", xlim=(-0.6, len(exact) - 0.4))
    below.set_xticks([])
    below.spines["bottom"].set_visible(False)
    top, bottom = exact.max(), exact.min()
    height = 0.09 * (top - bottom)
    for place, row in zip(places, made["rows"], strict=True):
        tile = below.inset_axes(
            [place - 0.46, bottom - 2.6 * height, 0.92, 2 * height], transform=below.transData
        )
        tile.imshow(decode(row, np.int8).reshape(28, 28), cmap=plot.DIVERGING, vmin=-127, vmax=127)
        tile.set_axis_off()
    below.set_ylim(bottom - 2.8 * height, top + height)
    image = above.inset_axes([0.66, 0.6, 0.12, 0.25])
    plot.image(decode(made["digits"][SHOWN]["pixels"], np.uint8) / 255, ax=image)
    return fig


def draw_klein() -> Any:
    """The plane of image and row: the flow for g < 0, one row that is lost and one that stays."""
    import matplotlib.pyplot as plt

    u = np.array([1.0, 0.0])

    def orbit(row: tuple[float, float], doses: np.ndarray) -> np.ndarray:
        start = np.array([row])
        return np.concatenate([plasticity.present(start, u, np.sign([s]), abs(s)) for s in doses])

    fig, ax = plt.subplots(figsize=(6.4, 5.5))
    ax.add_patch(plt.Circle((0, 0), 1, color=plot.YELLOW, alpha=0.25, lw=0))
    ax.axvspan(1, 2.6, color=plot.GREY, alpha=0.18, lw=0)
    flow = [orbit((0.0, m * w), np.linspace(4, -4, 161)) for w in (0.0, 0.35, 0.7, 1.4, 2.1) for m in (1, -1)]
    out = [orbit((2.0, m * w), np.linspace(4, -0.54, 161)) for w in (0.0, 0.6, 1.3, 2.2) for m in (1, -1)]
    for walk in [*flow, *out, *(path[::-1] * [-1, 1] for path in out)]:
        ax.plot(*walk.T, color=plot.BLUE, lw=0.8, alpha=0.5)
        seen = np.flatnonzero((np.abs(walk) < [2.6, 2.2]).all(axis=1))
        steps = np.r_[0, np.cumsum(np.linalg.norm(np.diff(walk[seen], axis=0), axis=1))]
        k = seen[np.searchsorted(steps, steps[-1] / 2)]
        arrow = {"arrowstyle": "-|>", "color": plot.BLUE, "lw": 0.8}
        ax.annotate("", walk[k + 1], walk[k - 1], arrowprops=arrow)
    ax.plot(*np.array([np.cos(t := np.linspace(0, 2 * np.pi, 200)), np.sin(t)]), color=plot.BLACK, lw=1.6)
    for start, colour, text, shift in (
        ((1.5, 0.8), plot.VERMILION, "infinite at T*", (-14, -20)),
        ((0.6, -0.5), plot.GREEN, "stays inside", (-76, 12)),
    ):
        last = 0.999 * float(plasticity.blow_up_time(np.array([start]), u, np.array([-1.0]))[0])
        walk = orbit(start, np.linspace(0, -min(last, 4.0), 400))
        ax.plot(*walk.T, color=colour, lw=2.4)
        ax.plot(*start, "o", color=colour, mec=plot.BLACK, ms=9)
        ax.annotate(text, start, xytext=shift, textcoords="offset points", color=colour, weight="bold")
    ax.plot(*u, "o", color=plot.BLACK, ms=6)
    ax.annotate("image", u, xytext=(-10, 8), textcoords="offset points", ha="right", weight="bold")
    ax.set(xlim=(-2.6, 2.6), ylim=(-2.2, 2.2), aspect="equal")
    ax.set(xlabel="along the image, y", ylabel="across the image, q", title="g < 0: a unit that unlearns")
    return fig


def picture(fig: Any) -> bytes:
    """PNG without anything that names a program, a version or a time."""
    import io

    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=130)
    return base64.b64decode(stable_png(base64.b64encode(buffer.getvalue()).decode("ascii")))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail on a difference")
    options = parser.parse_args(arguments)
    made = competition()
    if options.check:
        found = differences(made, committed())
        print(f"{DATA.name} differs in {', '.join(found)}" if found else f"{DATA.name}: as it would be made")
        return bool(found)
    import matplotlib as mpl

    mpl.use("Agg")
    plot.style()
    FOLDER.mkdir(exist_ok=True)
    DATA.write_text(as_script(made), encoding="utf-8")
    for name, fig in (("competition", draw_competition(made)), ("klein", draw_klein())):
        (FOLDER / f"{name}.png").write_bytes(picture(fig))
    return 0


if __name__ == "__main__":
    sys.exit(main())
