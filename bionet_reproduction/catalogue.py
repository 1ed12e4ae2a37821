"""The recorded runs: what each is about, where it is declared, what it needs, and how it stands.

The list is light to read; a run's module, with all that it computes with, is imported when it is asked for.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from bionet_reproduction.paths import results_folder

if TYPE_CHECKING:
    from bionet_reproduction.run import Run


@dataclass(frozen=True)
class Entry:
    """A run in the list.

    Attributes
    ----------
    module : str
        Where it is declared, as ``RUN`` or, of several in a module, under ``name`` in ``RUNS``.
    needs : tuple of str
        Runs whose records it reads.
    data : tuple of str
        Data sets that it learns from.
    """

    name: str
    about: str
    module: str
    needs: tuple[str, ...] = ()
    data: tuple[str, ...] = ("mnist",)

    def run(self) -> Run:
        """The declaration."""
        module = import_module(f"bionet_reproduction.{self.module}")
        return module.RUNS[self.name] if hasattr(module, "RUNS") else module.RUN


_ENTRIES = (
    Entry("talk", "the whole talk on MNIST: both schemes, its two nets, the controls", "runs.talk"),
    Entry("stability", "which units diverge over a run, and which take part in it", "runs.stability"),
    Entry("mnist", "the paper's network: 2000 units, 1000 epochs, both losses, five seeds", "runs.mnist"),
    Entry(
        "controls", "the same readout on random rows, k-means, PCA and pixels", "runs.controls", ("mnist",)
    ),
    Entry("powers", "test error against the power n (the paper's Fig. 4)", "runs.curves", ("mnist",)),
    Entry(
        "delta", "test error without the anti-Hebbian part, and with it (Fig. 5)", "runs.curves", ("mnist",)
    ),
    Entry("scale", "test error against the number of units, and of epochs", "runs.curves", ("mnist",)),
    Entry("grid", "the (p, k) grid of the paper's Fig. 6", "runs.grid"),
    Entry("beyond", "the same rule with its size and power chosen on validation", "runs.beyond", ("mnist",)),
    Entry("end_to_end", "the baseline 784-2000-10 by back-propagation", "runs.end_to_end"),
    Entry("dynamical", "eqs. 1 to 3 on all of MNIST, beside the fast rule", "runs.dynamical", ("mnist",)),
    Entry(
        "repaired",
        "the talk's 484 units and 600 images, with a stable Delta = 0.4",
        "runs.repaired",
        ("mnist", "dynamical"),
    ),
    Entry(
        "cifar10",
        "the paper's network on CIFAR-10, after a search on validation",
        "runs.cifar10",
        data=("cifar10",),
    ),
    Entry(
        "cifar10_controls",
        "CIFAR-10: other rows, no anti-Hebbian part, other views of the images",
        "runs.cifar10_controls",
        ("cifar10",),
        ("cifar10",),
    ),
    Entry(
        "cifar10_end_to_end",
        "CIFAR-10: the baseline 3072-2000-10 by back-propagation",
        "runs.cifar10_end_to_end",
        data=("cifar10",),
    ),
    Entry(
        "cifar10_colour",
        "CIFAR-10: how continuous in colour and space the rows of these runs are",
        "runs.cifar10_colour",
        ("cifar10", "cifar10_end_to_end"),
        ("cifar10",),
    ),
    Entry("patches", "CIFAR-10: the same rule on patches, and controls", "runs.patches", data=("cifar10",)),
    Entry(
        "robustness",
        "the open question: which networks withstand which attacks",
        "robustness.study",
        ("mnist", "dynamical", "cifar10"),
    ),
)

RUNS = {entry.name: entry for entry in _ENTRIES}


def state(name: str) -> str:
    """How a run stands: ``missing``, ``recorded``, or ``older than NAME`` that it needs.

    A record holds the hashes of the records that it read, and so does a part with a provenance of its own.
    Where it was made before hashes were kept, nothing is known of its age, and it counts as recorded.
    """
    folder = results_folder()
    try:
        record = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return "missing"
    from bionet_reproduction.records import fingerprint

    parts = [record, *(part for part in record.values() if isinstance(part, dict))]
    read = [part.get("provenance", {}).get("needs", {}).items() for part in parts]
    changed = dict.fromkeys(n for each in read for n, digest in each if fingerprint(n) != digest)
    return f"older than {' and '.join(changed)}" if changed else "recorded"
