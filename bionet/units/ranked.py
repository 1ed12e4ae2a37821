"""Units that learn by the paper's fast rule, one minibatch after another."""

from __future__ import annotations

from typing import Any

import numpy as np

from bionet import ranking
from bionet.backend import (
    Array,
    asarray_like,
    generators,
    is_numpy,
    namespace,
    out_of_range_unwarned,
    to_host,
)
from bionet.checks import choice, images, integer, like_learned, require_number
from bionet.fast import engine
from bionet.plasticity import lebesgue_norms
from bionet.units.checkpoint import Checkpoint, Keeper, fingerprint
from bionet.units.start import Units

UNBOUNDED = 100.0  # p-norms beyond this multiple of a normal start's order of magnitude are a runaway


class RankedUnits(Units):
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
        rate, n_epochs = self._check(), integer("n_epochs", self.n_epochs)
        weights_rng, order_rng = generators(self.random_state, 2)
        self._start(X, weights_rng)
        saved = self._checkpoint_of(X)
        done = self._go_on_from(saved, X)
        for _ in range(done):
            order_rng.permutation(X.shape[0])  # the orders already used
        rule = self._rule(X)
        with Keeper(saved, self._state) as keeper:
            for epoch in keeper.epochs(done, n_epochs, progress=self.verbose):
                order = order_rng.permutation(X.shape[0])
                self._learn(X, rule, order, rate * (1.0 - epoch / n_epochs), epoch + 1)
        return self

    def _checkpoint_of(self, X: Array) -> Checkpoint | None:
        """Where the run keeps its state; None without `checkpoint`."""
        if self.checkpoint is None:
            return None
        if not isinstance(self.random_state, (int, np.integer)):
            raise ValueError(
                f"a checkpoint needs an int as random_state, got {self.random_state!r}: "
                "only then can a stopped run go on as it would have"
            )
        names = ("n_hidden", "p", "k", "delta", "learning_rate", "batch_size", "n_epochs", "random_state")
        settings = {name: getattr(self, name) for name in names}
        return Checkpoint(
            self.checkpoint,
            {
                **{k: v.item() if isinstance(v, np.generic) else v for k, v in settings.items()},
                "init": self.init if isinstance(self.init, str) else fingerprint(to_host(self.init)),
                "engine": engine.name(self.engine, X),
                "images": fingerprint(to_host(X)),
            },
        )

    def _go_on_from(self, saved: Checkpoint | None, X: Array) -> int:
        """Take over a kept state; return the epochs that are done."""
        done, state = (saved.load() if saved else None) or (0, None)
        if state is not None:
            self.components_ = asarray_like(state["W"], X)
            self.wins_, self.converged_ = state["wins"], state["converged"]
        return done

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
        self._learn(X, self._rule(X), np.arange(X.shape[0]), rate, None)
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

    def _rule(self, X: Array) -> engine.Rule:
        """The rule with its buffers, on the path for these images; it learns ``components_``."""
        settings = (int(self.batch_size), float(self.p), int(self.k), float(self.delta))
        return engine.ranked(self.components_, X, *settings, engine=self.engine)

    def _learn(self, X: Array, rule: engine.Rule, order: np.ndarray, rate: float, epoch: int | None) -> None:
        """One pass over ``X[order]``."""
        with out_of_range_unwarned():
            rule.learn(order, rate)
        self.components_ = rule.W
        self.wins_ += rule.take_wins()
        self._look_at_norms(X, epoch)

    def _look_at_norms(self, X: Array, epoch: int | None) -> None:
        """Note how many norms have converged; stop a run that has left its range (synchronises)."""
        norms = to_host(lebesgue_norms(self.components_, float(self.p)))
        bound = UNBOUNDED * max(1.0, X.shape[1] ** (1.0 / float(self.p)))
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
