/* Interactive figures: draws the frames that genflow_lite.explorer stored.
 *
 * A plain script on purpose, so that it also runs from file://. It sets
 * globalThis.lx = { mount, decode } and, loaded by a <script> tag, brings every
 * <figure class="lx" data-lx="…"> of the page to life. In JupyterLab the same text
 * becomes a module (Python appends the export) and gets an `io` that reaches the
 * kernel: io.send(message), io.listen(callback) → stop.
 */
(() => {
  "use strict";

  // ------------------------------------------------------------------ numbers

  const clamp = (v, lo, hi) => Math.min(Math.max(v, lo), hi);

  /** The arrays of a channel; the inverse of Python's encode, to the last bit. */
  function decode(channel) {
    const { b: bits, k: count, lo, hi, n, r: refs } = channel;
    const bytes = Uint8Array.from(atob(channel.d), (c) => c.charCodeAt(0));
    const top = 2 ** bits - 2;
    let at = 0; // position in bits
    const read = () => {
      // At most 12 bits: they never reach beyond the third byte.
      const i = at >> 3;
      const word = (bytes[i] << 16) | (bytes[i + 1] << 8) | bytes[i + 2];
      const code = (word >> (24 - bits - (at & 7))) & (top + 1);
      at += bits;
      return code;
    };
    const stored = [];
    for (let k = 0; k < count; k++) {
      const values = new Float64Array(Array.isArray(n) ? n[k] : n);
      const step = ((Array.isArray(hi) ? hi[k] : hi) - lo) / top;
      for (let j = 0; j < values.length; j++) {
        const code = read();
        values[j] = code > top ? NaN : lo + code * step;
      }
      stored.push(values);
    }
    return refs ? refs.map((k) => stored[k]) : stored;
  }

  const minus = (text) => text.replace("-", "\u2212");
  const raised = (c) => "⁰¹²³⁴⁵⁶⁷⁸⁹⁻"["0123456789-".indexOf(c)];
  const power = (k) => "10" + String(k).replace(/./g, raised);

  /** A number for a reader: about three digits. */
  function short(v) {
    if (v === 0 || !Number.isFinite(v)) return v === 0 ? "0" : "–";
    const size = Math.floor(Math.log10(Math.abs(v)));
    if (size < -3 || size > 5) {
      return minus((v / 10 ** size).toPrecision(2)) + "×" + power(size);
    }
    return minus(v.toFixed(clamp(2 - size, 0, 5)));
  }

  /** Round ticks in [lo, hi] as [{at, text}]: as many as `fits(ticks)` allows. */
  function ticks(lo, hi, log, fits) {
    for (let wanted = 9; ; wanted--) {
      const out = log ? logTicks(lo, hi, wanted) : linearTicks(lo, hi, wanted);
      if (wanted === 2 || fits(out.filter((t) => t.text))) return out;
    }
  }

  function linearTicks(lo, hi, wanted) {
    const raw = (hi - lo) / wanted;
    const size = 10 ** Math.floor(Math.log10(raw));
    const step = size * [1, 2, 5, 10].find((m) => m * size >= raw * 0.999);
    const digits = Math.max(0, -Math.floor(Math.log10(step * 1.001)));
    const plain = step < 1e5 && step >= 1e-4;
    const out = [];
    for (let k = Math.ceil(lo / step - 1e-9); k * step <= hi + 1e-9 * step; k++) {
      const at = k * step;
      out.push({ at, text: plain ? minus(at.toFixed(k ? digits : 0)) : short(at) });
    }
    return out;
  }

  function logTicks(lo, hi, wanted) {
    const large = lo < -3.01 || hi > 4.01;
    const stride = Math.max(1, Math.ceil((hi - lo) / wanted));
    const out = [];
    for (let k = Math.floor(lo); k <= Math.ceil(hi); k++) {
      for (let m = 1; m < 10; m++) {
        const at = k + Math.log10(m);
        if (at < lo - 1e-9 || at > hi + 1e-9) continue;
        const plain = minus(String(Number((m * 10 ** k).toPrecision(1))));
        if (m === 1 && k % stride === 0) out.push({ at, text: large ? power(k) : plain });
        else if (hi - lo < 1.5 && (m === 2 || m === 5)) out.push({ at, text: plain });
        else if (hi - lo < 5) out.push({ at, text: "" });
      }
    }
    return out;
  }

  // -------------------------------------------------------------------- theme

  /** Colours as the page's CSS gives them at this moment (light or dark). */
  function theme(el) {
    const css = getComputedStyle(el);
    const get = (name) => css.getPropertyValue(`--lx-${name}`).trim();
    return {
      bg: get("bg") || "#fff",
      ink: get("ink") || "#1f2933",
      muted: get("muted") || "#52606d",
      rule: get("rule") || "#d9dee4",
      heat: (get("heat") || "#fff #d3d8df #818c9b").split(/\s+/).map(rgb),
      series: [0, 1, 2, 3, 4, 5].map((k) => get(`c${k}`) || "#0072b2"),
      font: get("font") || css.fontFamily,
    };
  }

  function rgb(hex) {
    const full = hex.length === 4 ? hex.replace(/[0-9a-f]/gi, "$&$&") : hex;
    return [1, 3, 5].map((k) => parseInt(full.slice(k, k + 2), 16));
  }

  /** Calls back whenever the page's theme changes; returns how to stop. */
  function watchTheme(changed) {
    const seen = new MutationObserver(changed);
    const attributeFilter = ["data-theme", "data-jp-theme-light", "class", "theme"];
    for (const el of [document.documentElement, document.body]) {
      seen.observe(el, { attributes: true, attributeFilter });
    }
    const system = matchMedia("(prefers-color-scheme: dark)");
    system.addEventListener("change", changed);
    return () => {
      seen.disconnect();
      system.removeEventListener("change", changed);
    };
  }

  // ------------------------------------------------------------------ drawing

  /** The geometry of a panel at a given width: margins, box, data → pixels. */
  function geometry(panel, width, ctx, look) {
    const [x0, x1] = panel.xlim;
    const [y0, y1] = panel.ylim;
    const first = panel.layers[0];
    if (first.kind === "images") {
      const columns = panel.columns || Math.ceil(Math.sqrt(first.n * 1.4));
      const rows = Math.ceil(first.n / columns);
      const cell = Math.min(width / columns, 140);
      const left = (width - columns * cell) / 2;
      return { columns, rows, cell, left, height: Math.round((rows * cell * first.h) / first.w) };
    }
    ctx.font = `12px ${look.font}`;
    const wide = (text) => ctx.measureText(text).width;
    const top = panel.ylabel ? 26 : 10;
    let bottom = panel.xlabel ? 42 : 24;
    const guess = panel.equal ? clamp((y1 - y0) / (x1 - x0), 0.3, 1.15) : panel.aspect;
    const yTicks = ticks(y0, y1, panel.logy, (t) => (width * guess) / t.length > 38);
    const left = Math.ceil(Math.max(...yTicks.map((t) => wide(t.text)), 8)) + 12;
    const right = 12;
    const w = width - left - right;
    const h = Math.round(panel.equal ? w * guess : Math.max(w * guess, 150));
    let xTicks = [];
    let slanted = false;
    if (first.kind === "bars") {
      const widest = Math.max(...first.categories.map(wide));
      slanted = widest > w / first.categories.length - 4;
      if (slanted) bottom += Math.min(widest * 0.6, 90);
      xTicks = first.categories.map((text, k) => ({ at: k + 0.5, text }));
    } else {
      xTicks = ticks(x0, x1, panel.logx, (t) =>
        w / t.length > Math.max(...t.map(({ text }) => wide(text)), 0) + 22);
    }
    return {
      left, top, w, h, xTicks, yTicks, slanted,
      height: top + h + bottom,
      px: (x) => left + ((x - x0) / (x1 - x0)) * w,
      py: (y) => top + h - ((y - y0) / (y1 - y0)) * h,
      x: (px) => x0 + ((px - left) / w) * (x1 - x0),
      y: (py) => y0 + ((top + h - py) / h) * (y1 - y0),
    };
  }

  function drawAxes(ctx, g, look, panel) {
    const bars = panel.layers[0].kind === "bars";
    const heat = panel.layers.some((layer) => layer.kind === "heat");
    ctx.lineWidth = 1;
    const stroke = (color, x0, y0, x1, y1) => {
      ctx.strokeStyle = color;
      ctx.beginPath();
      ctx.moveTo(Math.round(x0) + 0.5, Math.round(y0) + 0.5);
      ctx.lineTo(Math.round(x1) + 0.5, Math.round(y1) + 0.5);
      ctx.stroke();
    };
    ctx.fillStyle = look.muted;
    ctx.textBaseline = "middle";
    ctx.textAlign = "right";
    for (const { at, text } of g.yTicks) {
      const y = g.py(at);
      if (text && !heat) stroke(look.rule, g.left, y, g.left + g.w, y);
      stroke(look.muted, g.left - (text ? 4 : 2), y, g.left, y);
      ctx.fillText(text, g.left - 7, y);
    }
    const floor = g.top + g.h;
    for (const { at, text } of g.xTicks) {
      const x = g.px(at);
      if (text && !heat && !bars) stroke(look.rule, x, g.top, x, floor);
      if (!bars) stroke(look.muted, x, floor, x, floor + (text ? 4 : 2));
      ctx.save();
      ctx.translate(x, floor + 8);
      ctx.textBaseline = g.slanted ? "middle" : "top";
      ctx.textAlign = g.slanted ? "right" : "center";
      if (g.slanted) ctx.rotate(-0.6);
      ctx.fillText(text, 0, 0);
      ctx.restore();
    }
    stroke(look.muted, g.left, floor, g.left + g.w, floor);
    stroke(look.muted, g.left, g.top, g.left, floor);
    ctx.fillStyle = look.ink;
    ctx.textBaseline = "alphabetic";
    if (panel.xlabel) {
      ctx.textAlign = "center";
      ctx.fillText(panel.xlabel, g.left + g.w / 2, g.height - 5);
    }
    if (panel.ylabel) {
      ctx.textAlign = "left";
      ctx.fillText(panel.ylabel, 2, 12);
    }
  }

  /** Runs of finite points: one call of `each(from, to)` for every unbroken run. */
  function runs(values, each) {
    let from = 0;
    for (let k = 0; k <= values.length; k++) {
      if (k === values.length || Number.isNaN(values[k])) {
        if (k > from) each(from, k);
        from = k + 1;
      }
    }
  }

  function polyline(ctx, g, s, from, to) {
    ctx.beginPath();
    for (let k = from; k < to; k++) ctx.lineTo(g.px(s.x[k]), g.py(s.y[k]));
    ctx.stroke();
  }

  function dot(ctx, x, y, radius) {
    ctx.beginPath();
    ctx.arc(x, y, radius, 0, 2 * Math.PI);
    ctx.fill();
  }

  const painters = {
    scatter(ctx, g, look, s, panel, layer) {
      // All series have dots of one size, set by the most numerous.
      const n = Math.max(...layer.items.map((item) => item.x.length));
      const radius = n <= 100 ? 3.6 : n <= 400 ? 2.7 : n <= 1500 ? 2 : 1.5;
      ctx.globalAlpha = n <= 400 ? 0.8 : 0.65;
      ctx.fillStyle = s.paint;
      for (let k = 0; k < s.x.length; k++) dot(ctx, g.px(s.x[k]), g.py(s.y[k]), radius);
    },

    lines(ctx, g, look, s) {
      ctx.strokeStyle = s.paint;
      ctx.lineWidth = 2.2;
      runs(s.y, (from, to) => polyline(ctx, g, s, from, to));
    },

    trajectories(ctx, g, look, s) {
      ctx.strokeStyle = ctx.fillStyle = s.paint;
      ctx.lineWidth = 1.2;
      runs(s.x, (from, to) => {
        ctx.globalAlpha = 0.5;
        polyline(ctx, g, s, from, to);
        ctx.globalAlpha = 1;
        dot(ctx, g.px(s.x[to - 1]), g.py(s.y[to - 1]), 2.6);
      });
    },

    field(ctx, g, look, s, panel) {
      ctx.strokeStyle = ctx.fillStyle = s.name ? s.paint : look.ink;
      ctx.lineWidth = 1.3;
      ctx.globalAlpha = 0.75;
      const scale = panel.arrow || 0;
      for (let k = 0; k < s.x.length; k++) {
        const x = g.px(s.x[k]);
        const y = g.py(s.y[k]);
        const dx = g.px(s.x[k] + scale * s.u[k]) - x;
        const dy = g.py(s.y[k] + scale * s.v[k]) - y;
        const length = Math.hypot(dx, dy);
        if (length < 0.8) {
          dot(ctx, x, y, 0.9); // no direction to show at this size
          continue;
        }
        const head = Math.min(5.5, 0.45 * length) / length;
        const [bx, by] = [x + dx * (1 - head), y + dy * (1 - head)];
        ctx.beginPath();
        ctx.moveTo(x, y);
        ctx.lineTo(bx, by);
        ctx.stroke();
        ctx.beginPath();
        ctx.moveTo(x + dx, y + dy);
        ctx.lineTo(bx - dy * head * 0.5, by + dx * head * 0.5);
        ctx.lineTo(bx + dy * head * 0.5, by - dx * head * 0.5);
        ctx.fill();
      }
    },

    heat(ctx, g, look, s, panel, layer) {
      const { nx, ny, box } = layer;
      const top = panel.vmax || s.z.reduce((a, b) => Math.max(a, b), 0) || 1;
      const sheet = new OffscreenCanvas(nx, ny);
      const image = new ImageData(nx, ny);
      const stops = look.heat.length - 1;
      for (let k = 0; k < s.z.length; k++) {
        const at = clamp(s.z[k] / top, 0, 1) * stops;
        const i = Math.min(Math.floor(at), stops - 1);
        // Row 0 of the data is the bottom, row 0 of an image the top.
        const to = 4 * ((ny - 1 - Math.floor(k / nx)) * nx + (k % nx));
        for (let c = 0; c < 3; c++) {
          const [a, b] = [look.heat[i][c], look.heat[i + 1][c]];
          image.data[to + c] = a + (at - i) * (b - a);
        }
        image.data[to + 3] = 255;
      }
      sheet.getContext("2d").putImageData(image, 0, 0);
      ctx.imageSmoothingEnabled = !panel.cells;
      ctx.imageSmoothingQuality = "high";
      const [x, y] = [g.px(box[0]), g.py(box[3])];
      ctx.drawImage(sheet, x, y, g.px(box[1]) - x, g.py(box[2]) - y);
    },

    images(ctx, g, look, s, panel, layer) {
      const { n, h, w } = layer;
      const sheet = new OffscreenCanvas(w, h);
      const image = new ImageData(w, h);
      ctx.imageSmoothingEnabled = false;
      for (let k = 0; k < n; k++) {
        for (let j = 0; j < h * w; j++) {
          const v = Math.round(255 * s.z[k * h * w + j]);
          image.data.set([v, v, v, 255], 4 * j);
        }
        sheet.getContext("2d").putImageData(image, 0, 0);
        const x = Math.round(g.left + (k % g.columns) * g.cell);
        const y = Math.round((Math.floor(k / g.columns) * g.cell * h) / w);
        ctx.drawImage(sheet, x, y, g.cell - 2, (g.cell * h) / w - 2);
      }
    },

    bars(ctx, g, look, s, panel, layer) {
      const count = layer.series.length;
      const slot = g.w / layer.categories.length;
      const width = (0.76 * slot) / count;
      const base = g.py(panel.logy ? panel.ylim[0] : clamp(0, ...panel.ylim));
      const size = clamp(width / 3.2, 9, 12);
      ctx.font = `${size}px ${look.font}`;
      ctx.textAlign = "center";
      s.v.forEach((v, k) => {
        const x = g.left + k * slot + 0.12 * slot + s.order * width;
        const y = g.py(v);
        ctx.fillStyle = s.paint;
        ctx.fillRect(x, Math.min(y, base), width * 0.94, Math.abs(base - y));
        const text = short(panel.logy ? 10 ** v : v);
        if (ctx.measureText(text).width > width * 1.02) return;
        ctx.fillStyle = look.ink;
        const above = v >= 0 || panel.logy;
        ctx.textBaseline = above ? "bottom" : "top";
        ctx.fillText(text, x + width * 0.47, Math.max(y + (above ? -2 : 3), size + 2));
      });
    },
  };

  /** Draws one frame (a list of layers, each a list of series) onto a canvas. */
  function paint(canvas, panel, frame, look) {
    const width = canvas.parentElement.clientWidth;
    if (!width) return null;
    const ctx = canvas.getContext("2d");
    const g = geometry(panel, width, ctx, look);
    const ratio = Math.max(globalThis.devicePixelRatio || 1, 1);
    const [pw, ph] = [Math.round(width * ratio), Math.round(g.height * ratio)];
    if (canvas.width !== pw || canvas.height !== ph) {
      canvas.width = pw;
      canvas.height = ph;
      canvas.style.height = `${g.height}px`;
    }
    ctx.setTransform(1, 0, 0, 1, 0, 0);
    ctx.globalAlpha = 1;
    ctx.fillStyle = look.bg;
    ctx.fillRect(0, 0, pw, ph);
    ctx.setTransform(pw / width, 0, 0, ph / g.height, 0, 0);
    ctx.lineJoin = ctx.lineCap = "round";
    ctx.font = `12px ${look.font}`;
    const framed = panel.layers[0].kind !== "images";
    const under = panel.layers[0].kind !== "heat"; // a heat map hides the grid lines
    if (framed && under) drawAxes(ctx, g, look, panel);
    ctx.save();
    if (framed) {
      ctx.beginPath();
      ctx.rect(g.left - 4, g.top - 4, g.w + 8, g.h + 8); // whole dots at the edges
      ctx.clip();
    }
    frame.forEach((layer) => {
      for (const s of layer.items) {
        ctx.save();
        s.paint = look.series[s.color % look.series.length];
        painters[layer.kind](ctx, g, look, s, panel, layer);
        ctx.restore();
      }
    });
    ctx.restore();
    if (framed && !under) drawAxes(ctx, g, look, panel);
    return g;
  }

  // ------------------------------------------------------------------- frames

  /** Decoded layers of a panel: states(k) is the frame of the k-th state. */
  function unpack(layers) {
    const decoded = layers.map((layer) =>
      Object.fromEntries(Object.entries(layer.ch).map(([key, c]) => [key, decode(c)])),
    );
    return (k) =>
      layers.map((layer, i) => ({
        ...layer,
        items: layer.series.map((name, order) => {
          const s = { name, order, color: layer.color[order] };
          const at = k * layer.series.length + order;
          for (const key in decoded[i]) s[key] = decoded[i][key][at];
          return s;
        }),
      }));
  }

  // ----------------------------------------------------------------- elements

  let serial = 0;

  /** An element: make("div", {class: "x", text: "…"}, child, …). */
  function make(tag, attributes = {}, ...children) {
    const el = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) {
      if (key === "text") el.textContent = value;
      else if (value !== undefined && value !== false) el.setAttribute(key, value);
    }
    el.append(...children);
    return el;
  }

  const icon = (path) => {
    const span = make("span", { class: "lx-icon", "aria-hidden": "true" });
    span.innerHTML = `<svg viewBox="0 0 16 16" width="16" height="16"><path d="${path}"/></svg>`;
    return span;
  };
  const PLAY = "M4 2.5v11l9.5-5.5z";
  const BACK = "M8 3V.5L3.8 4 8 7.5V5a4 4 0 1 1-4 4H2a6 6 0 1 0 6-6z";
  const PAUSE = "M3.5 2.5h3v11h-3zM9.5 2.5h3v11h-3z";

  /** One control: its state is a position on the grid (`at`) and a value. */
  class Control {
    constructor(spec, live, changed) {
      Object.assign(this, spec);
      this.changed = changed;
      this.last = this.values.length - 1;
      this.numeric = typeof this.values[0] === "number";
      this.live = live && this.numeric && this.last > 0;
      this.id = `lx-${++serial}`;
      const letters = this.labels.join("").length;
      this.choice = !this.numeric && this.values.length <= 5 && letters <= 48;
      this.el = this.choice ? this.buildChoice() : this.buildSlider();
      this.go(this.start);
    }

    buildSlider() {
      this.input = make("input", {
        type: "range", id: this.id, min: 0, max: this.last, step: this.live ? 0.05 : 1,
      });
      this.input.addEventListener("input", () => this.go(Number(this.input.value), true));
      if (this.live) {
        // Arrows visit the grid's values as they do without a kernel; with Shift, between.
        this.input.addEventListener("keydown", (event) => {
          const up = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
          if (!up) return;
          event.preventDefault();
          const next = up > 0 ? Math.floor(this.at + 1 + 1e-9) : Math.ceil(this.at - 1 - 1e-9);
          this.go(event.shiftKey ? this.at + 0.05 * up : next, true);
        });
        this.number = make("input", {
          type: "text", inputmode: "decimal", class: "lx-value", autocomplete: "off",
          "aria-label": `${this.label}, exact value`,
        });
        this.number.addEventListener("change", () => this.type(this.number.value));
        this.number.addEventListener("keydown", (event) => {
          if (event.key === "Enter") this.type(this.number.value);
        });
      } else {
        this.number = make("output", { class: "lx-value", for: this.id });
        const widest = Math.max(...this.labels.map((label) => label.length));
        this.number.style.minWidth = `${widest}ch`; // the row must not jump
      }
      const label = make("label", { for: this.id, text: this.label });
      return make("div", { class: "lx-control" },
        make("div", { class: "lx-head" }, label, this.number), this.input);
    }

    buildChoice() {
      const set = make("fieldset", { class: "lx-control lx-choice" },
        make("legend", { text: this.label }));
      const row = make("div", { class: "lx-segments" });
      this.radios = this.values.map((value, k) => {
        const radio = make("input", { type: "radio", name: this.id, id: `${this.id}-${k}` });
        radio.addEventListener("change", () => this.go(k, true));
        row.append(radio, make("label", { for: radio.id, text: this.labels[k] }));
        return radio;
      });
      set.append(row);
      return set;
    }

    /** Moves to a position on the grid; between two grid points only with a kernel. */
    go(at, byHand = false) {
      at = clamp(at, 0, this.last);
      const k = Math.min(Math.floor(at), Math.max(this.last - 1, 0));
      let value = this.values[Math.round(at)];
      if (this.live && !Number.isInteger(at)) {
        const [a, b] = [this.values[k], this.values[k + 1]];
        // To a twentieth of the spacing in round decimals, so that it reads well.
        const digits = clamp(Math.ceil(-Math.log10(Math.abs(b - a) / 20)), 0, 12);
        value = Number((a + (at - k) * (b - a)).toFixed(this.whole ? 0 : digits));
      }
      this.set(value, at, byHand);
    }

    /** A typed value; it may lie beyond the ends of the slider. */
    type(text) {
      let value = Number(text.replace("\u2212", "-").replace(",", "."));
      if (text.trim() === "" || !Number.isFinite(value)) return this.show();
      if (this.whole) value = Math.round(value);
      const up = this.values[this.last] > this.values[0];
      let k = 0;
      const beyond = (end) => (up ? value > end : value < end);
      while (k < this.last - 1 && beyond(this.values[k + 1])) k++;
      const [a, b] = [this.values[k], this.values[k + 1]];
      this.set(value, clamp(k + (value - a) / (b - a), 0, this.last), true);
    }

    set(value, at, byHand) {
      const size = this.numeric && (Math.abs(this.values[this.last] - this.values[0]) || 1);
      this.index = this.numeric
        ? this.values.findIndex((v) => Math.abs(v - value) <= 1e-9 * size)
        : this.values.indexOf(value);
      this.at = this.index >= 0 ? this.index : at;
      this.value = this.index >= 0 ? this.values[this.index] : value;
      this.text = this.index >= 0 ? this.labels[this.index] : minus(String(value));
      this.show();
      this.changed(this, byHand);
    }

    get words() {
      return `${this.label} = ${this.text}`;
    }

    /** The nearest grid point, for when nobody can compute. */
    get nearest() {
      if (!this.numeric || this.index >= 0) return Math.round(this.at);
      const away = this.values.map((v) => Math.abs(v - this.value));
      return away.indexOf(Math.min(...away));
    }

    show() {
      if (this.choice) {
        this.radios.forEach((radio, k) => (radio.checked = k === this.index));
        return;
      }
      this.input.value = this.at;
      this.input.setAttribute("aria-valuetext", this.text);
      this.input.style.setProperty("--lx-fill", `${(100 * this.at) / (this.last || 1)}%`);
      if (this.live) this.number.value = this.text;
      else this.number.textContent = this.text;
    }
  }

  // -------------------------------------------------------------------- mount

  const ANSWER_MS = 4000; // a kernel that says nothing for so long counts as gone
  const PATIENCE_MS = 250; // and meanwhile the nearest state is shown after this

  /** Makes `figure` live; `spec` as stored by Python; `io` reaches a kernel, if any. */
  function mount(figure, spec, io) {
    if (figure.lxStop) figure.lxStop();
    const slow = matchMedia("(prefers-reduced-motion: reduce)");
    const controls = {};
    const uses = (name) => panels.filter((p) => p.controls.includes(name)).length;
    const status = make("p", { class: "lx-status", "aria-hidden": "true" });
    const spoken = make("p", { class: "lx-spoken", role: "status", "aria-live": "polite" });
    let look = theme(figure);
    let playing = null;
    let ready = false;
    let sayTimer = 0;

    // ---- panels

    const panels = spec.panels.map((p) => {
      const canvas = make("canvas", { role: "img" });
      const readout = make("span", { class: "lx-readout", "aria-hidden": "true" });
      const note = make("p", { class: "lx-note" });
      const frame = unpack(p.layers);
      return { ...p, canvas, readout, note, frame, exact: new Map(), message: "" };
    });

    function legend(panel) {
      const list = make("ul", { class: "lx-legend" });
      const seen = new Set();
      for (const layer of panel.layers) {
        layer.series.forEach((name, k) => {
          if (!name || seen.has(name)) return;
          seen.add(name);
          const key = make("span", { class: `lx-key lx-key-${layer.kind}`, "aria-hidden": "true" });
          key.style.setProperty("--lx-key", `var(--lx-c${layer.color[k] % 6})`);
          list.append(make("li", {}, key, name));
        });
        if (layer.kind === "heat") {
          panel.peak = make("span", { class: "lx-peak" });
          panel.ramp = make("span", { class: "lx-ramp", "aria-hidden": "true" });
          list.append(make("li", {}, `${panel.shade || "density"} 0`, panel.ramp, panel.peak));
        }
      }
      return make("div", {}, list.childElementCount ? list : "");
    }

    /** Shows a frame; while playing, the one before fades away (frames only fade: no
     *  state in between is invented). */
    function show(panel, frame, caption) {
      const fade = playing && !slow.matches && playing.every >= 80;
      let before = null;
      if (fade && panel.canvas.width) {
        before = new OffscreenCanvas(panel.canvas.width, panel.canvas.height);
        before.getContext("2d").drawImage(panel.canvas, 0, 0);
      }
      panel.now = frame;
      panel.g = paint(panel.canvas, panel, frame, look);
      if (panel.peak) {
        const z = frame.find((layer) => layer.kind === "heat").items[0].z;
        panel.peak.textContent = short(panel.vmax || z.reduce((a, b) => Math.max(a, b), 0));
      }
      panel.note.textContent = caption;
      panel.note.hidden = !panel.notes;
      const what = panels.length > 1 ? panel.alt || panel.title || spec.alt : spec.alt;
      const state = panel.controls.map((name) => controls[name].words).join(", ");
      const parts = [what.replace(/\.$/, ""), state, caption, panel.message];
      panel.canvas.setAttribute("aria-label", parts.filter(Boolean).join(". "));
      if (before) crossfade(panel, before, Math.min(playing.every, 140));
    }

    function crossfade(panel, before, ms) {
      const { canvas } = panel;
      const after = new OffscreenCanvas(canvas.width, canvas.height);
      after.getContext("2d").drawImage(canvas, 0, 0);
      const token = (panel.fading = {});
      const begin = performance.now();
      const step = (now) => {
        if (panel.fading !== token || canvas.width !== after.width) return;
        const share = clamp((now - begin) / ms, 0, 1);
        const ctx = canvas.getContext("2d");
        ctx.setTransform(1, 0, 0, 1, 0, 0);
        ctx.globalAlpha = 1;
        ctx.drawImage(after, 0, 0);
        ctx.globalAlpha = 1 - share;
        if (share < 1) ctx.drawImage(before, 0, 0);
        if (share < 1) requestAnimationFrame(step);
      };
      step(begin);
    }

    /** Shows the state on the grid that is nearest, and says so if it is not exact. */
    function showNearest(panel, trouble) {
      panel.fading = null;
      const own = panel.controls.map((name) => controls[name]);
      const k = own.reduce((at, c) => at * c.values.length + c.nearest, 0);
      const off = own.filter((c) => c.index < 0).map((c) => `${c.label} = ${c.labels[c.nearest]}`);
      const instead = `(nearest computed state shown: ${off.join(", ")})`;
      panel.message = off.length ? `${trouble} ${instead}` : "";
      show(panel, panel.frame(k), panel.notes ? panel.notes[k] : "");
      say();
    }

    function update(panel) {
      const own = panel.controls.map((name) => controls[name]);
      panel.wanted = null;
      if (own.every((c) => c.index >= 0)) return showNearest(panel, "");
      const key = JSON.stringify(own.map((c) => c.value));
      const known = panel.exact.get(key);
      if (known) {
        panel.message = "";
        show(panel, known.frame, known.note);
        return say();
      }
      panel.wanted = { key, values: Object.fromEntries(own.map((c) => [c.name, c.value])) };
      clearTimeout(panel.patience);
      panel.patience = setTimeout(() => {
        if (panel.wanted) showNearest(panel, "Computing");
      }, PATIENCE_MS);
      ask(panel);
    }

    // ---- kernel: one question a panel at a time, then the newest one

    function ask(panel) {
      if (panel.asked || !panel.wanted) return;
      const asked = (panel.asked = { ...panel.wanted, id: `${figure.lxId}-${++serial}` });
      const gone = () => {
        if (panel.asked !== asked) return;
        panel.asked = null;
        clearTimeout(panel.patience);
        showNearest(panel, "No answer from the kernel");
        if (panel.wanted && panel.wanted.key !== asked.key) ask(panel);
      };
      asked.timer = setTimeout(gone, ANSWER_MS);
      try {
        io.send({ id: asked.id, panel: panels.indexOf(panel), values: asked.values });
      } catch {
        gone();
      }
    }

    function hear(reply) {
      const panel = panels[reply.panel];
      const asked = panel && panel.asked;
      if (!asked || asked.id !== reply.id) return;
      clearTimeout(asked.timer);
      panel.asked = null;
      const current = panel.wanted && panel.wanted.key === asked.key;
      if (reply.error && current) {
        clearTimeout(panel.patience);
        panel.wanted = null;
        showNearest(panel, reply.error);
      } else if (!reply.error) {
        reply.layers.forEach((layer, i) => {
          const known = panel.layers[i];
          const color = (name) => known.color[Math.max(known.series.indexOf(name), 0)];
          layer.color = layer.series.map(color);
        });
        if (panel.exact.size > 60) panel.exact.delete(panel.exact.keys().next().value);
        panel.exact.set(asked.key, { frame: unpack(reply.layers)(0), note: reply.note });
        if (current) {
          clearTimeout(panel.patience);
          update(panel);
        }
      }
      ask(panel);
    }

    // ---- state in words

    function say() {
      const messages = [...new Set(panels.map((p) => p.message).filter(Boolean))];
      status.textContent = messages.join(" · ");
      clearTimeout(sayTimer);
      if (!ready || playing) return;
      // Once the hand rests: a screen reader must not be flooded while a slider moves.
      sayTimer = setTimeout(() => {
        const state = Object.values(controls).map((c) => c.words);
        const notes = panels.map((p) => p.note.textContent);
        spoken.textContent = [state.join(", "), ...notes, ...messages].filter(Boolean).join(". ");
      }, 450);
    }

    // ---- play

    function stop() {
      if (!playing) return;
      cancelAnimationFrame(playing.request);
      playing = null;
      button.setAttribute("aria-pressed", "false");
      button.replaceChildren(icon(PLAY));
      say();
    }

    function play() {
      const c = controls[spec.play];
      if (c.index === c.last) c.go(0);
      const every = clamp(5000 / Math.max(c.last, 1), 50, 500);
      playing = { every: slow.matches ? 900 : every };
      button.setAttribute("aria-pressed", "true");
      button.replaceChildren(icon(PAUSE));
      let due = performance.now() + playing.every;
      const step = (now) => {
        if (!playing) return;
        if (now >= due) {
          due = Math.max(due + playing.every, now);
          c.go(Math.floor(c.at + 1 + 1e-9));
          if (c.index === c.last) return stop();
        }
        playing.request = requestAnimationFrame(step);
      };
      playing.request = requestAnimationFrame(step);
    }

    const button = make("button", { type: "button", class: "lx-button lx-play" }, icon(PLAY));
    button.setAttribute("aria-pressed", "false");

    // ---- assembling

    function changed(control, byHand) {
      if (!ready) return;
      if (byHand && control.name === spec.play) stop();
      for (const panel of panels) if (panel.controls.includes(control.name)) update(panel);
    }

    figure.lxId = Math.random().toString(36).slice(2, 8);
    const shared = make("div", { class: "lx-controls" });
    const grid = make("div", { class: "lx-panels" });
    if (panels.length > 1) grid.classList.add("lx-several");
    if (panels.length % 3 === 0) grid.classList.add("lx-threes");
    for (const panel of panels) {
      const own = make("div", { class: "lx-controls" });
      const plot = make("div", { class: "lx-plot" }, panel.canvas, panel.readout);
      const box = make("div", { class: "lx-panel" });
      // Always five rows, so that the plots of neighbouring panels line up.
      box.append(make("p", { class: "lx-title", text: panel.title || "" }));
      box.append(legend(panel), plot, panel.note, own);
      if (panel.equal && panels.length === 1) {
        const [[x0, x1], [y0, y1]] = [panel.xlim, panel.ylim];
        box.style.maxWidth = `${clamp((500 * (x1 - x0)) / (y1 - y0), 320, 720)}px`;
      }
      panel.own = own;
      grid.append(box);
    }
    for (const c of spec.controls) {
      const control = (controls[c.name] = new Control(c, Boolean(io), changed));
      const home = panels.find((p) => p.controls.includes(c.name));
      const row = make("div", { class: "lx-row" });
      if (c.name === spec.play) {
        button.setAttribute("aria-label", `Play through ${c.label}`);
        button.title = `Play through ${c.label}`;
        row.append(button);
      }
      row.append(control.el);
      (panels.length > 1 && uses(c.name) === 1 ? home.own : shared).append(row);
    }
    const reset = make("button", { type: "button", class: "lx-button lx-reset" }, icon(BACK));
    reset.setAttribute("aria-label", (reset.title = "Reset"));
    reset.addEventListener("click", () => {
      stop();
      for (const c of Object.values(controls)) c.go(c.start, true);
    });
    button.addEventListener("click", () => (playing ? stop() : play()));

    // Lumino, JupyterLab's keyboard handling, would take arrows and letters otherwise.
    const root = make("div", { class: "lx-root", "data-lm-suppress-shortcuts": "true" });
    root.setAttribute("role", "group");
    root.setAttribute("aria-label", spec.title || "Interactive figure");
    if (spec.title) root.append(make("p", { class: "lx-title lx-main", text: spec.title }));
    root.append(grid, make("div", { class: "lx-bar" }, shared, reset), status, spoken);
    status.hidden = !io; // without a kernel there is nothing to wait for
    for (const old of figure.querySelectorAll(":scope > img, :scope > .lx-root")) old.remove();
    figure.prepend(root);
    figure.classList.add("lx-live");

    // ---- reading values under the pointer

    for (const panel of panels) {
      if (["images", "bars"].includes(panel.layers[0].kind)) continue;
      panel.canvas.addEventListener("pointermove", (event) => {
        const g = panel.g;
        const inside = g && event.offsetX >= g.left && event.offsetX <= g.left + g.w &&
          event.offsetY >= g.top && event.offsetY <= g.top + g.h;
        const x = inside && (panel.logx ? 10 ** g.x(event.offsetX) : g.x(event.offsetX));
        const y = inside && (panel.logy ? 10 ** g.y(event.offsetY) : g.y(event.offsetY));
        panel.readout.textContent = inside ? `(${short(x)}, ${short(y)})` : "";
      });
      panel.canvas.addEventListener("pointerleave", () => (panel.readout.textContent = ""));
    }

    // ---- life

    const redraw = () => {
      look = theme(figure);
      const ramp = look.heat.map((c) => `rgb(${c})`).join();
      for (const panel of panels) {
        panel.fading = null;
        if (panel.ramp) panel.ramp.style.background = `linear-gradient(90deg,${ramp})`;
        if (panel.now) panel.g = paint(panel.canvas, panel, panel.now, look);
      }
    };
    const sizes = new ResizeObserver(redraw);
    for (const panel of panels) sizes.observe(panel.canvas.parentElement);
    const unwatch = watchTheme(redraw);
    document.fonts.ready.then(() => figure.lxStop && redraw());
    const unhear = io ? io.listen(hear) : () => {};
    ready = true;
    redraw();
    panels.forEach(update);
    figure.lxStop = () => {
      stop();
      sizes.disconnect();
      unwatch();
      unhear();
      for (const panel of panels) if (panel.asked) clearTimeout(panel.asked.timer);
      figure.lxStop = null;
    };
    return figure.lxStop;
  }

  /** Every figure that the parser has finished: a caption ends it. */
  function mountAll() {
    const waiting = "figure.lx[data-lx]:not(.lx-live, .lx-broken) > figcaption";
    for (const { parentElement: figure } of document.querySelectorAll(waiting)) {
      try {
        mount(figure, JSON.parse(figure.dataset.lx));
      } catch (error) {
        figure.classList.add("lx-broken");
        console.error("This figure stays a picture:", error); // the <img> is still there
      }
    }
  }

  globalThis.lx = { mount, decode };
  // Only a plain script is a "current script"; a module mounts what it is told to.
  if (globalThis.document && document.currentScript) {
    mountAll();
    if (document.readyState === "loading") {
      // While the page is parsed, so that no picture is painted first and then replaced.
      const seen = new MutationObserver(mountAll);
      seen.observe(document, { childList: true, subtree: true });
      document.addEventListener("DOMContentLoaded", () => {
        seen.disconnect();
        mountAll();
      });
    }
  }
})();
