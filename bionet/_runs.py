"""The table of named runs: where each is made, and what it is about. Importing it imports none of them."""

from __future__ import annotations

from collections.abc import Callable
from pkgutil import resolve_name
from typing import Any, NamedTuple


class Run(NamedTuple):
    """One run of ``bionet reproduce``."""

    where: str
    """Module and function of the package, ``"module:function"``."""
    text: str
    """What it measures."""

    def make(self) -> Callable[..., dict[str, Any]]:
        """Import and return the function, which returns the run's record."""
        return resolve_name(f"bionet.{self.where}")


RUNS: dict[str, Run] = {
    "talk": Run(
        "experiments:reproduce_talk", "the whole talk on MNIST: both schemes, its two nets, the controls"
    ),
    "mnist": Run(
        "paper:reproduce_mnist", "the paper's network: 2000 units, 1000 epochs, both losses, five seeds"
    ),
    "controls": Run("paper:reproduce_controls", "the same readout on random rows, k-means, PCA and pixels"),
    "powers": Run("paper:reproduce_powers", "test error against the power n (the paper's Fig. 4)"),
    "delta": Run("paper:reproduce_delta", "test error without the anti-Hebbian part, and with it (Fig. 5)"),
    "scale": Run("paper:reproduce_scale", "test error against the number of units, and of epochs"),
    "beyond": Run("paper:reproduce_beyond", "the same rule with its size and power chosen on validation"),
    "grid": Run("paper:reproduce_grid", "the (p, k) grid of the paper's Fig. 6"),
    "stability": Run(
        "_stability_maps:reproduce_stability", "which units diverge over a run, and which take part in it"
    ),
    "dynamical": Run("dynamical:reproduce_dynamical", "eqs. 1 to 3 on all of MNIST, beside the ranking rule"),
    "repaired": Run(
        "dynamical:reproduce_repaired", "the talk's 484 units and 600 images, with a stable Delta = 0.4"
    ),
    "end_to_end": Run("paper:reproduce_end_to_end", "the baseline 784-2000-10 by back-propagation"),
    "cifar10": Run(
        "cifar:reproduce_cifar10", "the paper's network on CIFAR-10, after a search on validation"
    ),
    "cifar10_controls": Run(
        "cifar:reproduce_cifar10_controls",
        "CIFAR-10: other rows, no anti-Hebbian part, other views of the images",
    ),
    "cifar10_end_to_end": Run(
        "cifar:reproduce_cifar10_end_to_end", "CIFAR-10: the baseline 3072-2000-10 by back-propagation"
    ),
    "cifar10_colour": Run(
        "cifar_colour:reproduce_cifar10_colour",
        "CIFAR-10: how continuous in colour and space the rows of these runs are",
    ),
    "patches": Run(
        "cifar_patches:reproduce_patches", "CIFAR-10: the same rule on patches, convolved, and controls"
    ),
    "robustness": Run(
        "robustness:reproduce_robustness",
        "the open question: which networks withstand which attacks (--quick for a look)",
    ),
}
