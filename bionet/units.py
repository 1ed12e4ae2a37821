"""Estimators that learn a layer of hidden units without labels.

:class:`CompetingUnits` follows equations 1 to 3, one image after another.
:class:`RankedUnits` follows the paper's fast rule, one minibatch after another.
Both learn ``components_`` of shape ``(hidden, features)`` and transform images into currents.
"""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import array_api_compat
import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from tqdm import tqdm

from bionet import dynamics, plasticity, ranking
from bionet._checkpoint import Checkpoint, fingerprint
from bionet._competing_host import HostDynamics
from bionet._ranked_cuda import DeviceRule
from bionet._ranked_host import HostRule
from bionet.backend import (
    Array,
    asarray_like,
    blocks,
    generators,
    indices_like,
    is_numpy,
    namespace,
    out_of_range_unwarned,
    require_finite,
    require_number,
    to_host,
)
from bionet.features import unit_norm
from bionet.validation import choice, fitted_images, images, integer, like_learned

_UNBOUNDED = 100.0  # p-norms beyond this multiple of a normal start's order of magnitude are a runaway
_BLOCK = 256  # images between two looks at the device-side divergence flag


def initial_weights(init: Any, n_hidden: int, n_features: int, rng: np.random.Generator) -> np.ndarray:
    """Draw the weights that learning starts from, on the host.

    Parameters
    ----------
    init : {"normal", "uniform", "sphere", "ball"}, float, or array of shape (hidden, features)
        Entries from N(0, 1) (the paper and the talk's slides); from U[0, 1) (the talk's notebook);
        rows of norm 1; rows of norm 1/2. A number is the standard deviation of normal entries. An
        array is copied.
    n_hidden, n_features : int
    rng : numpy.random.Generator

    Returns
    -------
    numpy.ndarray, shape (hidden, features), float64

    Raises
    ------
    ValueError
        For an unknown name, a negative number, or an array of another shape or with NaN or infinity.
    """
    shape = (n_hidden, n_features)
    if isinstance(init, (int, float)):
        return require_number("init", init, 0.0) * rng.standard_normal(shape)
    if not isinstance(init, str):
        W = np.array(to_host(init), dtype=np.float64)
        if W.shape != shape:
            raise ValueError(f"init must have shape (hidden, features) = {shape}, got {W.shape}")
        require_finite("init", W)
        return W
    choice("init", init, ("normal", "uniform", "sphere", "ball"))
    if init == "uniform":
        return rng.random(shape)
    W = rng.standard_normal(shape)
    if init == "normal":
        return W
    W /= np.sqrt(np.sum(W * W, axis=1, keepdims=True))
    return W if init == "sphere" else 0.5 * W


def _require_squares(X: Array) -> None:
    """Raise ``ValueError`` if the squared length of an image could leave the range of its dtype."""
    xp = namespace(X)
    largest = float(xp.max(xp.abs(X)))
    if largest > (float(xp.finfo(X.dtype).max) / X.shape[1]) ** 0.5:
        raise ValueError(
            f"images with entries as large as {largest:.3g} have no length in {X.dtype}: set "
            "normalize=True, rescale them, or use float64"
        )


class _Units(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """What both estimators share: start, counting, currents."""

    def transform(self, X: Any) -> Array:
        """Return the currents ``X @ components_.T``, shape (samples, hidden).

        The ordinary dot product, whatever p the units were trained with.

        Parameters
        ----------
        X : array, shape (samples, features)
            Images, in the array library of those the units learned from.

        Returns
        -------
        array, shape (samples, hidden)
            In the dtype of `X`.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before ``fit``.
        ValueError
            For another number of features, NaN or infinity.
        TypeError
            For images of another array library.
        """
        X = fitted_images(self, X)
        xp = namespace(X, self.components_)
        return X @ xp.astype(self.components_, X.dtype, copy=False).T

    def _start(self, X: Array, rng: np.random.Generator) -> None:
        n_hidden = integer("n_hidden", self.n_hidden)
        W = initial_weights(self.init, n_hidden, X.shape[1], rng)
        self.components_ = asarray_like(W, X)
        self.wins_ = np.zeros(n_hidden, dtype=np.int64)

    def _require_finite_weights(self, X: Array, W: Array, remedy: str) -> None:
        """Look at the weights once a pass (synchronises with the device)."""
        xp = namespace(W)
        if not bool(xp.all(xp.isfinite(W))):
            raise ArithmeticError(
                f"the weights left the floating-point range; {remedy}, and check the scale of the images "
                f"(largest entry {float(xp.max(xp.abs(X))):.3g})"
            )

    @property
    def _n_features_out(self) -> int:
        return self.components_.shape[0]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class CompetingUnits(_Units):
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
        _require_squares(X)
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
        h_star = float(self.h_star)
        threshold = h_star * xp.max(h) if self.threshold == "relative" else h_star
        g = plasticity.learning_activation_unchecked(xp, h, threshold, float(self.delta))
        return xp.where(xp.max(h) > 0, g, xp.zeros_like(g)) if self.threshold == "relative" else g

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


def lebesgue_norms(W: Array, p: float) -> Array:
    """Return the p-norms ``(sum_i |W_i|^p)^(1/p)`` of the rows of `W`, shape (hidden,)."""
    xp = namespace(W)
    with out_of_range_unwarned():
        size = xp.abs(W)
        powers = size * size if p == 2.0 else size * size * size if p == 3.0 else size**p
        return xp.sum(powers, axis=1) ** (1.0 / p)


class RankedUnits(_Units):
    """Hidden units trained by the paper's fast rule, one minibatch after another.

    Parameters
    ----------
    n_hidden : int
        Number of hidden units.
    p : float
        Exponent of the Lebesgue norm (dimensionless).
    k : int
        Rank of the unit that unlearns, ``2 <= k <= n_hidden``.
    delta : float
        Strength of anti-Hebbian learning, not negative (dimensionless).
    learning_rate : float
        Largest change of a weight in the first epoch's steps; it falls linearly to zero.
    batch_size, n_epochs : int
        Images a step, and passes over the images. The order is drawn anew for every pass.
    init : {"normal", "uniform", "sphere", "ball"}, float, or array of shape (hidden, features)
        Start of the weights; see :func:`initial_weights`.
    engine : {"auto", "numpy", "numba"}
        How NumPy arrays are computed: ``numba`` needs the extra ``fast``, and skips zeros where
        images have many; ``auto`` takes it where it is installed. Both agree with
        :func:`bionet.ranking.ranked_step` up to rounding.
    checkpoint : path, optional
        File in which ``fit`` keeps its state, written every two minutes, atomically. A run that was
        stopped goes on from there and ends with the very weights of an uninterrupted one. Needs an
        int as `random_state`.
    random_state : None, int or NumPy random generator
        Start and orders.
    verbose : bool
        Show a progress bar.

    Attributes
    ----------
    components_ : array, shape (hidden, features)
        Weights W.
    wins_ : numpy.ndarray, shape (hidden,)
        Images for which the unit was the strongest, over the whole training.
    converged_ : numpy.ndarray, shape (epochs,)
        Share of the rows whose p-norm lies within 5 % of 1, after each epoch of ``fit`` (or call of
        ``partial_fit``).
    n_features_in_ : int
        Number of features seen in ``fit``.

    Notes
    -----
    The fast implementation in Krotov & Hopfield (2019); see
    :func:`bionet.ranking.ranked_step`.
    """

    def __init__(
        self,
        n_hidden: int = 100,
        *,
        p: float = 3.0,
        k: int = 7,
        delta: float = 0.4,
        learning_rate: float = 0.04,
        batch_size: int = 100,
        n_epochs: int = 10,
        init: Any = "normal",
        engine: str = "auto",
        checkpoint: Any = None,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.n_hidden = n_hidden
        self.p = p
        self.k = k
        self.delta = delta
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.n_epochs = n_epochs
        self.init = init
        self.engine = engine
        self.checkpoint = checkpoint
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> RankedUnits:
        """Learn from all images, `n_epochs` times, at a rate that falls linearly to zero.

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
        ArithmeticError
            If a row leaves the floating-point range or grows without bound; the message names the epoch,
            the unit and the remedy.
        RuntimeError
            For ``engine="numba"`` without Numba.
        KeyboardInterrupt
            With a `checkpoint`: raised again once the last whole epoch is saved.
        """
        X = images(self, X, reset=True)
        rate = self._check()
        n_epochs = integer("n_epochs", self.n_epochs)
        saved = self._saved_state(X) if self.checkpoint is not None else None
        weights_rng, order_rng = generators(self.random_state, 2)
        self._start(X, weights_rng)
        done, state = (saved.load() or (0, None)) if saved else (0, None)
        if state is not None:
            self.components_ = asarray_like(state["W"], X)
            self.wins_, self.converged_ = state["wins"], state["converged"]
        for _ in range(done):
            order_rng.permutation(X.shape[0])  # the orders already used
        rule = self._rule(X)
        boundary = None  # the last whole epoch and the state after it, never one without the other
        try:
            for epoch in tqdm(
                range(done, n_epochs), desc="epochs", disable=not self.verbose, initial=done, total=n_epochs
            ):
                order = order_rng.permutation(X.shape[0])
                if saved:
                    boundary = (epoch, self._state())
                self._learn(X, order, rate * (1.0 - epoch / n_epochs), rule, epoch + 1)
                if saved and (saved.due() or epoch + 1 == n_epochs):
                    saved.save(epoch + 1, self._state())
        except KeyboardInterrupt:
            if not saved or boundary is None:
                raise
            saved.save(*boundary)
            raise KeyboardInterrupt(
                f"stopped; the state after epoch {boundary[0]} of {n_epochs} is in {self.checkpoint}: "
                "run the same again to go on"
            ) from None
        return self

    def _saved_state(self, X: Array) -> Checkpoint:
        if not isinstance(self.random_state, (int, np.integer)):
            raise ValueError(
                f"a checkpoint needs an int as random_state, got {self.random_state!r}: "
                "only then can a stopped run go on as it would have"
            )
        names = ("n_hidden", "p", "k", "delta", "learning_rate", "batch_size", "n_epochs", "random_state")
        settings = {name: getattr(self, name) for name in names}
        start = self.init if isinstance(self.init, str) else fingerprint(to_host(self.init))
        engine = HostRule.engine_for(self.engine) if is_numpy(X) else namespace(X).__name__
        return Checkpoint(
            self.checkpoint,
            {
                **{k: v.item() if isinstance(v, np.generic) else v for k, v in settings.items()},
                "init": start,
                "engine": engine,
                "images": fingerprint(to_host(X)),
            },
        )

    def _state(self) -> dict[str, np.ndarray]:
        W = self.components_.copy() if is_numpy(self.components_) else to_host(self.components_)
        return {"W": W, "wins": self.wins_.copy(), "converged": self.converged_}

    def partial_fit(self, X: Any, y: Any = None, learning_rate: float | None = None) -> RankedUnits:
        """Pass over the images of `X` once, in the order given, `batch_size` at a time.

        Parameters
        ----------
        X : array, shape (samples, features)
        y : None
            Ignored.
        learning_rate : float, optional
            Rate of these steps; `learning_rate` by default. With the rates and orders that
            ``fit`` would use, a loop of ``partial_fit`` equals ``fit``.

        Returns
        -------
        self

        Raises
        ------
        ValueError, ArithmeticError
            As ``fit``.
        TypeError
            For images of another array library than those before.
        """
        first = not hasattr(self, "components_")
        X = images(self, X, reset=first)
        rate = self._check()
        if learning_rate is not None:
            rate = require_number("learning_rate", learning_rate, 0.0)
        if first:
            self._start(X, generators(self.random_state, 2)[0])
        X = like_learned(X, self.components_)
        self._learn(X, np.arange(X.shape[0]), rate, self._rule(X), None)
        return self

    def _start(self, X: Array, rng: np.random.Generator) -> None:
        super()._start(X, rng)
        self.converged_ = np.empty(0)

    def _check(self) -> float:
        ranking.require_rank(self.k, integer("n_hidden", self.n_hidden))
        require_number("p", self.p, 1.0)
        require_number("delta", self.delta, 0.0)
        choice("engine", self.engine, ("auto", "numpy", "numba"))
        integer("batch_size", self.batch_size)
        return require_number("learning_rate", self.learning_rate, 0.0)

    def _rule(self, X: Array) -> HostRule | DeviceRule | None:
        """The fast path for images on the host or on a CUDA device; None elsewhere."""
        if array_api_compat.is_cupy_array(X):
            self.components_ = namespace(X).asarray(self.components_, order="C", copy=True)
            try:
                return DeviceRule(
                    self.components_, X, int(self.batch_size), float(self.p), int(self.k), float(self.delta)
                )
            except RuntimeError as error:
                warnings.warn(
                    f"the fast rule goes on without its CUDA kernels, many times slower: {error}",
                    RuntimeWarning,
                    stacklevel=3,
                )
        if not is_numpy(X):
            return None
        if not (self.components_.flags.c_contiguous and self.components_.flags.writeable):
            self.components_ = np.array(self.components_)
        return HostRule(
            self.components_,
            X,
            int(self.batch_size),
            float(self.p),
            int(self.k),
            float(self.delta),
            self.engine,
        )

    def _learn(
        self, X: Array, order: np.ndarray, rate: float, rule: HostRule | DeviceRule | None, epoch: int | None
    ) -> None:
        if rule is not None:
            with out_of_range_unwarned():
                rule.learn(order, rate)
            self.wins_ += rule.take_wins()
        else:
            self._learn_elsewhere(X, order, rate)
        self._look_at_norms(X, epoch)

    def _learn_elsewhere(self, X: Array, order: np.ndarray, rate: float) -> None:
        """On a device: the definition itself."""
        xp, W = namespace(X), self.components_
        p, k, delta = float(self.p), int(self.k), float(self.delta)
        wins = xp.zeros_like(W[:, 0])
        order = indices_like(order, X)
        for block in blocks(X.shape[0], int(self.batch_size)):
            batch = xp.take(X, order[block], axis=0)
            W, g = ranking.ranked_step_unchecked(xp, W, batch, p, k, delta, rate)
            wins = wins + xp.sum(xp.astype(g > 0, W.dtype), axis=0)
        self.components_ = W
        self.wins_ += to_host(wins).astype(np.int64)

    def _look_at_norms(self, X: Array, epoch: int | None) -> None:
        """Note how many norms have converged; stop a run that has left its range (synchronises)."""
        norms = to_host(lebesgue_norms(self.components_, float(self.p)))
        bound = _UNBOUNDED * max(1.0, X.shape[1] ** (1.0 / float(self.p)))
        bad = ~(norms <= bound)
        if bad.any():
            unit = int(np.argmax(bad))
            when = "" if epoch is None else f" in epoch {epoch}"
            raise ArithmeticError(
                f"the weights left their range{when}: unit {unit} has p-norm {norms[unit]:.3g} "
                "(a converged one has 1); lower learning_rate or delta, and check the scale of the images "
                f"(largest entry {float(namespace(X).max(namespace(X).abs(X))):.3g})"
            )
        self.converged_ = np.append(self.converged_, np.mean(np.abs(norms - 1.0) <= 0.05))
