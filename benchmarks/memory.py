#!/usr/bin/env python3
"""Peak memory of the paper's run on MNIST, or on CIFAR-10, stage by stage.

Epochs after the first need no more memory, so two of each stage show the peak of the whole run.

    python benchmarks/memory.py
    python benchmarks/memory.py cifar10
"""

import resource
import sys
import tempfile
from pathlib import Path

from bionet.readout import PowerReadout
from bionet.units import RankedUnits
from bionet_reproduction import views
from bionet_reproduction.cifar import Network
from bionet_reproduction.rows import BATCH, RATE


def peak() -> str:
    """Return the largest resident size of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024  # bytes in one unit of ru_maxrss
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30:.2f} GiB"


def main() -> None:
    colour = sys.argv[1:] == ["cifar10"]
    part = "cifar-50k" if colour else "60k"
    net = Network()
    X, y = views.seen(part, net.view if colour else None, part), views.images(part)[1]
    rule = {"p": 2.0, "k": 3, "delta": 0.3} if colour else {"p": 3.0, "k": 7, "delta": 0.4}
    rate, size = (net.learning_rate, net.batch_size) if colour else (RATE, BATCH)
    n, minibatch = (net.n, net.readout_batch_size) if colour else (4.5, BATCH)
    print(f"images in memory   {peak()}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        units = RankedUnits(
            2000,
            **rule,
            n_epochs=2,
            learning_rate=rate,
            batch_size=size,
            random_state=0,
            checkpoint=Path(folder) / "rows.npz",
        ).fit(X)
    print(f"rows learned       {peak()}", flush=True)
    PowerReadout(units.components_, n=n, n_epochs=2, batch_size=minibatch, random_state=0).fit(X, y)
    print(f"readout trained    {peak()}")


if __name__ == "__main__":
    main()
