// The equations behind the live figures, as pure functions on plain arrays: eq. 1 (competition) and one
// presentation of eq. 3. They say the same as bionet.dynamics and bionet.plasticity, and are tested against them.
(function () {
  "use strict";

  const bionet = (window.bionet = window.bionet || {});
  bionet.figures = bionet.figures || {};

  // Equation 1

  function rate(h) {
    return h > 0 ? h : 0;
  }

  function summedRate(h) {
    return h.reduce((sum, x) => sum + rate(x), 0);
  }

  // Right-hand side of eq. 1, tau dh/dt.
  function velocity(h, currents, w) {
    const S = summedRate(h);
    return currents.map((current, i) => current - w * (S - rate(h[i])) - h[i]);
  }

  // The closed form for 0 <= w < 1: S = max(0, max_n S_n), and h from S.
  function steadyState(currents, w) {
    if (!(w >= 0 && w < 1)) {
      throw new RangeError("from w = 1 on the start decides; below 0 the units excite one another");
    }
    const ranked = Array.from(currents).sort((a, b) => b - a);
    let S = 0;
    let sum = 0;
    ranked.forEach(function (current, i) {
      sum += current;
      S = Math.max(S, sum / (1 - w + w * (i + 1)));
    });
    const h = currents.map(function (current) {
      const drive = current - w * S;
      return drive > 0 ? drive / (1 - w) : drive;
    });
    return { h, S, active: h.filter((x) => x > 0).length };
  }

  // The units that, once alone, keep all others silent: the stable endings for w > 1.
  function possibleWinners(currents, w) {
    const highest = Math.max(...currents);
    const able = [];
    currents.forEach(function (current, i) {
      if (current > 0 && w * current >= highest) able.push(i);
    });
    return able;
  }

  // Rates of relaxation in units of 1/tau, where `active` units stay on.
  function relaxationRates(active, w) {
    const rates = { silent: 1 };
    if (active >= 1) rates.common = 1 + w * (active - 1);
    if (active >= 2) rates.differences = 1 - w;
    return rates;
  }

  // Product of step and rate up to which the classical Runge-Kutta method follows a decaying mode.
  const RUNGE_KUTTA_LIMIT = 2.785;

  function step(h, currents, w, dt) {
    const along = (k, c) => h.map((x, i) => x + c * dt * k[i]);
    const k1 = velocity(h, currents, w);
    const k2 = velocity(along(k1, 0.5), currents, w);
    const k3 = velocity(along(k2, 0.5), currents, w);
    const k4 = velocity(along(k3, 1), currents, w);
    return h.map((x, i) => x + (dt / 6) * (k1[i] + 2 * k2[i] + 2 * k3[i] + k4[i]));
  }

  // Whether h is within the fraction `tolerance` of an ending: the exact one for w < 1; for w >= 1 any in
  // which a single unit holds the field.
  function arrivalTest(currents, w, tolerance) {
    const scale = tolerance * Math.max(...currents.map(Math.abs), 1e-300);
    const far = (h, end) => h.some((x, i) => Math.abs(x - end[i]) > scale);
    if (w < 1) {
      const end = steadyState(currents, w).h;
      return (h) => !far(h, end);
    }
    const able = possibleWinners(currents, w);
    return function (h) {
      const on = h.map((x, i) => (x > 0 ? i : -1)).filter((i) => i >= 0);
      if (!able.length) return !on.length && !far(h, currents);
      if (on.length !== 1 || !able.includes(on[0])) return false;
      const winner = currents[on[0]];
      return !far(h, currents.map((current, i) => (i === on[0] ? current : current - w * winner)));
    };
  }

  // The race from h0: the path in steps of dt, up to the first of `ends` by which it has arrived.
  function race(currents, w, h0, dt, ends, tolerance) {
    const arrived = arrivalTest(currents, w, tolerance);
    const path = [Array.from(h0)];
    let settled = arrived(path[0]) ? 0 : null;
    let limit = Math.round((settled === null ? ends[ends.length - 1] : ends[0]) / dt);
    while (path.length <= limit) {
      const h = step(path[path.length - 1], currents, w, dt);
      path.push(h);
      const time = (path.length - 1) * dt;
      if (settled === null && arrived(h)) {
        settled = time;
        limit = Math.round(ends.find((end) => end >= time - 1e-9) / dt);
      }
    }
    return { path, dt, settled, duration: limit * dt };
  }

  // Equation 3, one presentation (p = 2, R = 1)

  function dot(a, b) {
    return a.reduce((sum, x, i) => sum + x * b[i], 0);
  }

  function norm(a) {
    return Math.hypot(...a);
  }

  // Whether a row is in the unit ball or, up to the rounding of its norm, on the sphere.
  function isInside(W) {
    return dot(W, W) - 1 <= 4 * (1 + Math.sqrt(W.length)) * Number.EPSILON;
  }

  // The row after a presentation of length T, or null if it has become infinite before. Rounding carries no
  // row out of the ball: 1 - y^2 is |W - y u|^2 + 1 - |W|^2, and bounds 1 + y and 1 - y from below.
  function present(W, v, g, T) {
    const a = norm(v);
    if (a === 0 || g === 0 || T === 0) return Array.from(W);
    const u = v.map((x) => x / a);
    const y = dot(W, u);
    const s = g * a * T;
    const sign = Math.sign(s);
    const e = Math.exp(-Math.abs(s));
    const across = W.map((x, i) => x - y * u[i]);
    const inside = isInside(W);
    const least = inside ? (dot(across, across) + Math.max(1 - dot(W, W), 0)) / (1 + Math.abs(y)) : -Infinity;
    const near = Math.max(1 + sign * y, least);
    const far = Math.max(1 - sign * y, least);
    const D = near + far * e * e; // 2 exp(-|s|) (cosh s + y sinh s)
    if (inside && D < 2 ** -1022) return u.map((x) => -sign * x); // the pole that no presentation moves
    if (D <= 0) return null;
    const small = 2 * sign * y + (near - 1 - sign * y) - (far - 1 + sign * y) - far * Math.expm1(-2 * Math.abs(s));
    const along = (sign * (Math.abs(s) < 1 ? small : near - far * e * e)) / D;
    const row = across.map((x, i) => (2 * e / D) * x + along * u[i]);
    const length = inside ? Math.max(norm(row), 1) : 1;
    return row.map((x) => x / length);
  }

  // artanh(1/|y|) / (|g| a) outside the ball where g y < 0 and |y| > 1; never elsewhere.
  function blowUpTime(W, v, g) {
    const a = norm(v);
    if (a === 0 || isInside(W)) return Infinity;
    const y = dot(W, v) / a;
    return g * y < 0 && Math.abs(y) > 1 ? Math.atanh(1 / Math.abs(y)) / (Math.abs(g) * a) : Infinity;
  }

  bionet.math = {
    RUNGE_KUTTA_LIMIT, rate, summedRate, velocity, steadyState, possibleWinners, relaxationRates, step, race,
    norm, present, blowUpTime,
  };
})();
