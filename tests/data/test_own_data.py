"""The page "Your own data": every block of code runs, in order, on pictures made for the purpose."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_sample_image

PAGE = Path(__file__).parents[2] / "book" / "own-data.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
CLASSES = {"nought": 0, "one": 1, "four": 4}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, Any], str]]:
    """Run the blocks in a folder that holds what the page asks for; return names and output."""
    image = pytest.importorskip("PIL.Image")
    matplotlib = pytest.importorskip("matplotlib")
    from matplotlib import pyplot as plt

    folder = tmp_path_factory.mktemp("own-data")
    digits = load_digits()
    for name, digit in CLASSES.items():
        (folder / "pictures" / name).mkdir(parents=True)
        for i, picture in enumerate(digits.images[digits.target == digit][:100]):
            scan = image.fromarray((picture * 255 / 16).astype(np.uint8)).resize((40, 40))
            scan.save(folder / "pictures" / name / f"{i:04}.png")
    chosen = np.isin(digits.target, list(CLASSES.values()))
    np.save(folder / "my-images.npy", (digits.images[chosen] * 255 / 16).astype(np.uint8))
    np.save(folder / "my-labels.npy", digits.target[chosen])
    (folder / "photos").mkdir()
    photo = load_sample_image("flower.jpg")
    for i, (row, column) in enumerate(np.random.default_rng(0).integers(0, 380, size=(150, 2))):
        image.fromarray(photo[row : row + 40, column : column + 40]).save(folder / "photos" / f"{i:04}.png")

    printed: list[str] = []
    names: dict[str, Any] = {"print": lambda *values: printed.append(" ".join(map(str, values)))}
    with pytest.MonkeyPatch.context() as patch, matplotlib.rc_context():
        matplotlib.use("Agg")
        patch.chdir(folder)
        for block in BLOCKS:
            exec(compile(block, str(PAGE), "exec"), names)
        yield names, "\n".join(printed)
        plt.close("all")


def test_the_page_has_its_blocks() -> None:
    """A change of the fences cannot make the other tests pass on nothing."""
    assert len(BLOCKS) == 11


def test_the_folder_and_the_array_are_read(ran: tuple[dict[str, Any], str]) -> None:
    """Classes are the sub-folders; the array keeps its labels."""
    names, printed = ran
    assert names["mine"].class_names == tuple(sorted(CLASSES))
    assert names["mine"].images.shape == (300, 784)
    assert set(names["from_array"].labels) == set(CLASSES.values())
    assert "300 images, 28 x 28, all: folder 'pictures'" in printed


def test_the_net_learns_the_classes(ran: tuple[dict[str, Any], str]) -> None:
    """Three handwritten digits are told apart; the test images were kept out of training."""
    names, printed = ran
    assert names["accuracy"] > 0.9
    assert "test accuracy: " in printed
    assert not set(names["train"]) & set(names["test"])
    assert names["net"].components_.shape == (36, 784)


def test_the_units_really_learn(ran: tuple[dict[str, Any], str]) -> None:
    """Nearly all rows reach unit length, and nearly all units win some image, in grey and in colour."""
    names, printed = ran
    assert "rows within 10 % of length one: " in printed
    assert "units that win at least one image: " in printed
    assert names["photos"].shape == (3, 32, 32)
    assert names["photos"].labels.shape == (0,)
    grey, colour = names["mine"].images[names["train"]], names["normalize"](names["photos"].images)
    for rows, images in ((names["net"].components_, grey), (names["units"].components_, colour)):
        assert np.isfinite(rows).all()
        lengths = (np.abs(rows) ** names["units"].p).sum(axis=1)
        assert np.mean(np.abs(lengths - 1) < 0.1) > 0.8
        wins = np.bincount((images @ rows.T).argmax(axis=1), minlength=len(rows))
        assert np.mean(wins > 0) > 0.8
        assert wins.max() < len(images) / 2


def test_the_error_names_value_and_place(ran: tuple[dict[str, Any], str]) -> None:
    """The last block prints the refusal that the table explains."""
    _, printed = ran
    assert "got 255.0 at index (1, 1)" in printed
