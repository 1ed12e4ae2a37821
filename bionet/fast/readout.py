"""Training of the readout's linear layer on the host, many steps in one compiled call.

The definition is ``bionet.classifier.GradientClassifier._step`` with :mod:`bionet.losses` and
:mod:`bionet.optim`, a dozen NumPy calls a step; tests hold this module to it. Needs Numba (the extra
``fast``).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bionet.backend import Array, is_numpy
from bionet.fast import numba_engine
from bionet.losses import TRAINING
from bionet.optim import SGD, Adam

compiled: Any = None
if numba_engine.available():
    from bionet.fast import readout_compiled as compiled

# Images a step, times hidden units, times classes, up to which the compiled path is chosen unasked. Measured:
# it was faster there with both optimisers and precisions; larger products are as quick by BLAS.
LARGEST = 300_000


def serves(engine: str, products: int, *arrays: Array) -> bool:
    """Whether the compiled path is to train these arrays, with `products` for the logits of one step.

    Raises
    ------
    RuntimeError
        For ``engine="numba"`` where it is not installed.
    """
    if not all(is_numpy(a) for a in arrays) or numba_engine.engine_for(engine) == "numpy":
        return False
    alike = len({a.dtype for a in arrays}) == 1 and arrays[0].dtype in (np.float32, np.float64)
    return alike and (engine == "numba" or products <= LARGEST)


def learn(
    features: np.ndarray,
    index: np.ndarray,
    order: np.ndarray,
    size: int,
    coef: np.ndarray,
    intercept: np.ndarray,
    trained: bool,
    optimizer: SGD | Adam,
    rate: float,
    loss: str,
    m: float,
    beta: float,
) -> float:
    """Pass over ``features[order]`` once, `size` images a step, and change the layer in place.

    Parameters
    ----------
    features : array, shape (samples, hidden)
    index : array, shape (samples,)
        Class indices.
    order : array, shape (steps * size,) or shorter
    size : int
    coef, intercept : array, shape (classes, hidden) and (classes,)
        The layer, of the dtype of `features`, C-contiguous.
    trained : bool
        Whether the intercept is trained too.
    optimizer : SGD or Adam
        Its state goes on from step to step and from call to call.
    rate, loss, m, beta
        As in :class:`bionet.readout.PowerReadout`.

    Returns
    -------
    float
        The summed loss.
    """
    parameters = [coef, intercept] if trained else [coef]
    size = min(size, len(order))
    rows = -(-size // compiled.GROUP) * compiled.GROUP
    classes, hidden = coef.shape
    dtype = coef.dtype
    unused = np.empty((2, classes), dtype=dtype)
    means, squares, steps, constants = [coef, unused[0]], [coef, unused[1]], 0, (0.0, 0.0, 0.0)
    if isinstance(optimizer, Adam):
        optimizer.begin(parameters)
        means, squares = (
            optimizer.means + means[len(parameters) :],
            optimizer.squares + squares[len(parameters) :],
        )
        steps, constants = optimizer.steps, (optimizer.beta1, optimizer.beta2, optimizer.epsilon)
        optimizer.steps += -(-len(order) // size)
    total = compiled.kernel()(
        np.ascontiguousarray(features),
        np.ascontiguousarray(index, dtype=np.intp),
        np.ascontiguousarray(order, dtype=np.intp),
        size,
        coef,
        intercept,
        trained,
        means[0],
        squares[0],
        means[1],
        squares[1],
        steps,
        isinstance(optimizer, Adam),
        float(rate),
        *constants,
        TRAINING.index(loss),
        float(m),
        float(beta),
        np.empty((rows, hidden), dtype=dtype),
        np.empty((rows, classes), dtype=dtype),
        np.empty((rows, classes), dtype=dtype),
        np.empty(max(hidden, classes), dtype=dtype),
    )
    return float(total)
