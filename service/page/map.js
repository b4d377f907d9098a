// All nodes in the plane, by their embeddings: colored by what the model predicts for them.

import { get, segment } from "/page/api.js";
import { add, announce, empty, failure, fill, h, panel } from "/page/dom.js";
import { count, decimal, percent, plural } from "/page/format.js";
import { Points } from "/page/points.js";
import { NAMED, color, placesOf, rgb, scale } from "/page/palette.js";

const ASK_AFTER_MS = 90,
  REACH = 9,
  STEP = 60;

export function show(root, { arg, known, signal }) {
  const models = known.models.filter((m) => !m.task?.startsWith("graph-"));
  const view = h("div", { class: "stack" });
  let name = (models.find((m) => m.is_default) ?? models[0])?.name;
  const choose = h(
    "select",
    {
      id: "map-model",
      onchange: (e) => {
        name = e.target.value;
        open(view, name, null, signal);
      },
    },
    models.map((m) => h("option", { value: m.name, selected: m.name === name }, m.name)),
  );
  add(
    root,
    h(
      "div",
      { class: "view-head" },
      h("h1", {}, "Map"),
      h("p", {}, "Every point is a node; those with similar embeddings are side by side"),
    ),
    models.length > 1 &&
      h(
        "div",
        { class: "bar-form" },
        h("div", { class: "field" }, h("label", { for: "map-model" }, "Model"), choose),
      ),
    view,
  );
  if (!name) {
    fill(view, empty("No model of nodes is served."));
    return null;
  }
  open(view, name, arg, signal);
  return null;
}

async function open(view, name, node, signal) {
  fill(view, h("p", { class: "muted", "aria-busy": "true" }, "Fetching the map"));
  try {
    const model = await get(`/v1/models/${segment(name)}`, { signal });
    if (!model.has_fresh_table) {
      fill(
        view,
        empty(
          "The model has no fresh embedding table, and so no map. ",
          h("a", { href: "#/jobs" }, "Start a job"),
          " that embeds every node and publishes the table.",
        ),
      );
      return;
    }
    const about = await get(`/v1/models/${segment(name)}/map`, { signal });
    if (!about.num_points) {
      fill(view, empty("The graph has no nodes."));
      return;
    }
    const content = await get(`/v1/models/${segment(name)}/map/points`, { signal, as: "bytes" });
    if (!signal.aborted) new MapView(view, name, about, content, node, signal);
  } catch (error) {
    if (!signal.aborted) fill(view, failure(error));
  }
}

class MapView {
  constructor(root, name, about, content, node, signal) {
    Object.assign(this, { name, about, signal, hidden: new Set() });
    const n = about.num_points;
    this.codes = new Uint16Array(content, 8 * n, n);
    this.places = placesOf(about.classes, about.counts);
    // one byte for each point: its place in the palette, or its step of 256
    this.place =
      about.kind === "class"
        ? about.classes.map((c) => Math.min(this.places.get(String(c)), NAMED))
        : null;
    const bytes = new Uint8Array(n);
    for (let i = 0; i < n; i += 1) bytes[i] = Math.min(this.codes[i], 255);
    this.canvas = h("canvas", {
      tabindex: 0,
      role: "application",
      "aria-roledescription": "map",
      "aria-describedby": "map-keys",
      "aria-label": `Map of ${plural(n, "node")}${about.classes.length ? ` in ${plural(about.classes.length, "predicted class", "predicted classes")}` : ""}`,
    });
    this.tip = h("div", { class: "tip", hidden: true });
    this.marker = h("div", { class: "marker", hidden: true });
    this.note = h("p", { class: "map-note" });
    const tool = (label, sign, act) =>
      h("button", { type: "button", "aria-label": label, title: label, onclick: act }, sign);
    const frame = h(
      "div",
      { class: "map-frame" },
      this.canvas,
      this.marker,
      this.tip,
      this.note,
      h(
        "div",
        { class: "map-tools" },
        tool("Zoom in", "+", () => this.points.zoom(1.6)),
        tool("Zoom out", "−", () => this.points.zoom(1 / 1.6)),
        tool("Show all", "⤢", () => this.points.show(0, 0, 1)),
      ),
    );
    this.chosen = h(
      "div",
      { class: "stack", "aria-live": "polite" },
      h("p", { class: "muted" }, "Point at the map, or find a node by its id."),
    );
    fill(
      root,
      h(
        "div",
        { class: "map-layout" },
        frame,
        h(
          "div",
          { class: "stack" },
          panel("Node", { id: "map-node" }, this.finder(), this.chosen),
          this.legend(),
          h(
            "p",
            { class: "muted", id: "map-keys" },
            h(
              "small",
              {},
              "Drag to move, turn the wheel to zoom. With the keyboard: arrows, + and −, 0 shows all, Enter picks the point nearest to the middle.",
            ),
          ),
        ),
      ),
    );
    try {
      this.points = new Points(this.canvas, new Float32Array(content, 0, 2 * n), bytes, () =>
        this.moved(),
      );
    } catch (error) {
      fill(frame, failure(error));
      return;
    }
    this.paint();
    this.listen();
    if (node !== null) this.find(node);
  }

  /** The palette with what is hidden left out. */
  paint() {
    const colors = new Uint8Array(256 * 4);
    for (let i = 0; i < 256; i += 1) {
      const text =
        this.about.kind === "value"
          ? scale(i / 255)
          : color(this.place ? (this.place[i] ?? NAMED) : 0);
      colors.set([...rgb(text), this.hidden.has(i) ? 0 : 255], 4 * i);
    }
    this.points.setPalette(colors);
  }

  legend() {
    const { about } = this;
    if (about.kind === "none")
      return panel(
        "Colors",
        { id: "map-legend" },
        h("p", { class: "muted" }, "This model predicts nothing of nodes; all have one color."),
      );
    if (about.kind === "value") {
      this.drawRamp = () =>
        fill(
          ramp,
          Array.from({ length: 32 }, (_, i) => h("i", { style: { background: scale(i / 31) } })),
        );
      const ramp = h("div", { class: "ramp", "aria-hidden": "true" });
      this.drawRamp();
      return panel(
        "Predicted value",
        { id: "map-legend" },
        ramp,
        h(
          "p",
          { class: "row muted" },
          decimal(about.low, 3),
          h("span", { style: { "margin-left": "auto" } }, decimal(about.high, 3)),
        ),
      );
    }
    const order = about.classes
      .map((_, code) => code)
      .sort(
        (a, b) =>
          this.places.get(String(about.classes[a])) - this.places.get(String(about.classes[b])),
      );
    this.swatches = order.map((code) => h("i", { class: "swatch" }));
    const items = order.slice(0, 256).map((code, i) =>
      h(
        "li",
        {},
        h(
          "button",
          {
            type: "button",
            "aria-pressed": "true",
            onclick: (e) => this.toggle(code, e.currentTarget),
          },
          h("span", { class: "named" }, this.swatches[i], String(about.classes[code])),
          h(
            "small",
            { class: "muted nowrap" },
            `${count(about.counts[code])} · ${percent(about.counts[code] / about.num_points, 0)}`,
          ),
        ),
      ),
    );
    this.colorSwatches = () =>
      this.swatches.forEach((sw, i) =>
        sw.style.setProperty("background", color(this.place[order[i]])),
      );
    this.colorSwatches();
    return panel(
      "Predicted class",
      { id: "map-legend", extra: h("small", { class: "muted" }, "choose what is shown") },
      h("ul", { class: "classes" }, items),
    );
  }

  toggle(code, button) {
    const at = Math.min(code, 255);
    if (this.hidden.has(at)) this.hidden.delete(at);
    else this.hidden.add(at);
    button.setAttribute("aria-pressed", String(!this.hidden.has(at)));
    this.paint();
  }

  finder() {
    const input = h("input", {
      id: "map-find",
      autocomplete: "off",
      spellcheck: "false",
      placeholder: "Node id",
    });
    return h(
      "form",
      {
        class: "row",
        role: "search",
        "aria-label": "Find a node on the map",
        onsubmit: (event) => {
          event.preventDefault();
          if (input.value !== "") this.find(input.value);
        },
      },
      h("label", { for: "map-find", class: "unseen" }, "Node id"),
      h("span", { style: { flex: "1" } }, input),
      h("button", {}, "Find"),
    );
  }

  async find(id) {
    try {
      const {
        points: [found],
      } = await get(
        `/v1/models/${segment(this.name)}/map/nodes?${new URLSearchParams({ node: id })}`,
        { signal: this.signal },
      );
      this.choose(found);
      this.points.show(found.x, found.y, Math.max(this.points.view.scale, 4));
    } catch (error) {
      if (!this.signal.aborted) fill(this.chosen, failure(error));
    }
  }

  choose(found) {
    this.at = found;
    const label = found.label === null || found.label === undefined ? null : String(found.label);
    fill(
      this.chosen,
      h("p", { class: "answer" }, h("b", { class: "big" }, String(found.node))),
      label !== null &&
        h(
          "p",
          { class: "named" },
          h("i", { class: "swatch", style: { background: color(this.places.get(label) ?? 99) } }),
          "predicted ",
          label,
        ),
      h(
        "p",
        {},
        h("a", { class: "button", href: `#/nodes/${segment(found.node)}` }, "Open this node"),
      ),
    );
    announce(`Node ${found.node}${label === null ? "" : `, predicted ${label}`}`);
    this.moved();
  }

  moved() {
    const { at, marker, points } = this;
    this.note.textContent = `${plural(this.about.num_points, "point")}${this.about.num_nodes > this.about.num_points ? ` of ${plural(this.about.num_nodes, "node")}` : ""}`;
    marker.hidden = !at;
    if (!at || !points) return;
    const [x, y] = points.toScreen(at.x, at.y);
    marker.style.setProperty("left", `${x}px`);
    marker.style.setProperty("top", `${y}px`);
  }

  isShown = (point) => !this.hidden.has(Math.min(this.codes[point], 255));

  listen() {
    const { canvas, signal } = this,
      on = (name, act, options = {}) => canvas.addEventListener(name, act, { signal, ...options });
    const fingers = new Map();
    let moved = 0;
    on("pointerdown", (e) => {
      canvas.setPointerCapture(e.pointerId);
      fingers.set(e.pointerId, [e.offsetX, e.offsetY]);
      moved = 0;
    });
    on("pointermove", (e) => {
      const before = fingers.get(e.pointerId);
      if (!before) {
        this.hover(e.offsetX, e.offsetY);
        return;
      }
      const others = [...fingers].filter(([id]) => id !== e.pointerId).map(([, at]) => at);
      const here = [e.offsetX, e.offsetY];
      moved += Math.hypot(here[0] - before[0], here[1] - before[1]);
      if (others.length) {
        const [o] = others,
          apart = (p) => Math.hypot(p[0] - o[0], p[1] - o[1]);
        this.points.zoom(
          apart(here) / Math.max(apart(before), 1),
          (here[0] + o[0]) / 2,
          (here[1] + o[1]) / 2,
        );
      } else this.points.pan(here[0] - before[0], here[1] - before[1]);
      fingers.set(e.pointerId, here);
      this.tip.hidden = true;
    });
    on("pointerup", (e) => {
      fingers.delete(e.pointerId);
      if (moved < 5) this.pick(e.offsetX, e.offsetY, REACH);
    });
    on("pointercancel", (e) => fingers.delete(e.pointerId));
    on("pointerleave", () => {
      this.tip.hidden = true;
      clearTimeout(this.asking);
    });
    on(
      "wheel",
      (e) => {
        e.preventDefault();
        this.tip.hidden = true;
        this.points.zoom(Math.exp(-e.deltaY * (e.deltaMode ? 0.05 : 0.0016)), e.offsetX, e.offsetY);
      },
      { passive: false },
    );
    on("keydown", (e) => this.key(e));
    const resize = new ResizeObserver(() => this.points.draw(true));
    resize.observe(canvas);
    signal.addEventListener("abort", () => resize.disconnect());
    addEventListener(
      "themechange",
      () => {
        this.paint();
        this.colorSwatches?.();
        this.drawRamp?.();
      },
      { signal },
    );
  }

  key(event) {
    const { points, canvas } = this;
    const moves = {
      ArrowLeft: [STEP, 0],
      ArrowRight: [-STEP, 0],
      ArrowUp: [0, STEP],
      ArrowDown: [0, -STEP],
    };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in moves) points.pan(...moves[event.key]);
    else if (event.key === "+" || event.key === "=") points.zoom(1.4);
    else if (event.key === "-") points.zoom(1 / 1.4);
    else if (event.key === "0") points.show(0, 0, 1);
    else if (event.key === "Enter")
      this.pick(canvas.clientWidth / 2, canvas.clientHeight / 2, canvas.clientWidth);
    else return;
    event.preventDefault();
  }

  async who(point) {
    const {
      points: [found],
    } = await get(`/v1/models/${segment(this.name)}/map/nodes?point=${point}`, {
      signal: this.signal,
    });
    return found;
  }

  async pick(x, y, within) {
    const point = this.points.pick(x, y, within, this.isShown);
    if (point < 0) return;
    try {
      this.choose(await this.who(point));
    } catch (error) {
      if (!this.signal.aborted) fill(this.chosen, failure(error));
    }
  }

  hover(x, y) {
    clearTimeout(this.asking);
    const point = this.points.pick(x, y, REACH, this.isShown);
    this.canvas.style.setProperty("cursor", point < 0 ? "" : "pointer");
    if (point < 0) {
      this.tip.hidden = true;
      return;
    }
    this.asking = setTimeout(async () => {
      const found = await this.who(point).catch(() => null);
      if (!found) return;
      const [px, py] = this.points.toScreen(found.x, found.y);
      this.tip.textContent =
        found.label === null || found.label === undefined
          ? String(found.node)
          : `${found.node}: ${found.label}`;
      this.tip.hidden = false;
      const room = this.canvas.clientWidth - this.tip.offsetWidth - 8;
      this.tip.style.setProperty("left", `${Math.max(8, Math.min(px + 14, room))}px`);
      this.tip.style.setProperty("top", `${Math.max(8, py - 30)}px`);
    }, ASK_AFTER_MS);
  }
}
