#!/usr/bin/env python3
"""Speed of the core: one table, and results/benchmarks.json beside it.

Each row times one thing against a yardstick measured in the same run, alternating between the two, so that a
slower or a busier machine changes both. Floors are work that cannot be avoided (a sort, a matrix product);
rivals are what the talk did (Euler steps). Only ratios compare between machines.

    python benchmarks/run.py            one thread
    python benchmarks/run.py --threads 2
    python benchmarks/run.py --dynamics     equations 1 to 3 alone; they have a record of their own
    python benchmarks/run.py --cifar        one minibatch of CIFAR-10's size; it has a record of its own
    python benchmarks/run.py --attacks      one step of an attack, and a whole one; they have a record, too

The floor of the fast rule is its own forward product, in the faster of its two orientations. The first table
gives that product with every kernel that OpenBLAS has for this processor, each in a process of its own, and
the fast rule beside it. Threads of Numba and those of BLAS go on waiting for work for a while after a call
and disturb each other, so the two are timed in stretches with a pause between, as a training run has them.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from bionet import attacks, backend, data, dynamics, plasticity, ranking
from bionet.fast import numba_engine
from bionet.fast.ranked import HostRule
from bionet.mlp import BackpropClassifier
from bionet.readout import PowerReadout
from bionet.units import CompetingUnits, RankedUnits
from bionet_reproduction import talk

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book" / "tools"))

from run_notebooks import processor  # noqa: E402

TARGET = ROOT / "results" / "benchmarks.json"
CIFAR_TARGET = ROOT / "results" / "cifar10_speed.json"
ATTACK_TARGET = ROOT / "results" / "attack_speed.json"
ATTACKED, ATTACK_STEPS = 500, 40  # images of a block; steps of the attack on all test images
DYNAMICS_TARGET = ROOT / "results" / "dynamics_speed.json"
HIDDEN, FEATURES = 484, 784  # the talk's network
PAPER_HIDDEN, BATCH = 2000, 100  # the paper's
IMAGES = 500
RULES = ((3.0, 7), (2.0, 2))  # p, k
KERNELS = (
    "",
    "Haswell",
    "Zen",
    "SkylakeX",
    "Cooperlake",
    "Sapphirerapids",
)  # of OpenBLAS; "" is its own choice

Work = Callable[[], object]


def seconds(work: Work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(work: Work, yardstick: Work, repeats: int) -> tuple[float, float]:
    """Median seconds of both, taken in turns after one warm-up each."""
    seconds(work), seconds(yardstick)
    pairs = [(seconds(work), seconds(yardstick)) for _ in range(repeats)]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def compare_stretches(work: Work, yardstick: Work, repeats: int) -> tuple[float, float]:
    """Median seconds of both, in alternating stretches of twenty calls without the first five."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(max(3, repeats // 15)):
        for each, kept in zip((work, yardstick), times, strict=True):
            time.sleep(0.05)
            kept += [seconds(each) for _ in range(20)][5:]
    return statistics.median(times[0]), statistics.median(times[1])


def rows(rng: np.random.Generator) -> list[tuple[str, str, Work, Work, int]]:
    """What is timed, against what, and how often."""
    images = data.load("digits").images[:IMAGES]
    images = images / np.linalg.norm(images, axis=1, keepdims=True)
    v = images[0].astype(np.float64)
    W = rng.standard_normal((HIDDEN, FEATURES))
    currents = W @ v
    g = plasticity.learning_activation(dynamics.steady_state(currents, 0.8), 0.1, 0.01)
    units = {"n_hidden": HIDDEN, "delta": 0.01, "init": "sphere", "random_state": 0}

    def many(work: Work, times: int) -> Work:
        def repeated() -> None:
            for _ in range(times):
                work()

        return repeated

    def settle_by_euler() -> object:
        return dynamics.simulate(currents, 0.8, 1.0, 0.01, 12.0)

    def present_by_euler() -> object:
        return plasticity.simulate(W, v, g, 5.0, 0.01, 1.79)

    def learn(count: int, **solver: object) -> object:
        return CompetingUnits(**units, **solver).fit(images[:count])

    def currents_only() -> None:
        for image in images:
            W32 @ image

    W32 = W.astype(np.float32)
    return [
        (
            f"steady state, {HIDDEN} units, x 100",
            "floor: a sort and a sum",
            many(lambda: dynamics.steady_state(currents, 0.8), 100),
            many(lambda: np.cumsum(np.sort(currents)), 100),
            15,
        ),
        (
            f"steady state, {HIDDEN} units",
            "rival: Euler to 12 tau, 1200 steps",
            lambda: dynamics.steady_state(currents, 0.8),
            settle_by_euler,
            9,
        ),
        (
            f"one presentation, {HIDDEN} x {FEATURES}",
            "floor: a product and a rank-one update",
            lambda: plasticity.present(W, v, g, 0.358),
            lambda: W + np.outer(W @ v, v),
            25,
        ),
        (
            f"one presentation, {HIDDEN} x {FEATURES}",
            "rival: Euler, 179 steps as the talk",
            lambda: plasticity.present(W, v, g, 0.358),
            present_by_euler,
            3,
        ),
        (
            f"CompetingUnits, exact, {IMAGES} images",
            "floor: the currents alone",
            lambda: learn(IMAGES),
            currents_only,
            5,
        ),
        (
            "CompetingUnits, exact, 10 images",
            "rival: its Euler solver",
            lambda: learn(10),
            lambda: learn(10, solver="euler"),
            1,
        ),
    ]


def mnist() -> data.ImageSet:
    """MNIST, or the embedded digits where it cannot be had."""
    return data.load("mnist", stand_in=True)


def product(rng: np.random.Generator, batch: np.ndarray) -> tuple[Work, Work]:
    """The forward product of the fast rule in its two orientations."""
    P = rng.standard_normal((PAPER_HIDDEN, FEATURES)).astype(np.float32)
    wide = np.empty((len(batch), PAPER_HIDDEN), dtype=np.float32)
    tall = np.empty((PAPER_HIDDEN, len(batch)), dtype=np.float32)
    return lambda: np.matmul(batch, P.T, out=wide), lambda: np.matmul(P, batch.T, out=tall)


def step_of_the_rule(images: np.ndarray, p: float, k: int, engine: str) -> Work:
    """One minibatch a call, of rows that have learned for a while."""
    rng = np.random.default_rng(1)
    W = rng.standard_normal((PAPER_HIDDEN, FEATURES)).astype(np.float32)
    rule = HostRule(W, images, BATCH, p, k, 0.4, engine)
    order = rng.permutation(len(images) // BATCH * BATCH).reshape(-1, BATCH)
    position = 0
    for chosen in order[:200]:
        rule.step(chosen, 0.04)

    def step() -> None:
        nonlocal position
        rule.step(order[position % len(order)], 0.01)
        position += 1

    return step


def engines() -> list[str]:
    return ["numpy", "numba"] if numba_engine.available() else ["numpy"]


def fast_rule(repeats: int) -> list[dict[str, object]]:
    """Milliseconds of the fast rule and of its floor, with the BLAS kernel of this process."""
    images = mnist().images
    batch = np.ascontiguousarray(images[:BATCH])
    orientations = product(np.random.default_rng(0), batch)
    wide, tall = compare_stretches(*orientations, repeats)
    floor = orientations[0] if wide <= tall else orientations[1]
    found = []
    for engine in engines():
        for p, k in RULES:
            ours, theirs = compare_stretches(step_of_the_rule(images, p, k, engine), floor, repeats)
            found.append(
                {"engine": engine, "p": p, "k": k, "seconds": ours, "floor": theirs, "ratio": ours / theirs}
            )
    return found


def cifar_step(repeats: int) -> list[dict[str, object]]:
    """Seconds of a minibatch of 1000 dense images at 2000 x 3072, beside its own forward product."""
    rng = np.random.default_rng(0)
    images = rng.random((5000, 3072), dtype=np.float32)
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    found = []
    for engine in engines():
        for p in (2.0, 3.0):
            W = rng.standard_normal((PAPER_HIDDEN, 3072)).astype(np.float32)
            rule = HostRule(W, images, 1000, p, 2, 0.2, engine)

            def step(rule: HostRule = rule) -> None:
                rule.step(rng.permutation(5000)[:1000], 0.01)

            def forward(rule: HostRule = rule) -> None:
                np.matmul(rule._batch, rule._P.T, out=rule.currents)

            step()
            ours, theirs = compare_stretches(step, forward, repeats)
            found.append({"engine": engine, "p": p, "seconds": ours, "floor": theirs, "ratio": ours / theirs})
    return found


def time_cifar(where: dict[str, object], repeats: int) -> None:
    """Print the table of CIFAR-10's minibatch and write its own record, with its machine."""
    print(f"\none minibatch of 1000, {PAPER_HIDDEN} x 3072, float32, beside its forward product")
    print(f"{'engine':<8} {'p':<4} {'ms':>8} {'floor, ms':>10} {'ratio':>7}")
    table = cifar_step(repeats)
    for row in table:
        print(
            f"{row['engine']:<8} {row['p']:<4g} {1e3 * row['seconds']:>8.2f} {1e3 * row['floor']:>10.2f}"
            f" {row['ratio']:>7.3g}"
        )
    written = json.dumps({"machine": where, "rows": table}, indent=2)
    CIFAR_TARGET.write_text(written + "\n", encoding="utf-8")


def attacked_nets() -> dict[str, PowerReadout | BackpropClassifier]:
    """A bio net and a net for back-propagation of the paper's size, hardly trained: a step costs the same."""
    images, labels = mnist().images[:2000], mnist().labels[:2000]
    W = np.random.default_rng(0).standard_normal((PAPER_HIDDEN, images.shape[1])).astype(np.float32)
    nets = {
        "competing units": PowerReadout(W, n_epochs=1, random_state=0),
        "back-propagation": BackpropClassifier(PAPER_HIDDEN, n_epochs=1, random_state=0),
    }
    return {name: net.fit(images, labels) for name, net in nets.items()}


def attack_step(repeats: int) -> list[dict[str, object]]:
    """Seconds of a step of PGD on a block of images, beside the matrix products of a pass there and back."""
    X, y = mnist().images[:ATTACKED], mnist().labels[:ATTACKED]
    found = []
    for name, net in attacked_nets().items():
        W, V = (net.components_, net.coef_) if isinstance(net, PowerReadout) else net.coefs_
        H = np.maximum(X @ W.T, 0)
        G = H @ V.T

        def products(W: np.ndarray = W, V: np.ndarray = V, H: np.ndarray = H, G: np.ndarray = G) -> None:
            for left, right in ((X, W.T), (H, V.T), (G, V), (H, W)):
                left @ right

        def steps(count: int, net: object = net) -> Work:
            return lambda: attacks.pgd(net, X, y, 0.1, steps=count)

        few, many = 5, 25
        taken = []
        for _ in range(max(3, repeats // 10)):
            taken.append((seconds(steps(few)), seconds(steps(many)), seconds(products), seconds(products)))
        ours = (statistics.median(t[1] for t in taken) - statistics.median(t[0] for t in taken)) / (
            many - few
        )
        theirs = statistics.median(each for t in taken for each in t[2:])
        found.append({"net": name, "seconds": ours, "floor": theirs, "ratio": ours / theirs})
    return found


def time_attacks(where: dict[str, object], repeats: int) -> None:
    """Print the table of the attacks and write their record, with its machine."""
    print(f"\none step of PGD on {ATTACKED} images, {PAPER_HIDDEN} hidden units, beside its matrix products")
    print(f"{'net':<18} {'ms':>8} {'floor, ms':>10} {'ratio':>7}")
    table = attack_step(repeats)
    for row in table:
        print(
            f"{row['net']:<18} {1e3 * row['seconds']:>8.2f} {1e3 * row['floor']:>10.2f} {row['ratio']:>7.3g}"
        )
    test = data.load("mnist", "test", stand_in=True)
    net = attacked_nets()["competing units"]
    whole = seconds(lambda: attacks.pgd(net, test.images, test.labels, 0.1, steps=ATTACK_STEPS))
    print(f"PGD, {ATTACK_STEPS} steps, all {len(test)} test images, no early stop: {whole:.1f} s")
    record = {
        "machine": where,
        "rows": table,
        "whole": {"images": len(test), "steps": ATTACK_STEPS, "seconds": whole},
    }
    ATTACK_TARGET.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def kernels(threads: int) -> list[dict[str, object]]:
    """The fast rule with every kernel that OpenBLAS can be told to use, a process each."""
    found: list[dict[str, object]] = []
    for kernel in KERNELS:
        given = {"OPENBLAS_CORETYPE": kernel} if kernel else {}
        given |= {"OPENBLAS_NUM_THREADS": str(threads), "NUMBA_NUM_THREADS": str(threads)}
        done = subprocess.run(
            [sys.executable, __file__, "--fast-rule", "--threads", str(threads)],
            capture_output=True,
            text=True,
            env={**os.environ, **given},
        )
        if done.returncode:  # a kernel that this processor cannot run
            continue
        answer = json.loads(done.stdout.splitlines()[-1])
        if kernel and any(answer["blas"] == earlier["blas"] for earlier in found):
            continue
        found.append({"asked": kernel or "its own choice", **answer})
    return found


def epochs() -> list[tuple[str, str, Work, Work, int]]:
    """An epoch of every part of the paper's pipeline, each against the bare products it needs."""
    train = mnist()
    images, labels = train.images[:6000], train.labels[:6000]
    rng = np.random.default_rng(2)
    rows = RankedUnits(PAPER_HIDDEN, n_epochs=1, random_state=0).fit(images[:BATCH]).components_
    rows = rows / 10.0
    features = np.abs(rng.standard_normal((len(images), PAPER_HIDDEN))).astype(np.float32)
    V = rng.standard_normal((10, PAPER_HIDDEN)).astype(np.float32)
    P = rng.standard_normal((PAPER_HIDDEN, FEATURES)).astype(np.float32)

    def readout_products() -> None:
        for block in backend.blocks(len(features), BATCH):
            part = features[block]
            (part @ V.T).T @ part

    def backprop_products() -> None:
        for block in backend.blocks(len(images), BATCH):
            hidden = images[block] @ P.T
            S = hidden @ V.T
            (S @ V).T @ images[block]
            S.T @ hidden

    def forward_products() -> None:
        for block in backend.blocks(len(images), BATCH):
            images[block] @ P.T

    net = PowerReadout(rows, n_epochs=1, random_state=0).fit(images, labels)
    prepared = net.features(images)
    order = rng.permutation(len(images))

    def readout_epoch() -> None:
        for block in backend.blocks(len(order), BATCH):
            chosen = order[block]
            net._step(np.take(prepared, chosen, axis=0), labels[chosen], 1e-4)

    baseline = BackpropClassifier(PAPER_HIDDEN, n_epochs=1, batch_size=BATCH, random_state=0)
    baseline.fit(images[:BATCH], labels[:BATCH])
    baseline.classes_ = np.arange(10)

    def backprop_epoch() -> None:
        BackpropClassifier(PAPER_HIDDEN, n_epochs=1, batch_size=BATCH, random_state=0).fit(images, labels)

    rule = HostRule(np.array(rows), images, BATCH, 3.0, 7, 0.4)
    name = f"{len(images)} images, {PAPER_HIDDEN} units"
    double = [rows.astype(np.float64), images[:BATCH].astype(np.float64)]
    single = HostRule(np.array(rows), images[:BATCH], BATCH, 3.0, 7, 0.4)
    return [
        (
            f"fast rule, epoch of {name}",
            "floor: its forward products",
            lambda: rule.learn(order, 0.01),
            forward_products,
            5,
        ),
        (f"readout, epoch of {name}", "floor: its products", readout_epoch, readout_products, 5),
        (f"back-propagation, epoch of {name}", "floor: its products", backprop_epoch, backprop_products, 3),
        (
            f"fast rule, {BATCH} images, {PAPER_HIDDEN} units",
            "rival: the definition, dense, float64",
            lambda: single.step(np.arange(BATCH), 0.01),
            lambda: ranking.ranked_step(*double, p=3.0, k=7, delta=0.4, learning_rate=0.01),
            5,
        ),
    ]


def readouts() -> list[tuple[str, str, Work, Work, int]]:
    """An epoch of the linear layer at the size of CIFAR-10, NumPy against Numba."""
    if "numba" not in engines():
        return []
    rng = np.random.default_rng(3)
    features = rng.random((50_000, PAPER_HIDDEN), dtype=np.float32)
    labels = np.arange(len(features)) % 10
    order = rng.permutation(len(features))
    net = PowerReadout(None, n=1.0, rectify=False, unit_norm=False, random_state=0)
    net.partial_fit(features[:10], labels[:10])

    def epoch(engine: str, size: int) -> Work:
        def work() -> None:
            net.engine = engine
            net._pass(features, labels, order, size, 1e-4)

        return work

    return [
        (
            f"readout by NumPy, {len(features)} x {PAPER_HIDDEN}, {size} a step",
            "rival: by Numba",
            epoch("numpy", size),
            epoch("numba", size),
            3,
        )
        for size in (10, 100)
    ]


def dynamical_model(count: int = 20_000) -> list[dict[str, object]]:
    """Microseconds an image of eqs. 1 to 3, beside their currents alone and the talk's Euler scheme."""
    images = mnist().images
    images = images[np.arange(count) % len(images)]
    images = images / np.linalg.norm(images, axis=1, keepdims=True)
    found: list[dict[str, object]] = []
    for hidden in (HIDDEN, PAPER_HIDDEN):
        rng = np.random.default_rng(0)
        W = rng.standard_normal((hidden, FEATURES)).astype(np.float32)
        positive = rng.random((hidden, FEATURES))  # the start of the talk's notebook
        shown = images[:3].astype(np.float64)
        euler = seconds(lambda W=positive, X=shown: talk.euler(X, W)) / len(shown)

        def currents(W: np.ndarray = W) -> None:
            for block in backend.blocks(count, BATCH):
                images[block] @ W.T

        for engine in engines():
            units = CompetingUnits(hidden, normalize=False, engine=engine, random_state=0)
            ours, floor = compare(lambda units=units: units.fit(images), currents, 3)
            found.append(
                {
                    "hidden": hidden,
                    "engine": engine,
                    "seconds": ours / count,
                    "floor": floor / count,
                    "euler": euler,
                    "multiple": euler / (ours / count),
                }
            )
    return found


def time_the_dynamics(where: dict[str, object]) -> None:
    """Print the table of the dynamical model and write its own record, with its machine."""
    print(f"\neqs. 1 to 3, exactly, one image after another, {FEATURES} pixels, float32")
    print(f"{'units':>6} {'engine':<8} {'us an image':>12} {'its currents, us':>17} {'Euler / ours':>13}")
    model = dynamical_model()
    for row in model:
        print(
            f"{row['hidden']:>6} {row['engine']:<8} {1e6 * row['seconds']:>12.1f}"
            f" {1e6 * row['floor']:>17.1f} {row['multiple']:>13.0f}"
        )
    written = json.dumps({"machine": where, "rows": model}, indent=2)
    DYNAMICS_TARGET.write_text(written + "\n", encoding="utf-8")


def bandwidth() -> float:
    """Bytes a second read and written by a copy too large for any cache."""
    source, target = np.ones(1 << 26, dtype=np.float32), np.zeros(1 << 26, dtype=np.float32)
    fastest = min(seconds(lambda: np.copyto(target, source)) for _ in range(5))
    return 2 * source.nbytes / fastest


def gpu() -> dict[str, object] | None:
    """Microseconds a step on the GPU, from five epochs; None where there is none."""
    if not backend.gpu_available():
        return None
    cupy = backend.get("cupy")
    images = cupy.asarray(mnist().images)
    units = RankedUnits(PAPER_HIDDEN, n_epochs=1, random_state=0).fit(images)
    seconds_of = seconds(lambda: units.set_params(n_epochs=6).fit(images)) - seconds(
        lambda: units.set_params(n_epochs=1).fit(images)
    )
    name = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    return {
        "device": name,
        "epoch_seconds": seconds_of / 5,
        "step_seconds": seconds_of / 5 / (len(images) / BATCH),
    }


def machine(threads: int) -> dict[str, object]:
    """Where the numbers come from."""
    blas = [info for info in threadpool_info() if info["user_api"] == "blas"]
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": sorted({f"{b['internal_api']} {b['version']} {b.get('architecture', '?')}" for b in blas}),
        "blas_threads": threads,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1, help="threads of BLAS and Numba (default 1)")
    parser.add_argument("--repeats", type=int, default=60, help="of a step of the fast rule (default 60)")
    parser.add_argument(
        "--fast-rule", action="store_true", help="only that, as JSON, with this process's BLAS"
    )
    parser.add_argument("--dynamics", action="store_true", help="only equations 1 to 3")
    parser.add_argument("--cifar", action="store_true", help="only a minibatch of CIFAR-10's size")
    parser.add_argument("--attacks", action="store_true", help="only adversarial attacks")
    options = parser.parse_args()
    threads = options.threads
    if numba_engine.available():
        import numba

        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    with threadpool_limits(threads, user_api="blas"):
        where = machine(threads)
        if options.fast_rule:
            print(json.dumps({"blas": where["blas"], "rows": fast_rule(options.repeats)}))
            return
        print(", ".join(f"{key} {value}" for key, value in where.items()))
        if options.dynamics:
            time_the_dynamics(where)
            return
        if options.cifar:
            time_cifar(where, options.repeats)
            return
        if options.attacks:
            time_attacks(where, options.repeats)
            return
        by_kernel = kernels(threads)
        print(f"\none minibatch of {BATCH}, {PAPER_HIDDEN} x {FEATURES}, float32, beside its forward product")
        print(f"{'BLAS kernel':<34} {'engine':<8} {'p, k':<8} {'ms':>8} {'floor, ms':>10} {'ratio':>7}")
        for kernel in by_kernel:
            for row in kernel["rows"]:
                name = f"{', '.join(kernel['blas'])} ({kernel['asked']})"
                print(
                    f"{name:<34} {row['engine']:<8} {row['p']:g}, {row['k']:<5} {1e3 * row['seconds']:>8.3f}"
                    f" {1e3 * row['floor']:>10.3f} {row['ratio']:>7.3g}"
                )
        quickest = min(by_kernel, key=lambda kernel: kernel["rows"][0]["floor"])
        print(f"quickest product: {', '.join(quickest['blas'])} ({quickest['asked']})")
        print(f"\n{'what':<48} {'against':<40} {'ms':>10} {'against, ms':>12} {'ratio':>9}")
        table = []
        for what, against, work, yardstick, repeats in [
            *rows(np.random.default_rng(0)),
            *epochs(),
            *readouts(),
        ]:
            ours, theirs = compare(work, yardstick, repeats)
            ratio = ours / theirs
            print(
                f"{what:<48} {against:<40} {1e3 * ours:>10.3f} {1e3 * theirs:>12.3f} {ratio:>9.4g}",
                flush=True,
            )
            table.append(
                {"what": what, "against": against, "seconds": ours, "against_seconds": theirs, "ratio": ratio}
            )
        time_cifar(where, options.repeats)
        time_attacks(where, options.repeats)
        time_the_dynamics(where)
    device = gpu()
    print(f"\nGPU: {device if device else 'none that CuPy can use here; its rows were not measured'}")
    written = {
        "machine": where,
        "fast_rule": by_kernel,
        "rows": table,
        "gpu": device,
    }
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    print(f"\nwritten to {TARGET.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
