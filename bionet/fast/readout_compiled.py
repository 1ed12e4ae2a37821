"""Compiled training of the linear layer on the host (Numba). See :mod:`bionet.fast.readout`."""

from __future__ import annotations

from functools import cache
from typing import Any

import numba
import numpy as np

# Sums may be taken in another order; NaN and infinity keep their meaning.
_OPTIONS: dict[str, Any] = {
    "fastmath": {"contract", "reassoc", "nsz"},
    "error_model": "numpy",
    "cache": True,
}
GROUP = 5  # images at a time in the inner loops
_LONG = 1024  # hidden units at a time in the logits
_CACHE = 1 << 15  # bytes of the batch that share a core's first cache in the gradient


@numba.njit(inline="always")
def _power(x, whole, half, n):
    """``x^n`` for x >= 0: whole and half powers by products and one root, as `features.power`."""
    if whole < 0:
        return x**n
    result = x
    empty = True
    if half:
        result = np.sqrt(x)
        empty = False
    square = x
    while whole:
        if whole % 2:
            result = square if empty else result * square
            empty = False
        whole //= 2
        if whole:
            square = square * square
    return result


def _power_loss(S, labels, chosen, d, share, m, beta, whole, half):
    """Write ``share`` times the gradient on the logits `S` to `d`; return the summed loss."""
    one = share / share
    total = 0.0
    for b in range(chosen.shape[0]):
        label = labels[chosen[b]]
        loss = share - share
        for a in range(S.shape[1]):
            c = np.tanh(beta * S[b, a])
            miss = c - one if a == label else c + one
            size = abs(miss)
            steep = _power(size, whole, half, m - one)
            loss += steep * size
            if miss == 0:
                d[b, a] = miss
            else:
                d[b, a] = np.copysign((m * beta) * steep, miss) * (one - c * c) * share
        total += loss
    return total


def _cross_entropy(S, labels, chosen, d, share, squash):
    """As `_power_loss`, for the cross-entropy of the logits or (`squash`) of their sigmoid."""
    one = share / share
    half = one / (one + one)
    classes = S.shape[1]
    total = 0.0
    for b in range(chosen.shape[0]):
        row = S[b]
        if squash:
            for a in range(classes):
                row[a] = half * (one + np.tanh(half * row[a]))
        top = row[0]
        for a in range(1, classes):
            if row[a] > top:
                top = row[a]
        sum_ = share - share
        for a in range(classes):
            d[b, a] = np.exp(row[a] - top)
            sum_ += d[b, a]
        label = labels[chosen[b]]
        hit = share - share
        for a in range(classes):
            target = one if a == label else one - one
            hit += target * (row[a] - top)  # an infinite logit of another class is NaN here, too
            gradient = d[b, a] / sum_ - target
            if squash:
                gradient = gradient * row[a] * (one - row[a])
            d[b, a] = gradient * share
        total += np.log(sum_) - hit
    return total


def _logits(batch, rows, coef, intercept, S):
    """``batch @ coef.T + intercept``; `rows` is a multiple of the group."""
    classes, hidden = coef.shape
    for b in range(rows):
        for a in range(classes):
            S[b, a] = intercept[a]
    for start in range(0, hidden, _LONG):
        stop = min(start + _LONG, hidden)
        for b in range(0, rows, GROUP):
            x0, x1, x2 = batch[b, start:stop], batch[b + 1, start:stop], batch[b + 2, start:stop]
            x3, x4 = batch[b + 3, start:stop], batch[b + 4, start:stop]
            a = 0
            while a + 2 <= classes:
                v, w = coef[a, start:stop], coef[a + 1, start:stop]
                v0 = v1 = v2 = v3 = v4 = w0 = w1 = w2 = w3 = w4 = coef.dtype.type(0)
                for h in range(stop - start):
                    v0 += x0[h] * v[h]
                    v1 += x1[h] * v[h]
                    v2 += x2[h] * v[h]
                    v3 += x3[h] * v[h]
                    v4 += x4[h] * v[h]
                    w0 += x0[h] * w[h]
                    w1 += x1[h] * w[h]
                    w2 += x2[h] * w[h]
                    w3 += x3[h] * w[h]
                    w4 += x4[h] * w[h]
                S[b, a] += v0
                S[b + 1, a] += v1
                S[b + 2, a] += v2
                S[b + 3, a] += v3
                S[b + 4, a] += v4
                S[b, a + 1] += w0
                S[b + 1, a + 1] += w1
                S[b + 2, a + 1] += w2
                S[b + 3, a + 1] += w3
                S[b + 4, a + 1] += w4
                a += 2
            if a < classes:
                v = coef[a, start:stop]
                v0 = v1 = v2 = v3 = v4 = coef.dtype.type(0)
                for h in range(stop - start):
                    v0 += x0[h] * v[h]
                    v1 += x1[h] * v[h]
                    v2 += x2[h] * v[h]
                    v3 += x3[h] * v[h]
                    v4 += x4[h] * v[h]
                S[b, a] += v0
                S[b + 1, a] += v1
                S[b + 2, a] += v2
                S[b + 3, a] += v3
                S[b + 4, a] += v4


def _move(parameter, gradient, mean, square, constants, adam):
    """One step of the optimiser on a stretch of one row."""
    decay, fresh, decay2, fresh2, scale, bias, epsilon = constants
    if adam:
        for h in range(parameter.shape[0]):
            g = gradient[h]
            first = decay * mean[h] + fresh * g
            second = decay2 * square[h] + fresh2 * (g * g)
            mean[h] = first
            square[h] = second
            parameter[h] -= scale * first / (np.sqrt(second) * bias + epsilon)
    else:
        for h in range(parameter.shape[0]):
            parameter[h] -= scale * gradient[h]


def _update(batch, rows, d, coef, mean, square, gradient, constants, adam):
    """The gradient ``d.T @ batch``, a stretch of one class at a time, and its step."""
    classes, hidden = coef.shape
    length = max(128, _CACHE // (rows * batch.itemsize) // 16 * 16)
    for start in range(0, hidden, length):
        stop = min(start + length, hidden)
        n = stop - start
        g = gradient[:n]
        for a in range(classes):
            for b in range(0, rows, GROUP):
                x0, x1, x2 = batch[b, start:stop], batch[b + 1, start:stop], batch[b + 2, start:stop]
                x3, x4 = batch[b + 3, start:stop], batch[b + 4, start:stop]
                d0, d1, d2, d3, d4 = d[b, a], d[b + 1, a], d[b + 2, a], d[b + 3, a], d[b + 4, a]
                if b == 0:
                    for h in range(n):
                        g[h] = d0 * x0[h] + d1 * x1[h] + d2 * x2[h] + d3 * x3[h] + d4 * x4[h]
                else:
                    for h in range(n):
                        g[h] += d0 * x0[h] + d1 * x1[h] + d2 * x2[h] + d3 * x3[h] + d4 * x4[h]
            _MOVE(coef[a, start:stop], g, mean[a, start:stop], square[a, start:stop], constants, adam)


def _learn(
    X, labels, order, size, coef, intercept, trained, means, squares, bias_means, bias_squares,
    steps, adam, rate, beta1, beta2, epsilon, loss, m, beta, batch, S, d, gradient,
):  # fmt: skip
    """Pass over ``X[order]`` once, `size` images a step; return the summed loss."""
    real = coef.dtype.type
    classes = coef.shape[0]
    whole = np.int64(-1)
    power = m - 1.0
    half = False
    if loss == 0 and 0.0 < power <= 32.0 and (2.0 * power) % 1.0 == 0.0:
        whole = np.int64(np.floor(power))
        half = power % 1.0 == 0.5
    total = 0.0
    for start in range(0, order.shape[0], size):
        chosen = order[start : min(start + size, order.shape[0])]
        B = chosen.shape[0]
        rows = -(-B // GROUP) * GROUP
        for b in range(B):
            batch[b, :] = X[chosen[b]]
        for b in range(B, rows):  # images of zeros fill up the last group
            batch[b, :] = real(0)
            d[b, :] = real(0)
        _LOGITS(batch, rows, coef, intercept, S)
        share = real(1.0 / B)
        if loss == 0:
            total += _POWER_LOSS(S, labels, chosen, d, share, real(m), real(beta), whole, half)
        else:
            total += _CROSS_ENTROPY(S, labels, chosen, d, share, loss == 2)
        steps += 1
        scale = rate
        bias = 1.0
        if adam:
            scale = rate / (1.0 - beta1 ** float(steps))
            bias = 1.0 / (1.0 - beta2 ** float(steps)) ** 0.5
        constants = (
            real(beta1), real(1.0 - beta1), real(beta2), real(1.0 - beta2),
            real(scale), real(bias), real(epsilon),
        )  # fmt: skip
        _UPDATE(batch, rows, d, coef, means, squares, gradient, constants, adam)
        if trained:
            for a in range(classes):
                sum_ = real(0)
                for b in range(B):
                    sum_ += d[b, a]
                gradient[a] = sum_
            _MOVE(intercept, gradient[:classes], bias_means, bias_squares, constants, adam)
    return total


_JIT = numba.njit(**_OPTIONS)
_POWER_LOSS, _CROSS_ENTROPY, _LOGITS, _MOVE, _UPDATE = (
    _JIT(f) for f in (_power_loss, _cross_entropy, _logits, _move, _update)
)


@cache
def kernel() -> Any:
    """Compile (or read from Numba's cache) and return the pass over the images."""
    return _JIT(_learn)
