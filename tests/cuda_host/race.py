"""Take minibatches by ``DeviceRule`` on kernels built for the thread sanitizer, which watches.

python race.py LIBRARY DTYPE THREADS LINE: the line of the barrier that is left out, 0 for none.
"""

import ctypes
import sys
import warnings
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
import fake_cupy

from bionet.fast import ranked_cuda

BLOCKS = 8  # the most that a launch below has; all of them run at the same time


def main(library: str, dtype: str, threads: str, line: str) -> None:
    """Ten images by four: the last minibatch is smaller. Units are named more than once, and strides wrap."""
    ctypes.c_int.in_dll(ctypes.CDLL(library), "removed_barrier").value = int(line)
    sys.modules["cupy"] = cupy = fake_cupy.stand_in(lambda code: Path(library), int(threads))
    warnings.simplefilter("ignore", RuntimeWarning)  # no graph here
    rng = np.random.default_rng(0)
    X, W = rng.random((10, 20)), rng.standard_normal((BLOCKS, 20))
    rule = ranked_cuda.DeviceRule(cupy.asarray(W, dtype), cupy.asarray(X, dtype), 4, 3.0, 3, 0.4)
    for _ in range(2):
        rule.learn(rng.permutation(10), 0.02)
    assert rule.take_wins().sum() == 20 or int(line)


if __name__ == "__main__":
    main(*sys.argv[1:])
