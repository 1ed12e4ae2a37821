"""What the runs on CIFAR-10 share: the paper's network there, its kind of readout, and how images are split.

The run ``cifar10`` searches for what the paper does not report; other runs read its record.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from bionet_reproduction import records
from bionet_reproduction.cells import Measure, Reach, Readout, cifar_schedule
from bionet_reproduction.rows import Ranked, Rows
from bionet_reproduction.run import Plan

DIVERGED = 100.0  # the error, in per cent, of rows or readouts that left their range


@dataclass(frozen=True, kw_only=True)
class Network(Plan):
    """The paper's network on CIFAR-10, but for what is searched; and the short runs of that search.

    Short runs are short in units and images, not in steps: minibatches of 100, not 1000, make ten times the
    steps a pass, and the largest change of a step is the rate, whatever the minibatch.
    """

    view: str = "as they are"  # images of unit length, as the paper has them
    n_hidden: int = 2000
    learning_rate: float = 0.02
    batch_size: int = 1000
    n_epochs: int = 200
    long_epochs: int = 1000  # the paper's
    trial_hidden: int = 500
    trial_batch_size: int = 100
    trial_epochs: int = 30
    n: float = 10.0
    m: float = 6.0
    readout_batch_size: int = 10


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What the search is about."""

    p: float
    k: int
    delta: float


def recorded() -> tuple[Network, Rule, float]:
    """The network of the recorded run ``cifar10``, the rule that it chose, and beta at its ``n_epochs``."""
    found = records.record("cifar10")
    network = Network(**{entry.name: found["settings"][entry.name] for entry in fields(Network)})
    rule = Rule(**{entry.name: found["search"]["chosen"][entry.name] for entry in fields(Rule)})
    return network, rule, found["epochs"][str(network.n_epochs)]["beta"]["chosen"]


def rows(network: Network, rule: Rule, seed: int, n_epochs: int) -> Ranked:
    """Rows as many and as long in minibatches as the paper's."""
    return Ranked(
        seed=seed,
        n_hidden=network.n_hidden,
        p=rule.p,
        k=rule.k,
        delta=rule.delta,
        n_epochs=n_epochs,
        learning_rate=network.learning_rate,
        batch_size=network.batch_size,
    )


def trial_rows(network: Network, rule: Rule, seed: int) -> Ranked:
    """Rows of a short run."""
    return Ranked(
        seed=seed,
        n_hidden=network.trial_hidden,
        p=rule.p,
        k=rule.k,
        delta=rule.delta,
        n_epochs=network.trial_epochs,
        learning_rate=network.learning_rate,
        batch_size=network.trial_batch_size,
    )


def power_readout(network: Network, beta: float, n_epochs: int, seed: int) -> Readout:
    """A readout with the paper's power, loss, minibatches and schedule."""
    return Readout(
        n=network.n,
        m=network.m,
        beta=beta,
        learning_rate=cifar_schedule(n_epochs),
        batch_size=network.readout_batch_size,
        seed=seed,
    )


def entropy_readout(network: Network, n: float, n_epochs: int, seed: int) -> Readout:
    """A readout with cross-entropy, and the paper's minibatches and schedule."""
    return Readout(
        n=n,
        loss="cross_entropy",
        learning_rate=cifar_schedule(n_epochs),
        batch_size=network.readout_batch_size,
        seed=seed,
    )


def on_validation(
    layer: Rows | None, readouts: tuple[Readout, ...], view: str, rows_from: str | None = None
) -> Measure:
    """A cell to choose by: 45 000 images to learn from, 5000 to measure on."""
    return Measure(
        rows=layer,
        readouts=readouts,
        train="cifar-45k",
        evaluate=("cifar-5k",),
        rows_from=rows_from,
        view=view,
        scale=Reach(),
    )


def on_test(layer: Rows | None, readouts: tuple[Readout, ...], view: str, keep: str | None = None) -> Measure:
    """A cell to report: all training images, and the test images."""
    return Measure(
        rows=layer,
        readouts=readouts,
        train="cifar-50k",
        evaluate=("cifar-test",),
        view=view,
        scale=Reach(),
        keep=keep,
    )
