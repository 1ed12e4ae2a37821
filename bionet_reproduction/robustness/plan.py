"""What is compared and with which attacks: every constant of the run, and its networks by name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from bionet_reproduction import cells
from bionet_reproduction.cells import Reach, cifar_schedule, entropy_readout, power_readout
from bionet_reproduction.robustness.attack_cells import Walks
from bionet_reproduction.robustness.nets import (
    Adversarial,
    Backprop,
    Cleared,
    Net,
    OnRows,
    Projected,
    Stop,
    Stored,
)
from bionet_reproduction.rows import Competing, Random, Ranked
from bionet_reproduction.run import Plan

Nets = dict[str, Net]


@dataclass(frozen=True, kw_only=True)
class Radii:
    """Radii of balls, by norm."""

    linf: tuple[float, ...] = ()
    l2: tuple[float, ...] = ()

    def items(self) -> Iterator[tuple[str, tuple[float, ...]]]:
        """The norms that there are radii of, and these."""
        yield from ((norm, eps) for norm, eps in (("linf", self.linf), ("l2", self.l2)) if eps)


WALKS = Walks(steps=40, restarts=2, first_step=1.0, criteria=("cross_entropy", "dlr"), underflow=1e-3)


@dataclass(frozen=True, kw_only=True)
class Photographs:
    """The part on CIFAR-10: the nets of the run ``cifar10`` and two controls."""

    passes: int = 200  # of the rows whose nets that run kept
    hidden: int = 2000
    n: float = 10.0
    m: float = 6.0
    readout_epochs: int = 100
    readout_batch: int = 10
    backprop_epochs: int = 6
    backprop_batch: int = 250
    backprop_rate: float = 2e-3
    images: int = 500
    radii: Radii = Radii(linf=(2 / 255, 4 / 255, 8 / 255), l2=(0.25, 0.5, 1.0))
    gradient: Walks = WALKS
    carry: bool = True  # where nets are missing, keep the part of the last record


@dataclass(frozen=True, kw_only=True)
class Robustness(Plan):
    """Every constant of the run. The curve, the attacks of others, transfer and the trap use seed 0."""

    seeds: int = 3  # of the whole pipeline
    hidden: int = 2000
    # networks on rows
    n: float = 4.5  # of the bio net, and of the back-propagation net with the same activation
    random_n: float = 1.0  # of readouts on random rows, the best for them (the run ``controls``)
    other_n: tuple[float, ...] = (1.0, 2.0, 8.0)  # on the same rows, one seed: the role of n
    steep_m: float = 6.0  # m and beta of the readout that saturates
    steep_beta: float = 1.0
    p: float = 3.0
    k: int = 7
    delta: float = 0.4
    learning_rate: float = 0.04
    batch_size: int = 100
    passes: int = 100  # of the rows: more do not lower the error (the run ``scale``)
    readout_epochs: int = 100
    long_seeds: int = 3  # at most so many of the nets whose rows have the paper's passes: they learn for long
    long_passes: int = 1000
    long_readout_epochs: int = 300
    # networks by back-propagation
    backprop_epochs: int = 6
    backprop_batch: int = 250
    backprop_rate: float = 2e-3
    decays: tuple[float, ...] = (3e-3, 1e-3, 3e-4, 1e-4)  # penalties on the mean loss, the strongest first
    more_decay: float = 1e-3  # costs clean accuracy
    adversarial_epochs: int = 6
    adversarial: Adversarial = Adversarial(norm="linf", eps=0.1, steps=5)
    stop_every: int = 20  # minibatches between looks at the held-out images, where training stops early
    # explanations
    rare: float = 1e-3  # share of images with ink below which a pixel is rare
    small_start: float = 0.01  # factor of a smaller start
    plain_steps: tuple[tuple[int, float], ...] = ((20, 0.3), (5, 0.03))  # epochs and rates without Adam
    projected: tuple[int, ...] = (
        300,
        100,
        50,
    )  # principal components that the rows of a net are projected on
    components: int = 100  # that count as the directions in which images vary
    # attacks on all seeds
    images: int = 10_000  # test images: all of them
    radii: Radii = Radii(linf=(0.1, 0.2, 0.3), l2=(1.0, 2.0, 3.0))
    gradient: Walks = WALKS
    # attacks on one seed
    subset: int = 1000  # fixed images of the curve, of the library's attacks and of transfer
    curve: Radii = Radii(linf=(0.05, 0.1, 0.15, 0.2, 0.3, 0.5), l2=(0.5, 1.0, 1.5, 2.0, 3.0, 4.0))
    curve_restarts: int = 5
    more_steps: int = 80
    independent: Radii = Radii(linf=(0.1, 0.2), l2=(1.0, 2.0))  # of the library's attacks
    asked: tuple[str, ...] = (  # by the attacks that see no gradient, too
        "bio",
        "bio, Delta = 0",
        "random rows",
        "backprop, matched",
        "backprop, decay",
        "backprop, adversarial",
    )
    apgd_steps: int = 50
    apgd_restarts: int = 1
    square: Radii = Radii(linf=(0.1, 0.2))  # in L2 the library's is weak
    square_iterations: int = 300
    walks: int = 100  # images that HopSkipJump walks from, the first of the subset
    walk_iterations: int = 10
    walk_evaluations: int = 100
    walk_most_evaluations: int = 300
    transfer: Radii = Radii(linf=(0.2,), l2=(2.0,))
    trap: tuple[float, ...] = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.5)  # radii in L_inf
    # smallest changes and surfaces
    minimal_steps: int = 100
    minimal_images: int = 500
    surface_images: int = 4
    surface_radius: float = 2.0
    surface_points: int = 15
    # what a sound attack must show
    slack: float = 0.5  # points that more steps or restarts may still find
    left_linf: float = 1.0  # per cent that may be left at the largest radius of the curve
    left_l2: float = 10.0
    photographs: Photographs = Photographs()


QUICK = Robustness(
    long_seeds=1,
    images=500,
    radii=Radii(linf=(0.1,), l2=(1.0,)),
    subset=200,
    curve=Radii(linf=(0.1, 0.5), l2=(1.0, 4.0)),
    curve_restarts=2,
    independent=Radii(linf=(0.1,), l2=(1.0,)),
    square=Radii(linf=(0.1,)),
    square_iterations=200,
    walks=10,
    walk_iterations=5,
    walk_evaluations=50,
    walk_most_evaluations=200,
    transfer=Radii(linf=(0.1,), l2=(1.0,)),
    minimal_images=100,
    photographs=Photographs(images=200, radii=Radii(linf=(4 / 255,), l2=(0.5,)), carry=False),
)

TINY_WALKS = replace(WALKS, steps=2)
TINY = replace(
    QUICK,
    seeds=2,
    long_seeds=2,
    hidden=20,  # as many as the tiny runs it reads have
    other_n=(1.0,),
    passes=2,
    readout_epochs=6,
    long_passes=3,
    long_readout_epochs=6,
    backprop_epochs=2,
    decays=(10.0, 1e-3),
    adversarial_epochs=1,
    adversarial=Adversarial(norm="linf", eps=0.1, steps=2),
    plain_steps=((1, 0.3), (1, 0.03)),
    projected=(5,),
    components=5,
    images=40,
    gradient=TINY_WALKS,
    subset=30,
    curve=Radii(linf=(0.1, 0.5), l2=(1.0,)),
    more_steps=3,
    asked=("bio", "backprop"),
    apgd_steps=2,
    square_iterations=2,
    walks=10,
    walk_iterations=1,
    walk_evaluations=5,
    walk_most_evaluations=10,
    transfer=Radii(linf=(0.1,)),
    trap=(0.1, 0.5),
    surface_images=2,
    surface_points=3,
    minimal_steps=25,
    minimal_images=24,
    photographs=Photographs(
        passes=1,
        hidden=20,
        readout_epochs=10,
        backprop_epochs=2,
        images=30,
        radii=Radii(linf=(0.05, 0.1), l2=(0.5,)),
        gradient=replace(
            TINY_WALKS, criteria=("cross_entropy", "margin")
        ),  # small photographs have two classes
        carry=False,
    ),
)


def ranked(plan: Robustness, seed: int, n_epochs: int, delta: float) -> Ranked:
    """Rows of the fast rule."""
    return Ranked(
        seed=seed,
        n_hidden=plan.hidden,
        p=plan.p,
        k=plan.k,
        delta=delta,
        n_epochs=n_epochs,
        learning_rate=plan.learning_rate,
        batch_size=plan.batch_size,
    )


def backprop(plan: Robustness | Photographs, seed: int, epochs: int | None = None, **more: Any) -> Backprop:
    """A back-propagation net; `more` are its other fields."""
    settings = {"learning_rate": cells.backprop_schedule(plan.backprop_rate, epochs or plan.backprop_epochs)}
    return Backprop(
        **{**settings, "hidden": plan.hidden, "batch_size": plan.backprop_batch, "seed": seed, **more}
    )


def goal(plan: Robustness, m: float, beta: float) -> Net:
    """The bio net trained without the held-out images: its accuracy on them is what others are matched to."""
    return OnRows(
        rows=ranked(plan, 0, plan.passes, plan.delta),
        readout=power_readout(m, beta, plan.readout_epochs, 0, plan.n),
        part="50k",
    )


def compared(plan: Robustness, chosen: dict[str, Any], seed: int) -> Nets:
    """The networks of one seed, with what was chosen for them on held-out images."""
    epochs, n = plan.readout_epochs, plan.n
    power = power_readout(chosen["m"], chosen["beta"], epochs, seed, n)
    rows = ranked(plan, seed, plan.passes, plan.delta)
    random = Random(n_hidden=plan.hidden, seed=seed)
    nets: Nets = {
        "bio": OnRows(rows=rows, readout=power),
        "bio, cross-entropy": OnRows(rows=rows, readout=entropy_readout(epochs, seed, n)),
        "bio, Delta = 0": OnRows(rows=ranked(plan, seed, plan.passes, 0.0), readout=power),
        "random rows": OnRows(rows=random, readout=entropy_readout(epochs, seed, plan.random_n)),
        "backprop": backprop(plan, seed),
        "backprop, decay": backprop(plan, seed, weight_decay=chosen["decay"]),
        "backprop, more decay": backprop(plan, seed, weight_decay=plan.more_decay),
        "backprop, norms": backprop(plan, seed, unit_norm=True, rows_stay_at_norm_1=True),
        "backprop, adversarial": backprop(plan, seed, plan.adversarial_epochs, adversarial=plan.adversarial),
    }
    if chosen["dynamical"] is not None:
        nets["bio, dynamical"] = dynamical(plan, seed, chosen["dynamical"], power)
    same = {"activation": "power", "n": n, "unit_norm": True, "rows_start_at_norm_1": True}
    nets["backprop, matched"] = matched(plan, chosen, seed)
    nets["backprop, power"] = matched(plan, chosen, seed, **same)
    if seed < plan.long_seeds:
        nets["bio, 1000 passes"] = long(plan, chosen, seed)
    return nets


def dynamical(plan: Robustness, seed: int, settings: dict[str, Any], power: cells.Readout) -> Net:
    """The net on rows of the dynamics, as the run ``dynamical`` chose them for the large network."""
    learned = {name: value for name, value in settings.items() if name not in ("passes", "length")}
    return OnRows(
        rows=Competing(n_hidden=plan.hidden, seed=seed, n_epochs=settings["passes"], **learned),
        readout=power,
        scale=cells.Length(length=settings["length"]["power"]),
    )


def matched(plan: Robustness, chosen: dict[str, Any], seed: int, **more: Any) -> Backprop:
    """A back-propagation net that stops at the bio net's accuracy on held-out images."""
    stop = Stop(accuracy=chosen["goal"] / 100, part="10k", every=plan.stop_every)
    return backprop(plan, seed, part="50k", stop=stop, **more)


def long(plan: Robustness, chosen: dict[str, Any], seed: int) -> Net:
    """The net with rows of the paper's length; that of seed 0 is stored with the book."""
    if seed == 0:
        return Stored(name="mnist-seed0")
    return OnRows(
        rows=ranked(plan, seed, plan.long_passes, plan.delta),
        readout=power_readout(chosen["m"], chosen["beta"], plan.long_readout_epochs, seed, plan.n),
    )


def alone(plan: Robustness) -> Nets:
    """Nets of one seed: other powers on the rows of the bio net, and a readout whose tanh saturates."""
    rows, epochs = ranked(plan, 0, plan.passes, plan.delta), plan.readout_epochs
    steep = power_readout(plan.steep_m, plan.steep_beta, epochs, 0, plan.n)
    return {
        **{
            f"bio, cross-entropy, n = {n:g}": OnRows(rows=rows, readout=entropy_readout(epochs, 0, n))
            for n in plan.other_n
        },
        "bio, steep": OnRows(rows=rows, readout=steep),
    }


def explanations(plan: Robustness, chosen: dict[str, Any]) -> Nets:
    """Back-propagation nets that show what makes them weak.

    Whether it is the rim, what is left of the start, the optimiser, or the directions in which images
    hardly vary. The nets trained by plain gradient descent do not reach the accuracy in their time.
    """
    net = matched(plan, chosen, 0)
    plain: dict[str, Any] = {"optimizer": "sgd", "learning_rate": plan.plain_steps, "part": "50k"}
    return {
        "blank pixels cleared": Cleared(of=net, share=0.0),
        "rare pixels cleared": Cleared(of=net, share=plan.rare),
        "smaller start": matched(plan, chosen, 0, start=plan.small_start),
        "plain steps": backprop(plan, 0, **plain),
        "plain steps, smaller start": backprop(plan, 0, start=plan.small_start, **plain),
        **{f"{count} components": Projected(of=net, components=count) for count in plan.projected},
    }


def photographed(plan: Photographs, beta: float, seed: int) -> Nets:
    """Networks for CIFAR-10: the paper's, as another run kept it, and its controls."""
    power = cells.Readout(
        n=plan.n,
        m=plan.m,
        beta=beta,
        learning_rate=cifar_schedule(plan.readout_epochs),
        batch_size=plan.readout_batch,
        seed=seed,
    )
    random = Random(n_hidden=plan.hidden, seed=seed)
    return {
        "bio": Stored(name=f"cifar10-{plan.passes}-seed{seed}"),
        "random rows": OnRows(rows=random, readout=power, part="cifar-50k", scale=Reach()),
        "backprop": backprop(plan, seed, unit_norm=True, part="cifar-50k"),
    }
