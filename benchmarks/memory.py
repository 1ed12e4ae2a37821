#!/usr/bin/env python3
"""Peak memory of the paper's MNIST run, stage by stage.

Epochs after the first need no more memory, so two of each stage show the peak of the whole run.

    python benchmarks/memory.py
"""

import resource
import sys
import tempfile
from pathlib import Path

from bionet import cells
from bionet.readout import PowerReadout
from bionet.units import RankedUnits


def peak() -> str:
    """Return the largest resident size of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024  # bytes in one unit of ru_maxrss
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30:.2f} GiB"


def main() -> None:
    X, y = cells.images("60k")
    print(f"images in memory   {peak()}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        units = RankedUnits(
            2000,
            p=3.0,
            k=7,
            delta=0.4,
            n_epochs=2,
            learning_rate=cells.RATE,
            batch_size=cells.BATCH,
            random_state=0,
            checkpoint=Path(folder) / "rows.npz",
        ).fit(X)
    print(f"rows learned       {peak()}", flush=True)
    PowerReadout(units.components_, n=4.5, n_epochs=2, batch_size=cells.BATCH, random_state=0).fit(X, y)
    print(f"readout trained    {peak()}")


if __name__ == "__main__":
    main()
