"""The open question at full scale: which networks withstand which attacks, and how sure that is.

First all networks are trained, then attacked: with all seeds by gradients, single steps and noise, with one
seed also by longer and more walks, by the attacks of others, and by images made for other networks. A table
of checks says whether the attacks are sound; the rest explains what they found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from bionet.attacks import independent
from bionet_reproduction import records
from bionet_reproduction.robustness import attack_cells
from bionet_reproduction.robustness import plan as plans
from bionet_reproduction.robustness.attack_cells import Walks
from bionet_reproduction.robustness.checks import sanity, worst
from bionet_reproduction.robustness.grids import Results, curves, grid, ladders, over_seeds, swept, train
from bionet_reproduction.robustness.nets import Net, Stored
from bionet_reproduction.robustness.plan import Nets, Photographs, Radii, Robustness
from bionet_reproduction.run import Run, Table
from bionet_reproduction.statistics import shown, summary
from bionet_reproduction.sweeps import Cell, Sweep, described


@dataclass(frozen=True, kw_only=True)
class Study:
    """The networks of a run, and how their cells are computed.

    Attributes
    ----------
    plan : Robustness
    sweep : Sweep
    chosen : dict
        See :func:`choose`.
    nets : list of dict
        The networks of each seed, by name.
    alone : dict
        Networks of one seed only.
    """

    plan: Robustness
    sweep: Sweep
    chosen: dict[str, Any]
    nets: list[Nets]
    alone: Nets

    def trained(self) -> dict[str, Any]:
        """Train all networks: their accuracies without an attack."""
        found = train(self.sweep, self.nets, "train")
        single = train(self.sweep, [self.alone], "one seed")[0]
        table = {}
        for name in self.nets[0]:
            mine = [one[name] for one in found if name in one]
            table[name] = {
                "test_accuracy": summary([entry["test_accuracy"] for entry in mine]),
                "held_out": [entry["10k_accuracy"] for entry in mine],
                "steps": [entry["steps"] for entry in mine],
            }
        return table | {name: {"test_accuracy": summary([e["test_accuracy"]])} for name, e in single.items()}

    def all_seeds(self) -> dict[str, list[Results]]:
        """Gradients, single steps and noise on the same test images, for each seed."""
        plan = self.plan
        fgsm = partial(attack_cells.Fgsm, criteria=plan.gradient.criteria)
        return {
            "gradient": [
                ladders(self.sweep, one, plan.radii, images=plan.images, seed=seed, walks=plan.gradient)
                for seed, one in enumerate(self.nets)
            ],
            **{
                name: [
                    grid(self.sweep, one, plan.radii, attack, name, images=plan.images, seed=seed)
                    for seed, one in enumerate(self.nets)
                ]
                for name, attack in (("fgsm", fgsm), ("noise", attack_cells.Noise))
            },
        }

    def one_seed(self) -> dict[str, Results]:
        """The curve with more restarts, more steps, and the attacks of others, on fixed images of seed 0."""
        plan, nets, radii = self.plan, self.nets[0], self.plan.independent
        asked = self.asked()
        longer = replace(plan.gradient, steps=plan.more_steps)
        restarted = replace(plan.gradient, restarts=plan.curve_restarts)
        apgd = partial(
            attack_cells.Apgd,
            steps=plan.apgd_steps,
            restarts=plan.apgd_restarts,
            criteria=plan.gradient.criteria,
        )
        square = partial(attack_cells.Square, iterations=plan.square_iterations)
        return {
            "curve": self.gradient(nets, plan.curve, restarted),
            "steps": self.gradient(nets, radii, longer),
            "base": self.gradient(nets, radii, plan.gradient),
            "apgd": self.attacked(nets, radii, apgd, "apgd"),
            "square": self.attacked(asked, plan.square, square, "square"),
            "walks": self.walked(asked),
            "transfer": self.transferred(),
        }

    def asked(self) -> Nets:
        """The networks of seed 0 that are asked by the attacks that see no gradient."""
        return {name: self.nets[0][name] for name in self.plan.asked}

    def attacked(self, nets: Nets, radii: Radii, attack: Callable[..., Cell], label: str) -> Results:
        """An attack on the fixed images, at all radii."""
        return grid(self.sweep, nets, radii, attack, label, images=self.plan.subset, seed=0)

    def gradient(self, nets: Nets, radii: Radii, walks: Walks) -> Results:
        """The gradient attack on the fixed images, at all radii."""
        return self.attacked(nets, radii, partial(attack_cells.Gradient, walks=walks), "gradient")

    def walked(self, nets: Nets) -> Results:
        """HopSkipJump, by net and norm."""
        plan = self.plan
        cells = {
            (name, norm): attack_cells.HopSkipJump(
                net=net,
                images=plan.walks,
                norm=norm,
                eps=eps,
                seed=0,
                iterations=plan.walk_iterations,
                evaluations=plan.walk_evaluations,
                most_evaluations=plan.walk_most_evaluations,
            )
            for name, net in nets.items()
            for norm, eps in plan.independent.items()
        }
        return swept(self.sweep, cells, "hop_skip_jump")

    def transferred(self) -> Results:
        """Images made for each network shown to all, by norm, radius and source."""
        plan, nets = self.plan, self.nets[0]
        cells = {
            (norm, eps, name): attack_cells.Transfer(
                net=net,
                images=plan.subset,
                norm=norm,
                eps=eps,
                seed=0,
                walks=plan.gradient,
                targets=nets,
            )
            for norm, radii in plan.transfer.items()
            for eps in radii
            for name, net in nets.items()
        }
        return swept(self.sweep, cells, "transfer")

    def trap(self, clean: Mapping[str, Any]) -> dict[str, Any]:
        """The saturated readout attacked through its own loss, and at its logits."""
        nets = {"bio": self.nets[0]["bio"], "bio, steep": self.alone["bio, steep"]}
        eps, radii = list(self.plan.trap), Radii(linf=self.plan.trap)
        own_loss = partial(attack_cells.OwnLoss, walks=self.plan.gradient)
        own = self.attacked(nets, radii, own_loss, "own loss")
        honest = self.gradient(nets, radii, self.plan.gradient)
        return {
            net: {
                "eps": eps,
                "clean": clean[net]["test_accuracy"]["values"][0],
                "own_loss": [own[net, "linf", radius]["accuracy"] for radius in eps],
                "own_loss_one_step": [own[net, "linf", radius]["one_step_accuracy"] for radius in eps],
                "logits": [honest[net, "linf", radius]["accuracy"] for radius in eps],
                "zero_gradients": [own[net, "linf", radius]["zero_gradients"] for radius in eps],
            }
            for net in nets
        }

    def minimal(self, nets: list[Net], label: str) -> list[dict[str, Any]]:
        """The smallest changes found for each network."""
        plan = self.plan
        cells = [
            attack_cells.Minimal(
                net=net, images=plan.minimal_images, steps=plan.minimal_steps, components=plan.components
            )
            for net in nets
        ]
        return self.sweep(cells, f"minimal, {label}")

    def understand(self) -> dict[str, Any]:
        """Minimal changes, gradients and bounds of every net and seed; loss surfaces of seed 0."""
        plan, table = self.plan, {}
        for name in (*self.nets[0], *self.alone):
            seen = self.minimal([one[name] for one in (*self.nets, self.alone) if name in one], name)
            table[name] = {
                "median_l2": summary([one["median"] for one in seen]),
                "seed_0": {k: v for k, v in seen[0].items() if k not in ("distances", "seconds")},
                "distances": seen[0]["distances"],
            }
        surface = partial(
            attack_cells.Surface,
            images=plan.surface_images,
            radius=plan.surface_radius,
            points=plan.surface_points,
            seed=0,
        )
        drawn = swept(self.sweep, {name: surface(net=net) for name, net in self.nets[0].items()}, "surfaces")
        for name, one in drawn.items():
            table[name]["surface"] = {entry: one[entry] for entry in ("steps", "margins")}
        return table

    def explain(self, found: dict[str, Results]) -> dict[str, Any]:
        """Explanations put to the test, on seed 0: of the nets' weakness, and of the attack's."""
        plan, nets = self.plan, plans.explanations(self.plan, self.chosen)
        clean = train(self.sweep, [nets], "explanations")[0]
        ladder = ladders(self.sweep, nets, plan.radii, images=plan.images, seed=0, walks=plan.gradient)
        seen = dict(zip(nets, self.minimal(list(nets.values()), "explanations"), strict=True))
        fixed = self.gradient(self.asked(), plan.independent, replace(plan.gradient, first_step=None))
        steps: dict[str, Any] = {}
        for net, norm, eps in fixed:
            steps.setdefault(net, {}).setdefault(norm, {})[str(eps)] = {
                "fixed": fixed[net, norm, eps]["accuracy"],
                "shrinking": found["base"][net, norm, eps]["accuracy"],
                "apgd": found["apgd"][net, norm, eps]["accuracy"],
            }
        return {
            "test_accuracy": {name: clean[name]["test_accuracy"] for name in nets},
            "gradient": over_seeds({"gradient": [ladder]}),
            "medians": {name: one.get("medians", {}) for name, one in seen.items()},
            "median_l2": {name: one["median"] for name, one in seen.items()},
            "steps": steps,
        }


def choose(plan: Robustness, sweep: Sweep) -> dict[str, Any]:
    """What is taken from other runs, and what is chosen on held-out images.

    Returns
    -------
    dict
        ``m`` and ``beta``; ``dynamical``, settings of the large network of that run, or None; ``goal``, the
        bio net's accuracy, and ``decays``, those of nets with each penalty that was tried; ``decay``, the
        strongest that costs nothing beside the bio net.
    """
    m, beta = records.chosen_loss()
    try:
        dynamical = records.record("dynamical")["chosen"].get(f"dynamical {plan.hidden}")
    except FileNotFoundError:
        dynamical = None
    held = partial(train, sweep, evaluate=("10k",))
    goal = held([{"goal": plans.goal(plan, m, beta)}], label="goal")[0]["goal"]["10k_accuracy"]
    decays: dict[str, float] = {}
    for decay in plan.decays:
        net = plans.backprop(plan, 0, weight_decay=decay, part="50k")
        decays[str(decay)] = held([{"decay": net}], label="decay")[0]["decay"]["10k_accuracy"]
        if decays[str(decay)] >= goal:
            break
    return {"m": m, "beta": beta, "dynamical": dynamical, "goal": goal, "decays": decays, "decay": decay}


def photographs(plan: Photographs, seeds: int, sweep: Sweep) -> dict[str, Any]:
    """The part on CIFAR-10, gradients and noise, with settings and provenance of its own.

    Without the nets of the run ``cifar10`` it is carried over from the last record as it is there, or empty.
    """
    try:
        beta = records.record("cifar10")["epochs"][str(plan.passes)]["beta"]["chosen"]
    except (FileNotFoundError, KeyError):
        return {}
    nets = [plans.photographed(plan, beta, seed) for seed in range(seeds)]
    if any(net.path() is None for one in nets for net in one.values() if isinstance(net, Stored)):
        return carried() if plan.carry else {}
    clean = train(sweep, nets, "CIFAR-10", ("cifar-test",))
    settings = {"images": plan.images, "part": "cifar-test"}
    found = {
        "gradient": [
            ladders(sweep, one, plan.radii, seed=seed, walks=plan.gradient, **settings)
            for seed, one in enumerate(nets)
        ],
        "noise": [
            grid(sweep, one, plan.radii, attack_cells.Noise, "noise", seed=seed, **settings)
            for seed, one in enumerate(nets)
        ],
    }
    return {
        "settings": {**described(plan), "seeds": seeds, "beta": beta},
        "provenance": records.provenance("cifar10", needs=("cifar10",)),
        "images": plan.images,
        "test_accuracy": {
            name: summary([one[name]["cifar-test_accuracy"] for one in clean]) for name in nets[0]
        },
        "gradient": over_seeds(found),
    }


def carried() -> dict[str, Any]:
    """The part on CIFAR-10 of the last record: its own settings and provenance hold, not those around it."""
    try:
        part = records.record("robustness")["cifar10"]
    except FileNotFoundError:
        return {}
    return {**part, "carried": True} if part else {}


def make(plan: Robustness, sweep: Sweep) -> dict[str, Any]:
    """The parts of the record."""
    independent.require()
    chosen = choose(plan, sweep)
    nets = [plans.compared(plan, chosen, seed) for seed in range(plan.seeds)]
    study = Study(plan=plan, sweep=sweep, chosen=chosen, nets=nets, alone=plans.alone(plan))
    trained = study.trained()
    base, found = study.all_seeds(), study.one_seed()
    cases = worst(plan, list(nets[0]), found)
    return {
        "chosen": chosen,
        "nets": trained,
        "gradient": over_seeds(base),
        "curve": curves(found["curve"]),
        "worst": cases,
        "transfer": {
            norm: {net: found["transfer"][norm, eps, net]["accuracy"] for net in nets[0]}
            for norm, (eps,) in plan.transfer.items()
        },
        "sanity": sanity(plan, list(nets[0]), {name: each[0] for name, each in base.items()}, found, cases),
        "trap": study.trap(trained),
        "understand": study.understand(),
        "explain": study.explain(found),
        "cifar10": photographs(plan.photographs, plan.seeds, sweep),
    }


def table(record: dict[str, Any]) -> Table:
    """Clean and robust accuracy of every net and radius, then the checks that do not hold."""
    rows = [
        (f"{net}, {norm} {eps}", shown(record["nets"][net]["test_accuracy"]), shown(entry["gradient"]))
        for net, by_norm in record["gradient"].items()
        for norm, by_eps in by_norm.items()
        for eps, entry in by_eps.items()
    ]
    failed = [
        (f"{row['net']}: {row['check']}", "must hold", f"NO: {row['value']}")
        for row in record["sanity"]
        if not row["holds"]
    ]
    return [("", "no attack", "under attack"), *rows, *failed]


RUN = Run(plan=Robustness(), make=make, table=table, others={"quick": plans.QUICK, "tiny": plans.TINY})
