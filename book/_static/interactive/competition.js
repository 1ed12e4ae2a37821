// The live figure of the competition, eq. 1: choose a digit, the inhibition and the start, and watch the race.
(function () {
  "use strict";

  const bionet = window.bionet;
  const { math, widgets } = bionet;
  const STEP = 0.02; // tau
  const ENDS = [12, 24, 48, 100, 200]; // the race is shown up to one of these, in tau
  const NEAR = 0.005; // "settled": every activity within this fraction of the largest current
  const SIDE = 28;

  const few = ["no unit", "one unit", "two units", "three units", "four units", "five units", "six units"];
  const units = (n) => few[n] || n + " units";

  bionet.figures.competition = function (figure) {
    const data = bionet.competition;
    const count = data.rows.length;
    const maps = data.rows.map((text) => widgets.fromBase64(text, true));
    const digits = data.digits.map((digit) => widgets.fromBase64(digit.pixels, false));

    // State: what was chosen, the race that follows from it, and where in it we look (a fraction of its time).
    const state = { digit: 1, w: 0.8, start: "zero", h0: new Array(count).fill(0), at: 1 };
    let currents, exact, winners, run, reach;

    function compute() {
      currents = data.currents[state.digit];
      exact = state.w < 1 ? math.steadyState(currents, state.w) : null;
      winners = state.w < 1 ? null : math.possibleWinners(currents, state.w);
      run = math.race(currents, state.w, state.h0, STEP, ENDS, NEAR);
      let [low, high] = [0, 0];
      for (const h of run.path) {
        low = Math.min(low, ...h);
        high = Math.max(high, ...h);
      }
      for (const i of winners || []) high = Math.max(high, currents[i]);
      reach = [low - 0.04 * (high - low), high + 0.06 * (high - low)];
    }

    function activities() {
      return run.path[Math.round(state.at * (run.path.length - 1))];
    }

    function startFor(start) {
      if (start === "carry") return activities().slice();
      return currents.map((current, i) => (start === "unit" + i ? Math.max(current, 0) : 0));
    }

    // Something was chosen: race again from the start that belongs to it.
    function choose(change, replay) {
      const carried = activities().slice();
      Object.assign(state, change);
      currents = data.currents[state.digit];
      state.h0 = state.start === "carry" ? carried : startFor(state.start);
      compute();
      if (replay && !widgets.still.matches) {
        state.at = 0;
        clock.play(0);
      } else if (!clock.running) {
        state.at = 1;
      }
      show();
    }

    const clock = widgets.clock(
      () => 6,
      function (fraction) {
        state.at = fraction;
        show();
      },
      show
    );

    function toggle() {
      if (clock.running) clock.pause();
      else {
        if (state.at >= 1) state.at = 0;
        clock.play(state.at);
      }
      show();
    }

    // Controls

    const pictures = digits.map((bytes) => widgets.element("canvas", { class: "live-digit", width: SIDE, height: SIDE, "aria-hidden": "true" }));
    const digit = widgets.choice(
      "Digit",
      data.digits.map((one, i) => [String(i), pictures[i], String(one.label)]),
      String(state.digit),
      (value) => choose({ digit: Number(value) }, true)
    );
    const inhibition = widgets.slider(
      "Inhibition w_{inh}",
      { min: 0, max: 1.5, step: 0.01, value: state.w, say: (x) => widgets.number(x, 2) },
      (value) => choose({ w: value }, state.start === "carry")
    );
    const start = widgets.select(
      "Start",
      [["zero", "all at zero"], ["carry", "where they stand now"]].concat(
        data.rows.map((_, i) => ["unit" + i, `unit ${i + 1} ahead, alone at its current`])
      ),
      (value) => choose({ start: value }, true)
    );
    const play = widgets.button("Play", toggle);
    const back = widgets.button("Back to start", function () {
      clock.pause();
      state.at = 0;
      show();
    });
    const time = widgets.slider(
      "Time",
      { min: 0, max: 1000, step: 1, value: 1000, say: () => (run ? widgets.number(state.at * run.duration, 1) + " τ" : "") },
      function (value) {
        clock.pause();
        state.at = value / 1000;
        show();
      }
    );
    const read = widgets.readouts([
      ["time", "Time"],
      ["active", "Active units"],
      ["sum", "Summed rate S"],
      ["winner", "Strongest"],
      ["slow", "Slow rate (1 − w)/τ"],
    ]);
    const status = widgets.announcer();
    const note = widgets.element("p", { class: "live-note" });

    // Picture

    const rowsFor = (width) => (width < 560 ? 2 : 1);
    const traceHeight = (width) => (width < 560 ? 190 : 230);
    const barHeight = (width) => (width < 560 ? 120 : 150);
    const perRow = (width) => Math.ceil(count / rowsFor(width));
    const left = 36;
    const cell = (width) => (width - left) / perRow(width);
    const blockHeight = (width) => barHeight(width) + Math.min(cell(width), 40) + 24;
    const canvas = widgets.canvas(
      { role: "img" },
      (width) => traceHeight(width) + 42 + rowsFor(width) * blockHeight(width),
      draw
    );
    let tiles = null;
    let tilesFor = "";

    function paintTiles(c) {
      tiles = maps.map((bytes) => widgets.thumbnail(bytes, SIDE, 127, c.vermilion, c.blue, c.ground));
      pictures.forEach(function (picture, i) {
        const context = picture.getContext("2d");
        context.drawImage(widgets.thumbnail(digits[i], SIDE, 255, c.ink, c.ink, c.ground), 0, 0);
      });
      tilesFor = c.ground;
    }

    function colourOf(h, i, strongest, c) {
      if (h[i] <= 0) return c.faint;
      return i === strongest ? c.vermilion : c.blue;
    }

    function draw(context, width) {
      const c = widgets.colours(live);
      if (tilesFor !== c.ground) paintTiles(c);
      const h = activities();
      const strongest = h.indexOf(Math.max(...h));
      context.font = "12px system-ui, sans-serif";
      context.lineJoin = "round";
      drawTraces(context, width, c);
      for (let r = 0; r < rowsFor(width); r++) {
        const first = r * perRow(width);
        const top = traceHeight(width) + 42 + r * blockHeight(width);
        drawBars(context, width, top, first, Math.min(first + perRow(width), count), h, strongest, c);
      }
    }

    function levels(context, x0, x1, top, height, c) {
      const y = (value) => top + height * (1 - (value - reach[0]) / (reach[1] - reach[0]));
      const span = reach[1] - reach[0];
      const gap = [1, 2, 5, 10].find((g) => span / g <= (height < 160 ? 5 : 8)) || 20;
      context.fillStyle = c.muted;
      context.textAlign = "right";
      context.textBaseline = "middle";
      for (let value = Math.ceil(reach[0] / gap) * gap; value <= reach[1]; value += gap) {
        context.fillText(widgets.number(value, 0), x0 - 5, y(value));
      }
      line(context, x0, y(0), x1, y(0), c.muted, 1);
      return y;
    }

    function line(context, x0, y0, x1, y1, colour, thickness) {
      context.strokeStyle = colour;
      context.lineWidth = thickness;
      context.beginPath();
      context.moveTo(x0, y0);
      context.lineTo(x1, y1);
      context.stroke();
    }

    function drawTraces(context, width, c) {
      const height = traceHeight(width) - 18;
      const right = width - (width < 560 ? 44 : 56);
      const y = levels(context, left, right, 18, height, c);
      const x = (t) => left + (right - left) * (t / run.duration);
      const end = run.path[run.path.length - 1];
      const strongest = end.indexOf(Math.max(...end));
      const order = currents.map((_, i) => i).sort((a, b) => end[a] - end[b]);

      context.fillStyle = c.muted;
      context.textAlign = "left";
      context.fillText("activity h", left + 2, 8);
      context.textAlign = "center";
      const gap = run.duration / 4;
      for (let t = 0; t <= run.duration + 1e-9; t += gap) {
        context.fillText(widgets.number(t, 0), x(t), traceHeight(width) + 10);
      }
      context.fillText("time (τ)", (left + right) / 2, traceHeight(width) + 26);
      if (exact || winners.length) context.fillText(exact ? "exact" : "can win", (right + width) / 2, 8);

      // Fine steps at first, where all is fast; then a point for each pixel.
      const now = Math.round(state.at * (run.path.length - 1));
      const stride = Math.max(1, Math.floor(run.path.length / (2 * (right - left))));
      for (const [from, to, alpha] of [[now, run.path.length - 1, 0.35], [0, now, 1]]) {
        context.globalAlpha = alpha;
        for (const i of order) {
          context.strokeStyle = colourOf(end, i, strongest, c);
          context.lineWidth = end[i] > 0 ? 1.8 : 1;
          context.beginPath();
          context.moveTo(x(from * STEP), y(run.path[from][i]));
          for (let k = from; k < to; k += k < 100 ? 1 : stride) context.lineTo(x(k * STEP), y(run.path[k][i]));
          context.lineTo(x(to * STEP), y(run.path[to][i]));
          context.stroke();
        }
      }
      context.globalAlpha = 1;
      if (state.at < 1) line(context, x(now * STEP), 16, x(now * STEP), traceHeight(width), c.ink, 1);

      for (const i of order) {
        const target = exact ? exact.h[i] : winners.includes(i) ? currents[i] : null;
        if (target !== null) dot(context, (right + width) / 2, y(target), exact ? colourOf(exact.h, i, strongest, c) : null, c);
      }
    }

    // Full dots: the exact end. Rings: each could be an end.
    function dot(context, x, y, colour, c) {
      context.beginPath();
      context.arc(x, y, 4, 0, 2 * Math.PI);
      context.fillStyle = colour || c.ground;
      context.fill();
      context.strokeStyle = c.ink;
      context.lineWidth = colour ? 0.75 : 1.5;
      context.stroke();
    }

    function drawBars(context, width, top, first, last, h, strongest, c) {
      const size = cell(width);
      const side = Math.min(size, 40) - 2;
      const y = levels(context, left, width, top, barHeight(width), c);
      context.textAlign = "center";
      for (let i = first; i < last; i++) {
        const x = left + (i - first) * size;
        const middle = x + size / 2;
        const breadth = Math.max(6, 0.62 * size);
        context.fillStyle = colourOf(h, i, strongest, c);
        context.fillRect(middle - breadth / 2, Math.min(y(h[i]), y(0)), breadth, Math.abs(y(h[i]) - y(0)));
        if (exact) line(context, x + 2, y(exact.h[i]), x + size - 2, y(exact.h[i]), c.ink, 2);
        else if (winners.includes(i)) dot(context, middle, y(currents[i]), null, c);
        const under = top + barHeight(width) + 4;
        context.imageSmoothingEnabled = false;
        context.drawImage(tiles[i], middle - side / 2, under, side, side);
        context.strokeStyle = h[i] > 0 ? colourOf(h, i, strongest, c) : c.faint;
        context.lineWidth = h[i] > 0 ? 2 : 1;
        context.strokeRect(middle - side / 2, under, side, side);
        context.fillStyle = c.muted;
        context.fillText(String(i + 1), middle, under + side + 10);
      }
    }

    // A click on a unit gives it the field to itself at the start.
    canvas.node.addEventListener("click", function (event) {
      const width = canvas.box.clientWidth;
      const down = event.offsetY - traceHeight(width) - 42;
      const row = Math.floor(down / blockHeight(width));
      const column = Math.floor((event.offsetX - left) / cell(width));
      const unit = row * perRow(width) + column;
      if (down < 0 || column < 0 || column >= perRow(width) || unit >= count) return;
      start.input.value = "unit" + unit;
      choose({ start: "unit" + unit }, true);
    });

    // Text

    function verdict() {
      const end = run.path[run.path.length - 1];
      const best = end.indexOf(Math.max(...end)) + 1;
      const label = data.digits[state.digit].label;
      const when = run.settled === null
        ? `Not settled after ${widgets.number(run.duration, 0)} τ.`
        : `Settled after ${widgets.number(run.settled, 1)} τ.`;
      const w = widgets.number(state.w, 2);
      if (exact) {
        const share = exact.active > 1 ? `${units(exact.active)} stay active, unit ${best} ahead` : exact.active ? `unit ${best} alone stays active` : "no unit stays active";
        return `Digit ${label} at w = ${w}: ${share}. ${when} Every start ends here.`;
      }
      const able = winners.map((i) => i + 1);
      const list = able.length > 1 ? able.slice(0, -1).join(", ") + " and " + able[able.length - 1] : able[0];
      if (able.length < 2) return `Digit ${label} at w = ${w}: only unit ${list} can win. ${when}`;
      const who = run.settled === null ? "" : ` From this start unit ${best} wins.`;
      return `Digit ${label} at w = ${w}: units ${list} can each win alone, and the start decides.${who} ${when}`;
    }

    function show() {
      const h = activities();
      const best = h.indexOf(Math.max(...h));
      const on = h.filter((x) => x > 0).length;
      time.set(Math.round(1000 * state.at));
      play.textContent = clock.running ? "Pause" : "Play";
      read.set("time", `${widgets.number(state.at * run.duration, 1)} τ of ${widgets.number(run.duration, 0)} τ`);
      read.set("active", `${on} of ${count}` + (exact ? ` (exact: ${exact.active})` : " (in the end: 1)"));
      read.set("sum", widgets.number(math.summedRate(h), 2) + (exact ? ` (exact: ${widgets.number(exact.S, 2)})` : ""));
      read.set("winner", h[best] > 0 ? `unit ${best + 1}, h = ${widgets.number(h[best], 2)}` : "none above zero");
      const slow = widgets.number(1 - state.w, 2) + "/τ";
      const alone = exact && exact.active < 2 ? " (one unit left: 1/τ)" : "";
      read.set("slow", slow + (state.w > 1 ? ": differences grow" : state.w === 1 ? ": differences stay" : alone));
      const fastest = math.relaxationRates(count, state.w).common * STEP;
      note.textContent =
        `Equation 1 in Runge–Kutta steps of ${STEP} τ. With all ${count} units active the fastest rate times the step is ` +
        `${widgets.number(fastest, 2)}; the method is stable up to ${widgets.number(math.RUNGE_KUTTA_LIMIT, 2)}. ` +
        `“Settled”: every h within ${100 * NEAR} % of the largest current.`;
      const text = verdict();
      canvas.node.setAttribute("aria-label", `Activities of ${count} units in time, and as bars over their feature maps. ${text}`);
      status.say(text);
      canvas.repaint();
    }

    const live = widgets.install(
      figure,
      "Live figure: units compete for a digit",
      widgets.element("div", { class: "live-row" }, digit.node),
      inhibition.node,
      widgets.element("div", { class: "live-row" }, start.node),
      canvas.box,
      time.node,
      widgets.element("div", { class: "live-row" }, play, back),
      read.node,
      status.node,
      note
    );
    compute();
    show();
  };
})();
