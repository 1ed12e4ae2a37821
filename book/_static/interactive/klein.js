// The live figure of one presentation, eq. 3: place a row, choose the sign of g, and follow the exact flow.
(function () {
  "use strict";

  const bionet = window.bionet;
  const { math, widgets } = bionet;
  const REACH = { y: 3, w: 2.4 }; // half the plane that is shown
  const FAR = 5; // dose after which a row that never becomes infinite has arrived
  const ORBITS = [0, 0.35, 0.7, 1.4, 2.1]; // where the flow lines cross y = 0, besides the circle
  const BEYOND = [0, 0.6, 1.3, 2.2]; // and where those that never cross it pass |y| = 2

  bionet.figures.klein = function (figure) {
    // State: the row at time 0, the image's length a, g, and where in the presentation we look.
    const state = { W: [1.5, 0.8], a: 1, learns: false, delta: 0.4, at: 0 };

    const g = () => (state.learns ? 1 : -state.delta);
    const blowUp = () => math.blowUpTime(state.W, [state.a, 0], g());
    const duration = () => (blowUp() < Infinity ? blowUp() : FAR / (Math.abs(g()) * state.a));
    // At the very end of a presentation that lasts T* the row is infinite, whatever rounding says.
    function row(at) {
      if (at >= 1 && blowUp() < Infinity) return null;
      return math.present(state.W, [state.a, 0], g(), at * duration());
    }

    const clock = widgets.clock(
      () => Math.min(7, Math.max(3, (duration() * Math.abs(g()) * state.a) / 0.8)),
      function (fraction) {
        state.at = fraction;
        show();
      },
      show
    );

    function place(W) {
      clock.pause();
      state.W = [0, 1].map((i) => Math.round(1000 * Math.max(-limit[i], Math.min(limit[i], W[i]))) / 1000);
      state.at = 0;
      along.set(state.W[0]);
      across.set(state.W[1]);
      show();
    }
    const limit = [REACH.y, REACH.w];

    // Controls

    function restart(change) {
      Object.assign(state, change);
      clock.pause();
      state.at = 0;
      show();
    }
    const sign = widgets.choice(
      "The unit",
      [["unlearns", "unlearns, g = −Δ"], ["learns", "learns, g = 1"]],
      "unlearns",
      function (value) {
        delta.input.disabled = value === "learns";
        restart({ learns: value === "learns" });
      }
    );
    const two = (x) => widgets.number(x, 2);
    const delta = widgets.slider("Δ", { min: 0.01, max: 1, step: 0.01, value: state.delta, say: two }, (value) => restart({ delta: value }));
    const length = widgets.slider(
      "Image length a", { min: 0.5, max: 14, step: 0.5, value: state.a, say: (x) => widgets.number(x, 1) },
      (value) => restart({ a: value })
    );
    const along = widgets.slider(
      "Start: along, y", { min: -REACH.y, max: REACH.y, step: 0.05, value: state.W[0], say: two },
      (value) => place([value, state.W[1]])
    );
    const across = widgets.slider(
      "Start: across, q", { min: -REACH.w, max: REACH.w, step: 0.05, value: state.W[1], say: two },
      (value) => place([state.W[0], value])
    );
    for (const [control, i] of [[along, 0], [across, 1]]) {
      control.input.step = "any"; // the button below may put the row between two steps
      control.input.addEventListener("keydown", (event) => nudge(event, i));
    }
    function nudge(event, i) {
      const by = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 5, PageDown: -5 }[event.key];
      if (!by) return;
      event.preventDefault();
      const W = state.W.slice();
      W[i] += 0.05 * by;
      place(W);
    }
    const play = widgets.button("Play", function () {
      if (clock.running) clock.pause();
      else {
        if (state.at >= 1) state.at = 0;
        clock.play(state.at);
      }
      show();
    });
    const back = widgets.button("Back to start", () => restart({}));
    const sphere = widgets.button("Put it on the sphere", function () {
      const size = math.norm(state.W);
      clock.pause();
      state.W = size > 0 ? state.W.map((x) => x / size) : [0, 1];
      state.at = 0;
      along.set(state.W[0]);
      across.set(state.W[1]);
      show();
    });
    const time = widgets.slider(
      "Time", { min: 0, max: 1000, step: 1, value: 0, say: () => inTauL(state.at * duration()) },
      function (value) {
        clock.pause();
        state.at = value / 1000;
        show();
      }
    );
    const read = widgets.readouts([
      ["time", "Time t"],
      ["blowup", "Infinite at T*"],
      ["norm", "Length |W|"],
      ["along", "Now along, y"],
      ["across", "Now across, q"],
    ]);
    const status = widgets.announcer();

    // Picture

    const canvas = widgets.canvas(
      {
        role: "application",
        tabindex: "0",
        "aria-label": "The plane of the image and the row. Arrow keys move the row; so do the two ranges below.",
        class: "live-plane",
      },
      (width) => Math.min(width * (REACH.w / REACH.y), 520) + 34,
      draw
    );

    function frame(width, height) {
      const scale = Math.min((width - 8) / (2 * REACH.y), (height - 34) / (2 * REACH.w));
      return { scale, x: (y) => width / 2 + scale * y, y: (w) => (height - 34) / 2 - scale * w, height: height - 34 };
    }

    function stroke(context, f, points, colour, thickness) {
      context.strokeStyle = colour;
      context.lineWidth = thickness;
      context.beginPath();
      points.forEach((p, i) => context[i ? "lineTo" : "moveTo"](f.x(p[0]), f.y(p[1])));
      context.stroke();
    }

    // The exact path of a point of the plane, for doses from s0 to s1 (image of length 1, g = +-1).
    function orbit(start, s0, s1, steps) {
      const points = [];
      for (let k = 0; k <= steps; k++) {
        const s = s0 + ((s1 - s0) * k) / steps;
        const point = math.present(start, [1, 0], Math.sign(s) || 1, Math.abs(s));
        if (point) points.push(point);
      }
      return points;
    }

    function arrow(context, f, from, to, colour) {
      const angle = Math.atan2(f.y(to[1]) - f.y(from[1]), f.x(to[0]) - f.x(from[0]));
      context.save();
      context.translate(f.x(to[0]), f.y(to[1]));
      context.rotate(angle);
      context.fillStyle = colour;
      context.beginPath();
      context.moveTo(5, 0);
      context.lineTo(-5, 4);
      context.lineTo(-5, -4);
      context.fill();
      context.restore();
    }

    function background(context, f, width, c) {
      context.fillStyle = c.faint;
      context.globalAlpha = 0.35; // where rows are lost
      const edge = f.x(state.learns ? -1 : 1);
      context.fillRect(state.learns ? 0 : edge, 0, state.learns ? edge : width - edge, f.height);
      context.globalAlpha = 0.22;
      context.fillStyle = c.yellow;
      context.beginPath();
      context.arc(f.x(0), f.y(0), f.scale, 0, 2 * Math.PI);
      context.fill();
      const forward = state.learns ? 1 : -1;
      const crossing = ORBITS.map((w) => orbit([0, w], -4, 4, 120));
      const beyond = BEYOND.map((w) => orbit([2, w], -0.54, 4, 160));
      const flip = (points, sy, sw) => points.map(([y, w]) => [sy * y, sw * w]);
      const lines = [];
      for (const points of crossing) for (const m of [1, -1]) lines.push([flip(points, 1, m), forward]);
      for (const points of beyond) for (const m of [1, -1]) {
        lines.push([flip(points, 1, m), forward]);
        lines.push([flip(points, -1, m), -forward]);
      }
      for (const [points, way] of lines) {
        context.globalAlpha = 0.5;
        stroke(context, f, points, c.blue, 1);
        const seen = points.filter((p) => Math.abs(p[0]) < REACH.y && Math.abs(p[1]) < REACH.w);
        let total = 0;
        const walked = seen.map((p, i) => (total += i ? Math.hypot(p[0] - seen[i - 1][0], p[1] - seen[i - 1][1]) : 0));
        const k = Math.max(1, walked.findIndex((x) => x >= total / 2));
        context.globalAlpha = 0.8;
        arrow(context, f, seen[way > 0 ? k - 1 : k], seen[way > 0 ? k : k - 1], c.blue);
      }
      context.globalAlpha = 1;
      context.strokeStyle = c.ink;
      context.lineWidth = 1.6;
      context.beginPath();
      context.arc(f.x(0), f.y(0), f.scale, 0, 2 * Math.PI);
      context.stroke();
    }

    function label(context, text, x, y, colour, ground, align) {
      context.font = "600 13px system-ui, sans-serif";
      context.textAlign = align || "left";
      context.textBaseline = "middle";
      context.strokeStyle = ground;
      context.lineWidth = 4;
      context.strokeText(text, x, y);
      context.fillStyle = colour;
      context.fillText(text, x, y);
    }

    function disc(context, f, W, radius, fill, edge) {
      context.beginPath();
      context.arc(f.x(W[0]), f.y(W[1]), radius, 0, 2 * Math.PI);
      context.fillStyle = fill;
      context.fill();
      context.strokeStyle = edge;
      context.lineWidth = 1.6;
      context.stroke();
    }

    function draw(context, width, height) {
      const c = widgets.colours(live);
      const f = frame(width, height);
      context.lineJoin = "round";
      context.save();
      context.beginPath();
      context.rect(0, 0, width, f.height);
      context.clip();
      background(context, f, width, c);

      // The image, an arrow from the middle; its length is written, not drawn, so that the plane keeps its scale.
      stroke(context, f, [[0, 0], [0.94, 0]], c.ink, 2.2);
      arrow(context, f, [0, 0], [0.94, 0], c.ink);
      label(context, "image", f.x(0.5), f.y(0) - 13, c.ink, c.ground, "center");
      label(context, "to infinity", state.learns ? 8 : width - 8, f.height - 14, c.ink, c.ground, state.learns ? "left" : "right");

      const done = [];
      const rest = [];
      for (let k = 0; k <= 400; k++) {
        const at = 1 - (1 - k / 400) ** 2; // finer towards the end, where a lost row is fast
        const W = row(at);
        if (W && math.norm(W) < 1e3) (at <= state.at ? done : rest).push(W);
      }
      const now = row(state.at);
      if (now && math.norm(now) < 1e3) {
        done.push(now);
        rest.unshift(now);
      }
      context.setLineDash([4, 5]);
      if (rest.length > 1) stroke(context, f, rest, c.vermilion, 1.6);
      context.setLineDash([]);
      if (done.length > 1) stroke(context, f, done, c.vermilion, 3);
      if (state.at > 0) disc(context, f, state.W, 6, c.ground, c.vermilion);
      if (now) disc(context, f, now, 9, c.vermilion, c.ink);
      if (!now || Math.abs(now[0]) > REACH.y || Math.abs(now[1]) > REACH.w) {
        const far = now ? "out of the picture" : "infinite";
        label(context, far, state.W[0] > 0 ? width - 8 : 8, f.height - 34, c.vermilion, c.ground, state.W[0] > 0 ? "right" : "left");
      }
      context.restore();

      context.strokeStyle = c.faint;
      context.lineWidth = 1;
      context.strokeRect(0.5, 0.5, width - 1, f.height - 1);
      context.font = "12px system-ui, sans-serif";
      context.fillStyle = c.muted;
      context.textBaseline = "middle";
      context.textAlign = "center";
      for (const tick of [-2, -1, 0, 1, 2]) context.fillText(widgets.number(tick, 0), f.x(tick), f.height + 9);
      context.fillText("along the image, y", width / 2, f.height + 25);
      context.textAlign = "left";
      context.fillText("across, q", f.x(0) + 6, 10);
    }

    // Pointer and keys on the plane

    function fromPointer(event) {
      const f = frame(canvas.box.clientWidth, canvas.node.clientHeight);
      return [(event.offsetX - f.x(0)) / f.scale, (f.y(0) - event.offsetY) / f.scale];
    }
    // A finger that starts on the row moves the row; elsewhere it scrolls the page, and a tap places the row.
    function onRow(x, y) {
      const f = frame(canvas.box.clientWidth, canvas.node.clientHeight);
      const at = row(state.at) || state.W;
      return Math.hypot(x - f.x(at[0]), y - f.y(at[1])) < 28;
    }
    let dragging = false;
    canvas.node.addEventListener("touchstart", function (event) {
      const box = canvas.node.getBoundingClientRect();
      const touch = event.touches[0];
      if (onRow(touch.clientX - box.left, touch.clientY - box.top)) event.preventDefault();
    }, { passive: false });
    canvas.node.addEventListener("click", (event) => place(fromPointer(event)));
    canvas.node.addEventListener("pointerdown", function (event) {
      if (event.pointerType === "touch" && !onRow(event.offsetX, event.offsetY)) return;
      dragging = true;
      canvas.node.setPointerCapture(event.pointerId);
      place(fromPointer(event));
    });
    canvas.node.addEventListener("pointermove", (event) => dragging && place(fromPointer(event)));
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.node.addEventListener(name, () => (dragging = false));
    }
    canvas.node.addEventListener("keydown", function (event) {
      if (event.key.startsWith("Arrow")) nudge(event, /Left|Right/.test(event.key) ? 0 : 1);
    });

    // Text

    function inTauL(t) {
      return (t >= 100 ? widgets.number(t, 0) : t >= 10 ? widgets.number(t, 1) : widgets.number(t, 3)) + " τ_{L}";
    }

    function verdict() {
      const T = blowUp();
      const [y, w] = state.W;
      const size = math.norm(state.W);
      const way = state.learns ? "to the image" : "away from the image, to its opposite";
      if (T < Infinity) {
        const when = `T* = ${inTauL(T)}`;
        return state.at >= 1
          ? `At ${when} the row has left to infinity. Past it the equation has no solution.`
          : `Outside the ball, ${state.learns ? "y < −1 and g > 0" : "y > 1 and g < 0"}: the row will be infinite at ${when}.`;
      }
      if (Math.abs(size - 1) < 1e-9) {
        return Math.abs(w) < 1e-9 ? "At a pole of the sphere: the row does not move." : `On the sphere: the row stays on it and turns ${way}. Infinite: never.`;
      }
      if (size < 1) return `Inside the ball: the row stays inside for ever and approaches the sphere ${way}. Infinite: never.`;
      if (Math.abs(y) === 1 && Math.sign(y) !== Math.sign(g())) {
        return `Exactly at y = ${widgets.number(y, 0)}: the row grows for ever, but at no finite time is it infinite.`;
      }
      if (Math.abs(y) > 1) return `Outside the ball, but g and y have the same sign: the row comes back to the sphere. Infinite: never.`;
      return `Outside the ball with |y| below 1: the row stays outside and approaches the sphere, ${way}. Infinite: never.`;
    }

    function show() {
      const W = row(state.at);
      const T = blowUp();
      const out = (x) => (Math.abs(x) >= 1000 ? x.toExponential(1).replace("-", "−").replace("e+", " × 10^") : widgets.number(x, 3));
      time.set(Math.round(1000 * state.at));
      play.textContent = clock.running ? "Pause" : "Play";
      read.set("time", inTauL(state.at * duration()));
      read.set("blowup", T < Infinity ? inTauL(T) : "never");
      read.set("norm", W ? out(math.norm(W)) : "∞");
      read.set("along", W ? out(W[0]) : widgets.number(Math.sign(state.W[0]) * Infinity, 0));
      read.set("across", W ? out(W[1]) : state.W[1] === 0 ? "0" : widgets.number(Math.sign(state.W[1]) * Infinity, 0));
      status.say(verdict());
      canvas.repaint();
    }

    const live = widgets.install(
      figure,
      "Live figure: one row while one image is shown",
      widgets.element("div", { class: "live-row" }, sign.node),
      delta.node,
      length.node,
      canvas.box,
      along.node,
      across.node,
      time.node,
      widgets.element("div", { class: "live-row" }, play, back, sphere),
      read.node,
      status.node
    );
    show();
  };
})();
