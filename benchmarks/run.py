#!/usr/bin/env python3
"""Speed of the core: one table, and results/benchmarks.json beside it.

Each row times one thing against a yardstick measured in the same run, alternating between the two, so that a
slower or a busier machine changes both. Floors are work that cannot be avoided (a sort, a matrix product);
rivals are what the talk did (Euler steps). Only ratios compare between machines.

    python benchmarks/run.py            one BLAS thread
    python benchmarks/run.py --threads 2
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from bionet import data, dynamics, plasticity, ranking
from bionet.units import CompetingUnits

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book" / "tools"))

from run_notebooks import processor  # noqa: E402

TARGET = ROOT / "results" / "benchmarks.json"
HIDDEN, FEATURES = 484, 784  # the talk's network
PAPER_HIDDEN, BATCH = 2000, 100  # the paper's
IMAGES = 500

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


def rows(rng: np.random.Generator) -> list[tuple[str, str, Work, Work, int]]:
    """What is timed, against what, and how often."""
    images = data.load("digits").images[:IMAGES]
    images = images / np.linalg.norm(images, axis=1, keepdims=True)
    v = images[0].astype(np.float64)
    W = rng.standard_normal((HIDDEN, FEATURES))
    currents = W @ v
    g = plasticity.learning_activation(dynamics.steady_state(currents, 0.8), 0.1, 0.01)
    W_paper = rng.standard_normal((PAPER_HIDDEN, FEATURES)).astype(np.float32)
    batch = np.ascontiguousarray(images[:BATCH], dtype=np.float32)
    step = {"p": 3.0, "k": 7, "delta": 0.4, "learning_rate": 0.04}
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
            f"ranked step, {BATCH} images, {PAPER_HIDDEN} units",
            "floor: its bare matrix product",
            lambda: ranking.ranked_step(W_paper, batch, **step),
            lambda: W_paper @ batch.T,
            15,
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
    parser.add_argument("--threads", type=int, default=1, help="BLAS threads (default 1)")
    threads = parser.parse_args().threads
    table = []
    with threadpool_limits(threads):
        where = machine(threads)
        print(", ".join(f"{key} {value}" for key, value in where.items()))
        print(f"\n{'what':<40} {'against':<40} {'ms':>10} {'against, ms':>12} {'ratio':>9}")
        for what, against, work, yardstick, repeats in rows(np.random.default_rng(0)):
            ours, theirs = compare(work, yardstick, repeats)
            ratio = ours / theirs
            print(
                f"{what:<40} {against:<40} {1e3 * ours:>10.3f} {1e3 * theirs:>12.3f} {ratio:>9.4g}",
                flush=True,
            )
            table.append(
                {"what": what, "against": against, "seconds": ours, "against_seconds": theirs, "ratio": ratio}
            )
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(json.dumps({"machine": where, "rows": table}, indent=2) + "\n", encoding="utf-8")
    print(f"\nwritten to {TARGET.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
