// What the live figures share: labelled controls, a crisp canvas, the theme's colours, a clock, numbers as text.
(function () {
  "use strict";

  const bionet = (window.bionet = window.bionet || {});
  let count = 0;

  function element(tag, attributes, ...children) {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes || {})) {
      if (value === true) node.setAttribute(key, "");
      else if (value !== false && value !== null) node.setAttribute(key, value);
    }
    node.append(...children);
    return node;
  }

  // Text with subscripts: "w_{inh}" -> w<sub>inh</sub>
  function rich(text) {
    const parts = text.split(/_\{([^}]*)\}/);
    return parts.map((part, i) => (i % 2 ? element("sub", {}, part) : part));
  }

  function plain(text) {
    return text.replace(/_\{([^}]*)\}/g, " $1");
  }

  function fill(node, text) {
    if (node.dataset.text === text) return;
    node.dataset.text = text;
    node.replaceChildren(...rich(text));
  }

  function number(x, digits) {
    if (x === Infinity) return "∞";
    if (x === -Infinity) return "−∞";
    const text = x.toFixed(digits);
    return (/^-0\.?0*$/.test(text) ? text.slice(1) : text).replace("-", "−");
  }

  // A labelled range; `say` turns its value into what is shown beside it and read aloud.
  function slider(label, { min, max, step, value, say }, changed) {
    const id = "live-" + ++count;
    const input = element("input", { type: "range", id, min, max, step, value });
    const output = element("output", { for: id });
    function show() {
      const text = say(Number(input.value));
      fill(output, text);
      input.setAttribute("aria-valuetext", plain(text));
    }
    input.addEventListener("input", function () {
      show();
      changed(Number(input.value));
    });
    show();
    return {
      node: element("div", { class: "live-slider" }, element("label", { for: id }, ...rich(label)), input, output),
      input,
      set(x) {
        input.value = x;
        show();
      },
      show,
    };
  }

  function button(label, pressed) {
    const node = element("button", { type: "button" }, label);
    node.addEventListener("click", pressed);
    return node;
  }

  function select(label, options, changed) {
    const id = "live-" + ++count;
    const input = element("select", { id }, ...options.map(([value, text]) => element("option", { value }, text)));
    input.addEventListener("change", () => changed(input.value));
    return { node: element("div", { class: "live-select" }, element("label", { for: id }, label), input), input };
  }

  // Radio buttons with any content as their labels.
  function choice(legend, options, chosen, changed) {
    const name = "live-" + ++count;
    const inputs = [];
    const labels = options.map(function ([value, ...content]) {
      const input = element("input", { type: "radio", name, value, checked: value === chosen });
      input.addEventListener("change", () => changed(value));
      inputs.push(input);
      return element("label", {}, input, ...content);
    });
    return {
      node: element("fieldset", { class: "live-choice" }, element("legend", {}, legend), ...labels),
      inputs,
    };
  }

  // A list of read-outs: set("name", "text").
  function readouts(entries) {
    const values = {};
    const list = element("dl", { class: "live-readouts" });
    for (const [key, label] of entries) {
      values[key] = element("dd", { "data-readout": key });
      list.append(element("div", {}, element("dt", {}, ...rich(label)), values[key]));
    }
    return {
      node: list,
      set(key, text) {
        fill(values[key], text);
      },
    };
  }

  // A sentence that screen readers hear: changed at most every half second, and only when it changes.
  function announcer() {
    const node = element("p", { class: "live-status", "aria-live": "polite" });
    let timer = null;
    let next = "";
    return {
      node,
      say(text) {
        if (text === next) return;
        next = text;
        clearTimeout(timer);
        if (!node.textContent) fill(node, text);
        else timer = setTimeout(fill, 500, node, text);
      },
    };
  }

  // A canvas as wide as its box, with one pixel for each pixel of the screen; draw(context, width, height).
  function canvas(attributes, heightFor, draw) {
    const node = element("canvas", attributes);
    const box = element("div", { class: "live-canvas" }, node);
    let pending = false;
    function paint() {
      pending = false;
      const width = Math.floor(box.clientWidth);
      if (!width) return;
      const height = Math.round(heightFor(width));
      const ratio = window.devicePixelRatio || 1;
      const pixels = [Math.round(width * ratio), Math.round(height * ratio)];
      if (node.width !== pixels[0] || node.height !== pixels[1]) {
        [node.width, node.height] = pixels;
        node.style.width = width + "px";
        node.style.height = height + "px";
      }
      const context = node.getContext("2d");
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      context.clearRect(0, 0, width, height);
      draw(context, width, height);
    }
    function repaint() {
      if (!pending) {
        pending = true;
        requestAnimationFrame(paint);
      }
    }
    new ResizeObserver(repaint).observe(box);
    new MutationObserver(repaint).observe(document.documentElement, { attributeFilter: ["data-theme"] });
    return { node, box, repaint };
  }

  // Colours are CSS variables, so that a theme can change them.
  function colours(node) {
    const style = getComputedStyle(node);
    const names = ["ink", "muted", "faint", "ground", "blue", "vermilion", "green", "yellow"];
    return Object.fromEntries(names.map((name) => [name, style.getPropertyValue("--live-" + name).trim()]));
  }

  function rgb(hex) {
    return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  }

  // A picture of bytes: value/scale in [-1, 1], towards `strong` above zero and `weak` below, on `ground`.
  function thumbnail(bytes, side, scale, strong, weak, ground) {
    const node = document.createElement("canvas");
    node.width = node.height = side;
    const context = node.getContext("2d");
    const picture = context.createImageData(side, side);
    const [up, down, base] = [strong, weak, ground].map(rgb);
    bytes.forEach(function (value, i) {
      const x = Math.max(-1, Math.min(1, value / scale));
      const to = x > 0 ? up : down;
      for (let c = 0; c < 3; c++) picture.data[4 * i + c] = base[c] + Math.abs(x) * (to[c] - base[c]);
      picture.data[4 * i + 3] = 255;
    });
    context.putImageData(picture, 0, 0);
    return node;
  }

  function fromBase64(text, signed) {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    return Array.from(signed ? new Int8Array(bytes.buffer) : bytes);
  }

  const still = window.matchMedia("(prefers-reduced-motion: reduce)");

  // Runs a fraction from 0 to 1 in so many seconds: frame by frame, or in twelve jumps where motion is unwelcome.
  function clock(seconds, moved, stopped) {
    let frame = null;
    let last = 0;
    let fraction = 0;
    let jump = 0;
    function tick(now) {
      const elapsed = Math.min(Math.max((now - last) / 1000, 0), 0.25); // a frame's time may lie before play()
      last = now;
      jump += elapsed;
      if (still.matches && jump < seconds() / 12) {
        frame = requestAnimationFrame(tick);
        return;
      }
      fraction = Math.min(1, fraction + (still.matches ? 1 / 12 : elapsed / seconds()));
      jump = 0;
      frame = fraction < 1 ? requestAnimationFrame(tick) : null;
      moved(fraction);
      if (frame === null) stopped();
    }
    return {
      get running() {
        return frame !== null;
      },
      play(from) {
        fraction = from;
        jump = 0;
        last = performance.now();
        if (frame === null) frame = requestAnimationFrame(tick);
      },
      pause() {
        if (frame !== null) cancelAnimationFrame(frame);
        frame = null;
      },
    };
  }

  // The live figure takes the picture's place on the screen; the picture stays for print.
  function install(figure, label, ...children) {
    const live = element("div", { class: "live", role: "group", "aria-label": label }, ...children);
    figure.prepend(live);
    figure.classList.add("is-live");
    return live;
  }

  bionet.widgets = {
    element, rich, number, slider, button, select, choice, readouts, announcer, canvas, colours, thumbnail,
    fromBase64, clock, install, still,
  };
})();
