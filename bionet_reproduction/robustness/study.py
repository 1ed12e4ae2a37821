"""The open question at full scale: which networks withstand which attacks, and how sure that is.

Every cell is one network and one attack, kept as soon as it is done. Accuracies are in per cent of the
images that are still answered rightly after the worst change found; a cell also keeps which images those
are, so that worst cases over attacks are taken image by image.
"""

from __future__ import annotations

import itertools
import time
from typing import Any

import numpy as np

from bionet import attacks
from bionet.attacks import PGD, independent
from bionet.data import load
from bionet_reproduction import cells
from bionet_reproduction.cells import Sweep, chosen_loss, summary
from bionet_reproduction.records import provenance, record
from bionet_reproduction.robustness import nets as models
from bionet_reproduction.robustness.facts import facts, surface
from bionet_reproduction.runs import cifar10 as cifar

RADII = {"linf": (0.1, 0.2, 0.3), "l2": (1.0, 2.0, 3.0)}  # all seeds
CURVE = {"linf": (0.05, 0.1, 0.15, 0.2, 0.3, 0.5), "l2": (0.5, 1.0, 1.5, 2.0, 3.0, 4.0)}  # one seed
INDEPENDENT = {"linf": (0.1, 0.2), "l2": (1.0, 2.0)}  # radii of the library's attacks, one seed
SQUARES = {"linf": (0.1, 0.2)}  # of them, those of Square; in L2 the library's is weak
TRANSFER = {"linf": 0.2, "l2": 2.0}  # one seed
CRITERIA = ("cross_entropy", "dlr")  # walks of a gradient attack take turns, each on the survivors so far
STEPS, RESTARTS, CURVE_RESTARTS, MORE_STEPS = 40, 2, 5, 80
LONG_SEEDS = 3  # at most so many of the nets whose rows have the paper's 1000 passes: they learn for long
FIRST_STEP = 1.0  # length of the first step in radii; the others shrink linearly, the last nearly to nothing
IMAGES: int | None = None  # test images of all seeds: all of them
ASKED = (  # by the attacks that see no gradient, too
    "bio",
    "bio, Delta = 0",
    "random rows",
    "backprop, matched",
    "backprop, decay",
    "backprop, adversarial",
)
SUBSET = 1000  # fixed images of the curve, of the library's attacks, of transfer and of minimal changes
WALKS = 100  # the first of them, for HopSkipJump
APGD = {"steps": 50, "restarts": 1}
SQUARE = {"iterations": 300}
HOP_SKIP_JUMP = {"iterations": 10, "evaluations": 100, "most_evaluations": 300}
MINIMAL_STEPS, MINIMAL_IMAGES = 100, 500
LADDER = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.5)  # of the trap
UNDERFLOW = 1e-3  # share of zero gradients above which the survivors are attacked in float64, too
SLACK = 0.5  # points that more steps or restarts may still find
NOTHING = {"linf": 1.0, "l2": 10.0}  # per cent that may be left at the largest radius
CIFAR_RADII = {"linf": (2 / 255, 4 / 255, 8 / 255), "l2": (0.25, 0.5, 1.0)}
CIFAR_IMAGES = 500
QUICK = {
    "RADII": {"linf": (0.1,), "l2": (1.0,)},
    "CURVE": {"linf": (0.1, 0.5), "l2": (1.0, 4.0)},
    "INDEPENDENT": {"linf": (0.1,), "l2": (1.0,)},
    "SQUARES": {"linf": (0.1,)},
    "TRANSFER": {"linf": 0.1, "l2": 1.0},
    "SUBSET": 200,
    "MINIMAL_IMAGES": 100,
    "WALKS": 10,
    "CURVE_RESTARTS": 2,
    "SQUARE": {"iterations": 200},
    "HOP_SKIP_JUMP": {"iterations": 5, "evaluations": 50, "most_evaluations": 200},
    "IMAGES": 500,
    "LONG_SEEDS": 1,
    "ASKED": ASKED,
    "CIFAR_RADII": {"linf": (4 / 255,), "l2": (0.5,)},
    "CIFAR_IMAGES": 200,
}


def subset(count: int | None, part: str = "test") -> np.ndarray:
    """Indices of the first `count` images of a fixed random order; all in their own order for None."""
    total = len(cells.images(part)[1])
    if count is None or count >= total:
        return np.arange(total)
    return np.random.default_rng(0).permutation(total)[:count]


def packed(alive: np.ndarray) -> str:
    """Which images survive, as hexadecimal digits."""
    return np.packbits(alive).tobytes().hex()


def unpacked(text: str, count: int) -> np.ndarray:
    """The inverse of :func:`packed`."""
    return np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8))[:count].astype(bool)


def attack(cell: dict[str, Any]) -> dict[str, Any]:
    """Attack the net of a cell.

    Parameters
    ----------
    cell : dict
        ``model`` (a recipe), ``attack`` (clean, noise, fgsm, gradient, ladder, trained, apgd, square or
        hop_skip_jump), ``norm``, ``eps`` (for ladder and hop_skip_jump a list of radii), ``images`` (how
        many; see :func:`subset`), ``seed``, settings of the attack, and ``part``, the test images of MNIST
        if it is left out. A ladder goes from the smallest radius to the largest with the gradient attack,
        each on what is left: what is lost in a ball is lost in the balls around it.

    Returns
    -------
    dict
        ``survived``, ``accuracy`` in per cent, ``seconds``, and what the attack says of itself.
    """
    began = time.perf_counter()
    net = models.trained(cell["model"])
    part = cell.get("part", "test")
    index = subset(cell["images"], part)
    X, y = (array[index] for array in cells.images(part))
    name, norm, eps, seed = (cell[key] for key in ("attack", "norm", "eps", "seed"))
    more = cell.get("settings", {})
    said: dict[str, Any] = {}
    if name == "clean":
        alive = attacks.survivors(net, X, y)
    elif name == "noise":
        alive = attacks.survivors(net, attacks.noise(X, eps, norm, random_state=seed), y)
    elif name == "fgsm":
        each = [attacks.survivors(net, attacks.fgsm(net, X, y, eps, loss, norm=norm), y) for loss in CRITERIA]
        alive = np.logical_and.reduce([attacks.survivors(net, X, y), *each])
    elif name == "gradient":
        alive, said = _gradient(net, X, y, eps, norm, more, seed)
    elif name == "ladder":
        alive, rungs = attacks.survivors(net, X, y), []
        for radius in eps:
            alive, said = _gradient(net, X, y, radius, norm, more, seed, alive)
            rungs.append({"survived": packed(alive), "accuracy": _percent(alive), **said})
        every = {key: [rung[key] for rung in rungs] for key in rungs[0]}
        return {**every, "seconds": round(time.perf_counter() - began, 3)}
    elif name == "trained":  # the trap: the model's own loss, one step and many
        single = attacks.survivors(net, attacks.fgsm(net, X, y, eps, "trained", norm=norm), y)
        found = _pgd("trained", norm, eps, more).search(net, X, y, eps, seed)
        alive = ~found.missed
        said = {"zero_gradients": found.zero_gradients, "one_step_accuracy": _percent(single)}
    elif name == "apgd":
        alive = attacks.survivors(net, X, y)
        for loss in CRITERIA:  # each on what is left
            left = np.flatnonzero(alive)
            if len(left):
                X_adv = independent.apgd(
                    net, X[left], y[left], eps, norm=norm, loss=loss, random_state=seed, **more
                )
                alive[left] = attacks.survivors(net, X_adv, y[left])
    elif name == "square":
        shape = load("mnist", split="test").shape
        X_adv = independent.square(net, X, y, eps, shape=shape, norm=norm, random_state=seed, **more)
        alive = attacks.survivors(net, X, y) & attacks.survivors(net, X_adv, y)
    elif name == "hop_skip_jump":
        X_adv = independent.hop_skip_jump(net, X, y, norm=norm, random_state=seed, **more)
        each = [attacks.survivors_within(net, X_adv, X, y, radius, norm) for radius in eps]
        return {
            "survived": [packed(a) for a in each],
            "accuracy": [_percent(a) for a in each],
            "seconds": round(time.perf_counter() - began, 3),
        }
    else:
        raise ValueError(f"unknown attack {name!r}")
    seconds = round(time.perf_counter() - began, 3)
    return {"survived": packed(alive), "accuracy": _percent(alive), "seconds": seconds, **said}


def _gradient(
    net: Any,
    X: np.ndarray,
    y: np.ndarray,
    eps: float,
    norm: str,
    settings: dict[str, Any],
    seed: int,
    alive: np.ndarray | None = None,
) -> tuple[np.ndarray, dict[str, Any]]:
    """PGD in several walks, each on what the ones before left; in float64, too, if gradients were zero.

    The first walk climbs the cross-entropy from the image itself, the second the DLR loss from a random
    point of the ball, and so on, in turn.
    """
    alive = attacks.survivors(net, X, y) if alive is None else alive.copy()
    after: list[float] = []
    zeros, gradients = {"float32": 0.0, "float64": 0.0}, {"float32": 0, "float64": 0}
    for dtype in (None, "float64"):
        if dtype and zeros["float32"] <= UNDERFLOW * gradients["float32"]:
            break
        for walk in range(settings["restarts"]):
            left = np.flatnonzero(alive)
            if len(left):
                loss = CRITERIA[walk % len(CRITERIA)]
                pgd = _pgd(loss, norm, eps, settings, early_stop=True, dtype=dtype, random_start=walk > 0)
                found = pgd.search(net, X[left], y[left], eps, np.random.default_rng([seed, walk]))
                alive[left] = ~found.missed
                used = dtype or "float32"
                zeros[used] += found.zero_gradients * found.gradients
                gradients[used] += found.gradients
            after.append(_percent(alive))
    shares = {used: zeros[used] / max(gradients[used], 1) for used in zeros}
    return alive, {
        "after": after,
        "zero_gradients": shares["float32"],
        "zero_gradients_float64": shares["float64"],
        "gradients": sum(gradients.values()),
    }


def _pgd(loss: str, norm: str, eps: float, settings: dict[str, Any], **more: Any) -> PGD:
    """The attack of a cell's settings: steps of one length, or shrinking from ``first_step`` radii."""
    if "first_step" in settings:
        more |= {"step_size": 0.5 * settings["first_step"] * eps, "shrink": True}
    return PGD(norm, loss, settings["steps"], **more)


def transfer(cell: dict[str, Any]) -> dict[str, Any]:
    """Show images made for the net of a cell to all others: which of them each target survives."""
    began = time.perf_counter()
    index = subset(cell["images"])
    X, y = (part[index] for part in cells.images("test"))
    pgd = _pgd("margin", cell["norm"], cell["eps"], cell["settings"])
    X_adv = pgd.search(models.trained(cell["model"]), X, y, cell["eps"], cell["seed"]).images
    alive = {}
    for name, recipe in cell["targets"].items():
        net = models.trained(recipe)
        alive[name] = attacks.survivors(net, X, y) & attacks.survivors(net, X_adv, y)
    return {
        "survived": {name: packed(a) for name, a in alive.items()},
        "accuracy": {name: _percent(a) for name, a in alive.items()},
        "seconds": round(time.perf_counter() - began, 3),
    }


def minimal(cell: dict[str, Any]) -> dict[str, Any]:
    """The smallest L2 changes found for the net of a cell: their median and its interval."""
    began = time.perf_counter()
    net, index = models.trained(cell["model"]), subset(cell["images"])
    X, y = (part[index] for part in cells.images("test"))
    X_adv, distances = attacks.minimal_l2(net, X, y, steps=cell["steps"])
    median, low, high = attacks.median_interval(distances)
    if not np.isfinite(high):
        raise ArithmeticError("more than half of the images were never turned; start with a larger radius")
    return {
        "median": median,
        "low": low,
        "high": high,
        "never_turned": int(np.isinf(distances).sum()),
        "distances": [round(float(d), 4) if np.isfinite(d) else None for d in distances],
        **facts(net, X, y, X_adv, models.directions("60k", cell["components"])[0]),
        "seconds": round(time.perf_counter() - began, 3),
    }


def surfaces(cell: dict[str, Any]) -> dict[str, Any]:
    """The margin of a few images along the gradient and along a random direction."""
    net, index = models.trained(cell["model"]), subset(cell["images"])
    X, y = (part[index] for part in cells.images("test"))
    steps, values = surface(net, X, y, cell["eps"], cell["points"], cell["seed"])
    return {"steps": steps.tolist(), "margins": np.round(values, 5).tolist()}


class Study:
    """The steps of the run: train, attack, compare. Its constants are those of the module, or quick ones."""

    def __init__(self, sweep: Sweep, seeds: int, quick: bool) -> None:
        self.sweep, self.seeds, self.quick = sweep, seeds, quick
        constants = {name: globals()[name] for name in QUICK}
        self.plan: dict[str, Any] = {**constants, **(QUICK if quick else {})}
        self.m, self.beta = chosen_loss()
        try:
            self.dynamical = record("dynamical")["settings"]["chosen"][f"dynamical {models.HIDDEN}"]
        except (FileNotFoundError, KeyError):
            self.dynamical = None
        self.nets: list[dict[str, Any]] = []
        self.clean: dict[str, list[float]] = {}

    def train(self) -> dict[str, Any]:
        """Train all nets: first the free ones, then those that stop at the bio net's accuracy."""
        goal = self._train([{"goal": models.goal(self.m, self.beta)}], "goal", ["10k"])[0]["goal"]
        self.goal = goal["10k_accuracy"]
        self.decays: dict[str, float] = {}
        for decay in models.DECAYS:  # the strongest penalty that costs nothing beside the bio net
            one = {"decay": models.decayed(decay)}
            self.decays[str(decay)] = self._train([one], "decay", ["10k"])[0]["decay"]["10k_accuracy"]
            if self.decays[str(decay)] >= self.goal:
                break
        self.decay = float(list(self.decays)[-1])
        self.nets = [
            {
                **models.recipes(s, self.m, self.beta, self.decay, self.dynamical),
                **models.matched(s, self.goal / 100),
                **(models.paper(s, self.m, self.beta) if s < self.plan["LONG_SEEDS"] else {}),
            }
            for s in range(self.seeds)
        ]
        found = self._train(self.nets, "train")
        self.alone = {**models.with_powers(0), "bio, steep": models.steep(0)}
        alone = self._train([self.alone], "one seed")[0]
        self.clean = {
            name: [one[name]["test_accuracy"] for one in found if name in one] for name in self.nets[0]
        }
        self.clean |= {name: [entry["test_accuracy"]] for name, entry in alone.items()}
        return {
            name: {
                "test_accuracy": summary(self.clean[name]),
                "held_out": [one[name]["10k_accuracy"] for one in found if name in one],
                "steps": [one[name]["steps"] for one in found if name in one],
            }
            for name in self.nets[0]
        } | {name: {"test_accuracy": summary(self.clean[name])} for name in self.alone}

    def _train(
        self, nets: list[dict[str, Any]], label: str, parts: list[str] | None = None
    ) -> list[dict[str, Any]]:
        evaluate = parts or ["10k", "test"]
        mine = [
            {"train": "robust", "model": recipe, "evaluate": evaluate}
            for one in nets
            for recipe in one.values()
        ]
        results = iter(self.sweep(mine, models.train, label=label))
        return [{name: next(results) for name in one} for one in nets]

    def _cells(
        self,
        name: str,
        radii: dict[str, Any],
        nets: dict[str, Any],
        images: int | None,
        seed: int,
        **more: Any,
    ) -> tuple[list[tuple[str, str, float]], list[dict[str, Any]]]:
        """Keys (net, norm, radius) and cells of one attack."""
        keys = [(net, norm, eps) for net in nets for norm in radii for eps in radii[norm]]
        mine = [
            {
                "model": nets[n],
                "attack": name,
                "norm": norm,
                "eps": eps,
                "images": images,
                "seed": seed,
                **more,
            }
            for n, norm, eps in keys
        ]
        return keys, mine

    def _attack(
        self, name: str, radii: Any, nets: Any, images: int | None, seed: int = 0, **more: Any
    ) -> Any:
        keys, mine = self._cells(name, radii, nets, images, seed, **more)
        results = self.sweep(mine, attack, label=f"{name}, seed {seed}")
        return dict(zip(keys, results, strict=True))

    def _ladder(
        self, nets: dict[str, Any], images: int | None, seed: int, radii: Any = None, **more: Any
    ) -> dict[tuple[str, str, float], Any]:
        """The gradient attack at all radii of each norm, results by net, norm and radius."""
        radii = self.plan["RADII"] if radii is None else radii
        lists: dict[str, Any] = {norm: (sorted(values),) for norm, values in radii.items()}
        keys, mine = self._cells("ladder", lists, nets, images, seed, settings=self._walk(), **more)
        results = self.sweep(mine, attack, label=f"ladder, seed {seed}")
        return {
            (net, norm, eps): {name: found[name][at] for name in found if name != "seconds"}
            for (net, norm, _), found in zip(keys, results, strict=True)
            for at, eps in enumerate(sorted(radii[norm]))
        }

    @staticmethod
    def _walk(**changes: Any) -> dict[str, Any]:
        """Settings of the gradient attack."""
        return {"steps": STEPS, "restarts": RESTARTS, "first_step": FIRST_STEP, **changes}

    def all_seeds(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Gradient worst case, single steps and noise on the same test images; and the cells of seed 0."""
        radii, images = self.plan["RADII"], self.plan["IMAGES"]
        found = {
            "gradient": [self._ladder(one, images, s) for s, one in enumerate(self.nets)],
            **{
                name: [self._attack(name, radii, one, images, s) for s, one in enumerate(self.nets)]
                for name in ("fgsm", "noise")
            },
        }
        return _table(found), {name: runs[0] for name, runs in found.items()}

    def explain(self, found: dict[str, Any]) -> dict[str, Any]:
        """Explanations put to the test, on seed 0: of the nets' weakness, and of the attack's."""
        nets = models.explanations(0, self.goal / 100)
        clean = self._train([nets], "explanations")[0]
        ladder = self._ladder(nets, self.plan["IMAGES"], 0)
        seen = self.sweep([self._minimal(r) for r in nets.values()], minimal, label="explanations, minimal")
        settings = {"steps": STEPS, "restarts": RESTARTS}
        asked = {name: self.nets[0][name] for name in self.plan["ASKED"]}
        radii, count = self.plan["INDEPENDENT"], self.plan["SUBSET"]
        fixed = self._attack("gradient", radii, asked, count, settings=settings)
        steps: dict[str, Any] = {}
        for net, norm, eps in fixed:
            steps.setdefault(net, {}).setdefault(norm, {})[str(eps)] = {
                "fixed": fixed[net, norm, eps]["accuracy"],
                "shrinking": found["base"][net, norm, eps]["accuracy"],
                "apgd": found["apgd"][net, norm, eps]["accuracy"],
            }
        return {
            "test_accuracy": {name: clean[name]["test_accuracy"] for name in nets},
            "gradient": _table({"gradient": [ladder]}),
            "medians": {name: one.get("medians", {}) for name, one in zip(nets, seen, strict=True)},
            "median_l2": {name: one["median"] for name, one in zip(nets, seen, strict=True)},
            "steps": steps,
        }

    def cifar(self) -> dict[str, Any]:
        """Three kinds of nets on CIFAR-10 against gradients and noise; nothing without their record."""
        try:
            run = record("cifar10")
        except FileNotFoundError:
            return {}
        beta = run["epochs"][str(cifar.EPOCHS)]["beta"]["chosen"]
        nets = [models.on_cifar(s, beta) for s in range(self.seeds)]
        if any(not models.found(one["bio"]["name"]) for one in nets):
            return self._carried()
        clean = self._train(nets, "CIFAR-10", ["cifar-test"])
        radii, images, part = self.plan["CIFAR_RADII"], self.plan["CIFAR_IMAGES"], "cifar-test"
        found = {
            "gradient": [self._ladder(one, images, s, radii, part=part) for s, one in enumerate(nets)],
            "noise": [self._attack("noise", radii, one, images, s, part=part) for s, one in enumerate(nets)],
        }
        return {
            "images": images,
            "attack": self._walk(),
            "test_accuracy": {
                name: summary([one[name]["cifar-test_accuracy"] for one in clean]) for name in nets[0]
            },
            "gradient": _table(found),
            "provenance": provenance(load("cifar10"), load("cifar10", split="test")),
        }

    def _carried(self) -> dict[str, Any]:
        """The part on CIFAR-10 of the last record, with its own provenance; nothing for a quick run."""
        try:
            last = record("robustness")
        except FileNotFoundError:
            return {}
        if self.quick or not last["cifar10"]:
            return {}
        attack = {name: last["settings"][name] for name in ("steps", "restarts")}
        return {"attack": attack, "provenance": last["provenance"], **last["cifar10"]}

    def one_seed(self) -> dict[str, Any]:
        """The curve with more restarts, more steps, and the attacks of others, on fixed images of seed 0."""
        count = self.plan["SUBSET"]
        few, radii = self.nets[0], self.plan["INDEPENDENT"]
        asked = {name: few[name] for name in self.plan["ASKED"]}
        gradient = self._walk(restarts=self.plan["CURVE_RESTARTS"])
        walks = [
            {
                "model": asked[net],
                "attack": "hop_skip_jump",
                "norm": norm,
                "eps": list(radii[norm]),
                "images": self.plan["WALKS"],
                "seed": 0,
                "settings": self.plan["HOP_SKIP_JUMP"],
            }
            for net in asked
            for norm in radii
        ]
        found = {
            "curve": self._attack("gradient", self.plan["CURVE"], few, count, settings=gradient),
            "steps": self._attack("gradient", radii, few, count, settings=self._walk(steps=MORE_STEPS)),
            "base": self._attack("gradient", radii, few, count, settings=self._walk()),
            "apgd": self._attack("apgd", radii, few, count, settings=APGD),
            "square": self._attack(
                "square", self.plan["SQUARES"], asked, count, settings=self.plan["SQUARE"]
            ),
            "walks": dict(
                zip(
                    itertools.product(asked, radii),
                    self.sweep(walks, attack, label="hop_skip_jump"),
                    strict=True,
                )
            ),
        }
        sources = [
            {
                "model": few[net],
                "targets": few,
                "norm": norm,
                "eps": eps,
                "images": count,
                "seed": 0,
                "settings": self._walk(restarts=1),
            }
            for norm, eps in self.plan["TRANSFER"].items()
            for net in few
        ]
        found["transfer"] = dict(
            zip(
                itertools.product(self.plan["TRANSFER"], few),
                self.sweep(sources, transfer, label="transfer"),
                strict=True,
            )
        )
        return found

    def worst(self, found: dict[str, Any]) -> dict[str, Any]:
        """Two columns on the same images: gradient attacks alone, and the worst case over all attacks."""
        count, walked = (len(subset(self.plan[name])) for name in ("SUBSET", "WALKS"))
        table: dict[str, Any] = {}
        for key in found["apgd"]:
            net, norm, eps = key
            alive = {
                "gradient": unpacked(found["base"][key]["survived"], count)
                & unpacked(found["steps"][key]["survived"], count),
                "apgd": unpacked(found["apgd"][key]["survived"], count),
            }
            if key in found["square"]:
                alive["square"] = unpacked(found["square"][key]["survived"], count)
            if key in found["curve"]:
                alive["gradient"] &= unpacked(found["curve"][key]["survived"], count)
            if eps == self.plan["TRANSFER"].get(norm):
                alive["transfer"] = np.logical_and.reduce(
                    [
                        unpacked(found["transfer"][norm, source]["survived"][net], count)
                        for source in self.nets[0]
                        if source != net
                    ]
                )
            by_walks, said = np.ones(count, dtype=bool), {}
            if (net, norm) in found["walks"]:
                walks = found["walks"][net, norm]
                at = self.plan["INDEPENDENT"][norm].index(eps)
                by_walks[:walked] = unpacked(walks["survived"][at], walked)
                said = {"hop_skip_jump": walks["accuracy"][at]}
            every = np.logical_and.reduce([*alive.values(), by_walks])
            table.setdefault(net, {}).setdefault(norm, {})[str(eps)] = {
                **{name: _percent(a) for name, a in alive.items()},
                **said,
                "all": _percent(every),
                "missed_by_gradients": int((alive["gradient"] & ~every).sum()),
            }
        return table

    def sanity(
        self, base: dict[str, Any], found: dict[str, Any], worst: dict[str, Any]
    ) -> list[dict[str, Any]]:
        """What a sound attack must show, a row for each net and check."""
        rows = []
        for net in self.nets[0]:

            def row(check: str, holds: bool, value: float, net: str = net) -> None:
                rows.append({"net": net, "check": check, "holds": bool(holds), "value": round(value, 4)})

            keys = [key for key in base["gradient"] if key[0] == net]
            lead = min(base["fgsm"][key]["accuracy"] - base["gradient"][key]["accuracy"] for key in keys)
            row("many steps beat one", lead >= 0, lead)
            lead = min(base["noise"][key]["accuracy"] - base["gradient"][key]["accuracy"] for key in keys)
            row("an attack beats noise of its size", lead >= 0, lead)
            shares = {
                used: max(base["gradient"][key][used] for key in keys)
                for used in ("zero_gradients", "zero_gradients_float64")
            }
            share = shares["zero_gradients"]
            share = shares["zero_gradients_float64"] if share > UNDERFLOW else share
            row("gradients are not zero, in float32 or else in float64", share <= UNDERFLOW, share)
            for norm, radii in self.plan["CURVE"].items():
                curve = [found["curve"][net, norm, eps]["accuracy"] for eps in sorted(radii)]
                rise = max((b - a for a, b in itertools.pairwise(curve)), default=0.0)
                row(f"accuracy never rises with eps, {norm}", rise <= 0, rise)
            for norm, most in NOTHING.items():
                largest = max(self.plan["CURVE"][norm])
                left = found["curve"][net, norm, largest]["accuracy"]
                row(f"at most {most:g} % left at {norm} {largest:g}", left <= most, left)
            mine = [key for key in found["base"] if key[0] == net]
            start = {key: found["base"][key]["accuracy"] for key in mine}
            gain = max(start[key] - found["steps"][key]["accuracy"] for key in mine)
            row(f"{MORE_STEPS} steps find at most {SLACK} points more", gain <= SLACK, gain)
            more = [start[key] - found["curve"][key]["accuracy"] for key in mine if key in found["curve"]]
            if more:
                restarts = self.plan["CURVE_RESTARTS"]
                row(f"{restarts} restarts find at most {SLACK} points more", max(more) <= SLACK, max(more))
            lone = [entry for by_norm in worst[net].values() for entry in by_norm.values()]
            for other in ("square", "transfer"):
                leads = [entry[other] - entry["gradient"] for entry in lone if other in entry]
                if leads:
                    row(f"gradients beat {other}", min(leads) >= 0, min(leads))
            leads = [
                entry["hop_skip_jump"] - self._first(found, net, norm, eps)
                for norm, by_eps in worst[net].items()
                for eps, entry in by_eps.items()
                if "hop_skip_jump" in entry
            ]
            if leads:
                row("gradients beat hop_skip_jump", min(leads) >= 0, min(leads))
            gap = max(entry["gradient"] - entry["apgd"] for entry in lone)
            row(f"apgd finds at most {SLACK} points more", gap <= SLACK, gap)
        return rows

    def _first(self, found: dict[str, Any], net: str, norm: str, eps: str) -> float:
        """Gradient accuracy on the images that HopSkipJump walked from."""
        count, walked = (len(subset(self.plan[name])) for name in ("SUBSET", "WALKS"))
        return _percent(unpacked(found["base"][net, norm, float(eps)]["survived"], count)[:walked])

    def trap(self) -> dict[str, Any]:
        """The saturated readout attacked through its own loss, and at its logits."""
        nets = {name: {**self.nets[0], **self.alone}[name] for name in ("bio", "bio, steep")}
        radii, count = {"linf": LADDER}, self.plan["SUBSET"]
        own = self._attack("trained", radii, nets, count, settings=self._walk(restarts=1))
        honest = self._attack("gradient", radii, nets, count, settings=self._walk())
        return {
            net: {
                "eps": list(LADDER),
                "clean": self.clean[net][0],
                "own_loss": [own[net, "linf", eps]["accuracy"] for eps in LADDER],
                "own_loss_one_step": [own[net, "linf", eps]["one_step_accuracy"] for eps in LADDER],
                "logits": [honest[net, "linf", eps]["accuracy"] for eps in LADDER],
                "zero_gradients": [own[net, "linf", eps]["zero_gradients"] for eps in LADDER],
            }
            for net in nets
        }

    def _minimal(self, recipe: dict[str, Any]) -> dict[str, Any]:
        return {
            "model": recipe,
            "images": self.plan["MINIMAL_IMAGES"],
            "steps": MINIMAL_STEPS,
            "components": models.COMPONENTS,
        }

    def understand(self) -> dict[str, Any]:
        """Minimal changes, gradients and bounds of every net and seed; loss surfaces of seed 0."""
        table = {}
        for name in (*self.nets[0], *self.alone):
            mine = [one[name] for one in (*self.nets, self.alone) if name in one]
            seen = self.sweep([self._minimal(recipe) for recipe in mine], minimal, label=f"minimal, {name}")
            first = {k: v for k, v in seen[0].items() if k not in ("distances", "seconds")}
            table[name] = {
                "median_l2": summary([one["median"] for one in seen]),
                "seed_0": first,
                "distances": seen[0]["distances"],
            }
        grid = {"images": 4, "eps": 2.0, "points": 15, "seed": 0}
        names = list(self.nets[0])
        drawn = self.sweep([{"model": self.nets[0][n], **grid} for n in names], surfaces, label="surfaces")
        for name, seen in zip(names, drawn, strict=True):
            table[name]["surface"] = seen
        return table


def reproduce_robustness(
    seeds: int = 3, quick: bool = False, jobs: int = 1, dask: str | None = None, progress: bool = True
) -> dict[str, Any]:
    """Train all networks, attack them, and record what is left of them.

    Parameters
    ----------
    seeds : int
        Seeds of the whole pipeline. The curve, the attacks of others, transfer and the trap use seed 0.
    quick : bool
        Fewer images and radii, for a look; the networks are the same.
    jobs, dask
        See :func:`bionet_reproduction.sweeps.run`.
    progress : bool
        Show progress bars.

    Returns
    -------
    dict
        The record, as written to ``results/robustness.json``.

    Raises
    ------
    ModuleNotFoundError
        Without the extra ``attacks``, before anything is computed.
    FileNotFoundError
        Without the record of the run ``mnist``.
    """
    independent.require()
    study = Study(Sweep("robustness", jobs, dask, progress), seeds, quick)
    nets = study.train()
    gradient, base = study.all_seeds()
    found = study.one_seed()
    worst = study.worst(found)
    curve: dict[str, Any] = {}
    for (net, norm, eps), entry in found["curve"].items():
        curve.setdefault(net, {}).setdefault(norm, {})[str(eps)] = entry["accuracy"]
    return study.sweep.record(
        {
            "seeds": seeds,
            "quick": quick,
            "m": study.m,
            "beta": study.beta,
            "n": models.POWER,
            "goal": study.goal,
            "decays": study.decays,
            "passes": models.PASSES,
            "readout_epochs": models.READOUT_EPOCHS,
            "backprop_epochs": models.BACKPROP_EPOCHS,
            "dynamical": study.dynamical,
            "steps": STEPS,
            "restarts": RESTARTS,
            "first_step": FIRST_STEP,
            "criteria": list(CRITERIA),
            "subset": study.plan["SUBSET"],
            "walks": study.plan["WALKS"],
            "minimal_images": study.plan["MINIMAL_IMAGES"],
            "images": study.plan["IMAGES"] or len(cells.images("test")[1]),
            "curve_restarts": study.plan["CURVE_RESTARTS"],
            "apgd": APGD,
            "asked": list(study.plan["ASKED"]),
            "square": study.plan["SQUARE"],
            "hop_skip_jump": study.plan["HOP_SKIP_JUMP"],
            "transfer": study.plan["TRANSFER"],
            "components": models.COMPONENTS,
            "adversarial_training": models.ADVERSARIAL,
        },
        nets=nets,
        gradient=gradient,
        curve=curve,
        worst=worst,
        transfer={
            norm: {s: found["transfer"][norm, s]["accuracy"] for s in study.nets[0]}
            for norm in study.plan["TRANSFER"]
        },
        sanity=study.sanity(base, found, worst),
        trap=study.trap(),
        understand=study.understand(),
        explain=study.explain(found),
        cifar10=study.cifar(),
    )


def compare(run: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Rows of a table for the screen: net and radius, clean accuracy, robust accuracy."""
    rows = []
    for net, by_norm in run["gradient"].items():
        clean = cells.shown(run["nets"][net]["test_accuracy"])
        for norm, by_eps in by_norm.items():
            for eps, entry in by_eps.items():
                rows.append((f"{net}, {norm} {eps}", clean, cells.shown(entry["gradient"])))
    failed = [row for row in run["sanity"] if not row["holds"]]
    return [*rows, *((f"{r['net']}: {r['check']}", "must hold", f"NO: {r['value']}") for r in failed)]


def _table(found: dict[str, list[Any]]) -> dict[str, Any]:
    """Summaries over seeds, by net, norm and radius."""
    table: dict[str, Any] = {}
    for key in found["gradient"][0]:
        runs = [one for one in found["gradient"] if key in one]
        net, norm, eps = key
        table.setdefault(net, {}).setdefault(norm, {})[str(eps)] = {
            **{
                name: summary([one[key]["accuracy"] for one in each if key in one])
                for name, each in found.items()
            },
            "zero_gradients": max(one[key]["zero_gradients"] for one in runs),
        }
    return table


def _percent(alive: np.ndarray) -> float:
    return round(100.0 * float(np.mean(alive)), 4)
