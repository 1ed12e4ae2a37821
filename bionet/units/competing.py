"""Units that compete in time and learn from one image after another: equations 1 to 3."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from tqdm import tqdm

from bionet import dynamics, plasticity
from bionet.activations import unit_norm
from bionet.backend import (
    Array,
    blocks,
    generators,
    indices_like,
    is_numpy,
    namespace,
    out_of_range_unwarned,
    to_host,
)
from bionet.checks import choice, images, integer, like_learned, require_number
from bionet.fast.competing import HostDynamics
from bionet.units.start import Units, require_squares

_BLOCK = 256  # images between two looks at the device-side divergence flag


class CompetingUnits(Units):
    """Hidden units that compete in time and learn from one image after another (eqs. 1-3).

    Each image sets currents, the units settle to the steady state of eq. 1, eq. 2 turns their
    activities into g, and eq. 3 runs for one presentation.

    Parameters
    ----------
    n_hidden : int
        Number of hidden units.
    w_inh : float
        Strength of the global inhibition, ``0 <= w_inh < 1`` (dimensionless).
    h_star : float
        Threshold of eq. 2 (dimensionless); see `threshold`.
    delta : float
        Strength of anti-Hebbian learning, not negative (dimensionless).
    duration : float
        Length of one presentation, in units of ``tau_L``.
    solver : {"exact", "euler"}
        Closed forms, or Euler steps for both equations, from h = 0 for every image.
    init : {"normal", "uniform", "sphere", "ball"}, float, or array of shape (hidden, features)
        Start of the weights; see :func:`initial_weights`.
    normalize : bool
        Give every image unit L2 norm first.
    threshold : {"relative", "absolute"}
        ``absolute``: h_* is `h_star`, as eq. 2 has it. ``relative``: h_* is `h_star` times the
        largest activity that the image evokes, an extension of eq. 2 made here, so that every
        image that evokes any activity teaches some unit.
    schedule : {"constant", "linear"}
        Presentations of constant length, or falling linearly to zero over the whole training.
    n_epochs : int
        Passes over the images.
    shuffle : bool
        Draw a new order for every pass.
    engine : {"auto", "numpy", "numba"}
        How ``solver="exact"`` computes NumPy arrays: ``numba`` needs the extra ``fast``; ``auto`` takes it
        where it is installed. Both present one image after another, exactly up to rounding.
    t_max, dt, dt_w : float
        For ``solver="euler"``: time allowed for eq. 1 and its step, in units of tau, and the step
        of eq. 3, in units of ``tau_L``.
    random_state : None, int or NumPy random generator
        Start and orders.
    verbose : bool
        Show a progress bar.

    Attributes
    ----------
    components_ : array, shape (hidden, features)
        Weights W.
    wins_ : numpy.ndarray, shape (hidden,)
        Presentations in which the unit learned with g = 1.
    last_win_ : numpy.ndarray, shape (hidden,)
        Index in `X` of the last image with g = 1, or -1.
    n_silent_ : int
        Presentations that brought no unit to h_*.
    n_features_in_ : int
        Number of features seen in ``fit``.

    Notes
    -----
    Krotov & Hopfield (2019); eqs. 1-3 are the talk's. The closed forms are derived in chapters 2 and 3.
    """

    def __init__(
        self,
        n_hidden: int = 100,
        *,
        w_inh: float = 0.8,
        h_star: float = 0.8,
        delta: float = 0.4,
        duration: float = 0.1,
        solver: str = "exact",
        init: Any = "normal",
        normalize: bool = True,
        threshold: str = "relative",
        schedule: str = "linear",
        n_epochs: int = 1,
        shuffle: bool = True,
        engine: str = "auto",
        t_max: float = 12.0,
        dt: float = 0.01,
        dt_w: float = 0.002,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.n_hidden = n_hidden
        self.w_inh = w_inh
        self.h_star = h_star
        self.delta = delta
        self.duration = duration
        self.solver = solver
        self.init = init
        self.normalize = normalize
        self.threshold = threshold
        self.schedule = schedule
        self.n_epochs = n_epochs
        self.shuffle = shuffle
        self.engine = engine
        self.t_max = t_max
        self.dt = dt
        self.dt_w = dt_w
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> CompetingUnits:
        """Learn from all images, `n_epochs` times.

        Parameters
        ----------
        X : array, shape (samples, features)
            Images (any finite real values).
        y : None
            Ignored.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For wrong shapes, NaN, or parameters out of range.
        bionet.plasticity.Divergence
            If a unit's weights grow without bound. ``components_`` is then what it was before that
            image (on a device, before its block of images).
        ArithmeticError
            If the weights leave the floating-point range.
        """
        X = images(self, X, reset=True)
        duration, w_inh = self._check()
        weights_rng, order_rng = generators(self.random_state, 2)
        self._begin(X, weights_rng)
        X = self._scaled(X)
        samples, n_epochs = X.shape[0], integer("n_epochs", self.n_epochs)
        total = samples * n_epochs
        for epoch in range(n_epochs):
            order = order_rng.permutation(samples) if self.shuffle else np.arange(samples)
            if self.schedule == "linear":
                durations = duration * (1.0 - (epoch * samples + np.arange(samples)) / total)
            else:
                durations = np.full(samples, duration)
            self._learn(X, order, durations, w_inh, f"pass {epoch + 1} of {n_epochs}")
        return self

    def partial_fit(self, X: Any, y: Any = None, durations: Any = None) -> CompetingUnits:
        """Present the images of `X` once, in the order given.

        Parameters
        ----------
        X : array, shape (samples, features)
        y : None
            Ignored.
        durations : float or array, shape (samples,), optional
            Length of each presentation; `duration` by default. With the durations and orders that
            ``fit`` would use, a loop of ``partial_fit`` equals ``fit`` up to rounding.

        Returns
        -------
        self

        Raises
        ------
        ValueError, bionet.plasticity.Divergence, ArithmeticError
            As ``fit``; also for durations that are negative, not finite, or of another shape.
        TypeError
            For images of another array library than those before.
        """
        first = not hasattr(self, "components_")
        X = images(self, X, reset=first)
        duration, w_inh = self._check()
        if first:
            self._begin(X, generators(self.random_state, 2)[0])
        X = self._scaled(like_learned(X, self.components_))
        lengths = np.broadcast_to(
            np.asarray(duration if durations is None else durations, dtype=np.float64), X.shape[:1]
        )
        if not (np.isfinite(lengths).all() and (lengths >= 0).all()):
            raise ValueError(f"durations must be finite and not negative, got {durations!r}")
        self._learn(X, np.arange(X.shape[0]), lengths, w_inh, "images")
        return self

    def _begin(self, X: Array, rng: np.random.Generator) -> None:
        self._start(X, rng)
        self.last_win_ = np.full(self.wins_.shape, -1, dtype=np.intp)
        self.n_silent_ = 0

    def _check(self) -> tuple[float, float]:
        choice("solver", self.solver, ("exact", "euler"))
        choice("engine", self.engine, ("auto", "numpy", "numba"))
        choice("threshold", self.threshold, ("relative", "absolute"))
        choice("schedule", self.schedule, ("constant", "linear"))
        require_number("delta", self.delta, 0.0)
        require_number("h_star", self.h_star, 0.0)
        if self.threshold == "relative":
            require_number("h_star", self.h_star, 0.0, 1.0, hint="it is a fraction of the largest activity")
        if self.solver == "euler":
            require_number("t_max", self.t_max, 0.0)
            require_number("dt", self.dt, 0.0, open_low=True)
            require_number("dt_w", self.dt_w, 0.0, open_low=True)
        duration = require_number("duration", self.duration, 0.0)
        return duration, dynamics.require_inhibition(self.w_inh)

    def _scaled(self, X: Array) -> Array:
        if self.normalize:
            return unit_norm(X)
        require_squares(X)
        return X

    def _learn(self, X: Array, order: np.ndarray, durations: np.ndarray, w_inh: float, label: str) -> None:
        if not is_numpy(X):
            learn = partial(self._learn_dense, w_inh)
        elif self.solver == "exact":
            learn = partial(self._learn_exactly, self._host(w_inh))
        else:
            learn = partial(self._learn_rows, w_inh)
        order = np.asarray(order, dtype=np.intp)
        parts = list(blocks(len(order), _BLOCK))
        for part in tqdm(parts, desc=label, disable=not self.verbose, unit="block"):
            learn(X, order[part], durations[part])
        self._require_finite_weights(
            X, self.components_, "shorten duration, lower delta or set normalize=True"
        )

    def _activation(self, xp: Any, currents: Array, w_inh: float) -> Array:
        """Equations 1 and 2 for one image: currents (hidden,) to g (hidden,)."""
        if self.solver == "exact":
            h = dynamics.steady_state_unchecked(xp, currents, w_inh)
        else:
            h = dynamics.simulate(currents, w_inh, 1.0, float(self.dt), float(self.t_max))[1][-1, :]
        relative = self.threshold == "relative"
        return plasticity.learning_activation_unchecked(
            xp, h, float(self.h_star), float(self.delta), relative
        )

    def _euler(self, W: Array, v: Array, g: Array, duration: float) -> Array:
        if duration == 0.0:
            return W
        steps = max(1, round(duration / float(self.dt_w)))
        return plasticity.simulate(W, v, g, 1.0, duration / steps, duration)[1][-1, ...]

    def _host(self, w_inh: float) -> HostDynamics:
        self.components_ = np.require(self.components_, requirements=["C", "W"])
        return HostDynamics(
            self.components_,
            self.wins_,
            self.last_win_,
            w_inh=w_inh,
            h_star=float(self.h_star),
            delta=float(self.delta),
            relative=self.threshold == "relative",
            engine=self.engine,
        )

    def _learn_exactly(self, host: HostDynamics, X: Array, order: np.ndarray, durations: np.ndarray) -> None:
        """On the host: the closed forms, a block of images at a time."""
        before = host.n_silent
        try:
            with out_of_range_unwarned():
                host.learn(X, order, durations)
        finally:
            self.n_silent_ += host.n_silent - before

    def _learn_rows(self, w_inh: float, X: Array, order: np.ndarray, durations: np.ndarray) -> None:
        """On the host, by Euler steps: change the rows with g != 0 only, one image after another."""
        xp, W = namespace(X), self.components_
        for index, duration in zip(order.tolist(), durations.tolist(), strict=True):
            v = X[index, :]
            g = self._activation(xp, W @ v, w_inh)
            rows = np.flatnonzero(g)
            winners = rows[g[rows] > 0]
            self.wins_[winners] += 1
            self.last_win_[winners] = index
            self.n_silent_ += not winners.size
            if rows.size and v.any():
                W[rows] = self._euler(W[rows], v, g[rows], duration)

    def _learn_dense(self, w_inh: float, X: Array, order: np.ndarray, durations: np.ndarray) -> None:
        """On a device: change all rows, look at the divergence flag once a block."""
        xp, start = namespace(X), self.components_
        W = start
        activations, smallest = [], []
        block = xp.take(X, indices_like(order, X), axis=0)
        for position, duration in enumerate(durations.tolist()):
            v = block[position, :]
            currents = W @ v
            g = self._activation(xp, currents, w_inh)
            activations.append(g)
            if self.solver == "euler":
                W = self._euler(W, v, g, duration)
                continue
            a, u = plasticity.unit_vector(xp, v)
            y = currents / xp.where(a > 0, a, xp.ones_like(a))
            W, D = plasticity.boost(xp, W, u, y, g * (a * duration))
            smallest.append(xp.min(D))
        D_min = to_host(xp.stack(smallest)) if smallest else np.ones(1)
        if not (D_min > 0).all():  # replay up to the first bad image, to name the unit
            bad = int(np.argmin(D_min > 0))
            W = start
            for position in range(bad + 1):
                v = block[position, :]
                g = activations[position]
                W = plasticity.present(W, v, g, float(durations[position]), check=position == bad)
        won = to_host(xp.stack(activations)) > 0  # (block, hidden)
        for index, winners in zip(order.tolist(), won, strict=True):
            self.wins_[winners] += 1
            self.last_win_[winners] = index
        self.n_silent_ += int((~won.any(axis=1)).sum())
        self.components_ = W
