// One node: what is predicted for it and from which edges, what is near it, and what if.

import { get, post, segment } from "/page/api.js";
import { add, announce, empty, facts, failure, fill, h, panel, s, table } from "/page/dom.js";
import { drawEgo } from "/page/ego.js";
import { count, decimal, percent, plural } from "/page/format.js";
import { idOf } from "/page/json.js";
import { color, placesOf, scale } from "/page/palette.js";

const WITH_LABELS = ["node-classification", "node-regression"];
const MOST_BARS = 8, LISTED = 160, NEAR = 10;

export function show(root, { arg, known, signal }) {
  const view = new NodesView(root, known, signal);
  view.open(arg);
  return (next) => view.open(next);
}

class NodesView {
  constructor(root, known, signal) {
    this.known = known;
    this.signal = signal;
    this.choice = { model: this.firstModel(), mode: "auto", edges: "sampled", seed: 0 };
    this.body = h("div", { class: "stack" });
    add(root, h("div", { class: "view-head" }, h("h1", {}, "Nodes"), h("p", {}, "What the model says of a node, and why")),
      this.form(), this.body);
    this.pairs(root);
    addEventListener("themechange", () => this.recolor?.(), { signal });
  }

  firstModel() {
    const { models } = this.known;
    const answers = models.filter((m) => WITH_LABELS.includes(m.task));
    return (answers.find((m) => m.is_default) ?? answers[0] ?? models.find((m) => m.is_default) ?? models[0])?.name;
  }

  form() {
    const models = this.known.models.filter((m) => !m.task?.startsWith("graph-"));
    this.input = h("input", { id: "node-id", name: "node", autocomplete: "off", spellcheck: "false", placeholder: this.known.graph.id_type === "int" ? "A number, as in 42" : "An id, as it was ingested" });
    const model = h("select", { id: "node-model", onchange: (e) => { this.choice.model = e.target.value; this.reload(); } },
      models.map((m) => h("option", { value: m.name, selected: m.name === this.choice.model }, `${m.name} (${m.task ?? "not open"})`)));
    const mode = h("select", { id: "node-mode", onchange: (e) => { this.choice.mode = e.target.value; this.reload(); } },
      [["auto", "cheapest that is fresh"], ["exact", "all neighbors"], ["sampled", "sampled neighbors"], ["table", "embedding table"]].map(([v, t]) => h("option", { value: v }, t)));
    return h("form", { class: "bar-form", role: "search", "aria-label": "Find a node", onsubmit: (event) => {
      event.preventDefault();
      const text = this.input.value;
      if (text === "") return;
      const next = `#/nodes/${segment(text)}`;
      if (location.hash === next) this.open(text); else location.hash = next;
    } },
    h("div", { class: "field wide" }, h("label", { for: "node-id" }, "Node id"), this.input),
    h("div", { class: "field" }, h("label", { for: "node-model" }, "Model"), model),
    h("div", { class: "field" }, h("label", { for: "node-mode" }, "Answered from"), mode),
    h("button", { class: "primary" }, "Show"));
  }

  reload() { if (this.text !== null) this.open(this.text); }

  async open(text) {
    this.text = text;
    this.recolor = null;
    if (text === null) {
      fill(this.body, empty("Give a node id to see its prediction, the edges that it was made from and the nodes most like it. Or pick a point on the ", h("a", { href: "#/map" }, "map"), "."));
      this.input.focus();
      return;
    }
    this.input.value = text;
    const turn = this.turn = Symbol(text), stale = () => this.turn !== turn || this.signal.aborted;
    fill(this.body, h("p", { class: "muted", "aria-busy": "true" }, "Asking"));
    try {
      const id = idOf(text, this.known.graph.id_type), model = this.known.models.find((m) => m.name === this.choice.model);
      const answer = await this.ask(id, model);
      if (stale()) return;
      if (answer?.status === "unknown") {
        fill(this.body, empty("There is no node ", h("b", {}, text), " in this graph. Ids are as they were ingested, letter for letter."));
        announce(`There is no node ${text}`);
        return;
      }
      const [node, detail] = await Promise.all([get(`/v1/graph/nodes/${segment(text)}`), get(`/v1/models/${segment(model.name)}`)]);
      if (stale()) return;
      this.draw({ id, text, model, detail, answer, node }, stale);
      announce(answer ? `Node ${text}: ${said(answer)}` : `Node ${text} is shown`);
    } catch (error) {
      if (!stale()) fill(this.body, failure(error));
    }
  }

  /** The prediction, where the model gives one; an unknown id is told by its status. */
  async ask(id, model) {
    const { mode, seed } = this.choice;
    const include = WITH_LABELS.includes(model.task) ? ["label", "probabilities"] : [];
    const answer = await post("/v1/nodes/predict", { nodes: [id], model: model.name, mode, seed, include, on_unknown: "report" });
    return answer.predictions[0];
  }

  draw(subject, stale) {
    const { detail, answer, node, text } = subject;
    const places = placesOf(detail.classes ?? []);
    const prediction = panel("Prediction", { id: "prediction" }, this.prediction(answer, node, places));
    const about = panel("Node", { id: "about" }, aboutNode(node));
    const drawing = h("div", { class: "stack" }), similar = h("div", { class: "stack" });
    fill(this.body, h("div", { class: "grid" },
      h("div", { class: "stack m6 l3" }, prediction, about),
      panel("Neighborhood", { id: "neighborhood", class: "m6 l6", extra: this.edgeChoice(() => this.neighborhood(drawing, subject, places, stale)) }, drawing),
      panel("Nearest nodes", { id: "similar", class: "m6 l3", extra: h("small", { class: "muted" }, "by cosine of embeddings") }, similar)));
    this.neighborhood(drawing, subject, places, stale);
    this.nearest(similar, subject, places, stale);
    document.title = `${text} · ${this.known.graph.name}`;
    this.recolor = () => this.reload();
  }

  prediction(answer, node, places) {
    if (answer.label === undefined && answer.labels === undefined && answer.value === undefined) {
      return empty("This model gives embeddings and no labels. What is near the node is beside it.");
    }
    const head = h("div", { class: "answer" }, h("p", { class: "big" }, named(answer, places)),
      h("p", { class: "row" }, answer.score !== undefined && h("span", { class: "chip accent" }, percent(answer.score)),
        h("span", { class: "chip" }, { table: "from the table", cache: "from the cache", computed: "computed now" }[answer.source]),
        h("span", { class: "chip" }, answer.mode === "sampled" ? "sampled neighbors" : "all neighbors")));
    const truth = node.label ?? node.labels;
    return [head, truth !== null && truth !== undefined && h("p", { class: "muted" }, "Labeled ", h("b", {}, String(truth)), " in the graph", matches(answer, truth)),
      bars(answer.probabilities, places)];
  }

  edgeChoice(draw) {
    const seed = h("input", { type: "number", min: 0, value: String(this.choice.seed), "aria-label": "Seed of the draw", style: { width: "84px", "min-height": "30px" }, onchange: (e) => { this.choice.seed = Math.max(0, Number.parseInt(e.target.value, 10) || 0); draw(); } });
    const buttons = [["sampled", "Sampled"], ["exact", "All"]].map(([value, label]) => h("button", { type: "button", "aria-pressed": String(this.choice.edges === value), onclick: (e) => {
      this.choice.edges = value;
      for (const b of e.target.parentNode.children) b.setAttribute("aria-pressed", String(b === e.target));
      draw();
    } }, label));
    return h("div", { class: "row" }, h("div", { class: "segmented", role: "group", "aria-label": "Edges" }, buttons), h("span", { class: "row nowrap" }, h("small", { class: "muted", "aria-hidden": "true" }, "seed"), seed));
  }

  async neighborhood(node, subject, places, stale) {
    const { text, model } = subject, { edges, seed } = this.choice;
    const turn = this.edgeTurn = Symbol(text), late = () => stale() || this.edgeTurn !== turn;
    try {
      const query = new URLSearchParams({ model: model.name, mode: edges, seed, limit: LISTED });
      const found = await get(`/v1/graph/nodes/${segment(text)}/neighborhood?${query}`);
      if (late()) return;
      const state = { found, labels: new Map(), places, edits: { removed: new Set(), added: new Set() } };
      this.edges(node, subject, state);
      if (WITH_LABELS[0] !== model.task) return;
      const answer = await post("/v1/nodes/predict", { nodes: found.nodes.map((n) => n.node), model: model.name, mode: "auto", include: ["label"], on_unknown: "report" });
      if (late()) return;
      for (const p of answer.predictions) state.labels.set(String(p.node), p.label ?? p.labels?.join(", ") ?? "none");
      state.redraw();
      state.relist();
    } catch (error) {
      if (!late()) fill(node, failure(error));
    }
  }

  edges(node, subject, state) {
    const { found } = state;
    const svg = s("svg", { class: "ego", role: "img", viewBox: "0 0 640 640" });
    const list = h("div", {}), legend = h("ul", { class: "legend", "aria-label": "Predicted classes" });
    const onpick = (id) => { location.hash = `#/nodes/${segment(id)}`; };
    state.redraw = () => {
      drawEgo(svg, found, { ...state, onpick });
      const present = [...new Set([...state.labels.values()].map(String))].sort((a, b) => (state.places.get(a) ?? 99) - (state.places.get(b) ?? 99));
      fill(legend, present.slice(0, 12).map((label) => h("li", { class: "named" }, swatch(label, state.places, true), label)));
    };
    state.relist = () => fill(list, edgeTable(state));
    state.redraw();
    state.relist();
    const drawn = found.mode === "sampled" ? `fanouts ${found.fanouts.map((k) => (k < 0 ? "all" : k)).join(", ")}` : "all neighbors";
    const rest = found.num_edges > found.edges.length ? `the nearest ${count(found.edges.length)} of ${plural(found.num_edges, "edge")} read` : `${plural(found.num_edges, "edge")} read`;
    fill(node, found.edges.length ? svg : empty("No edge points to this node: the model reads its features alone."), legend,
      h("p", { class: "muted" }, `${found.fanouts.length} hops, ${drawn}: ${rest}.`),
      h("details", {}, h("summary", {}, "The same as a list"), list),
      this.whatIf(subject, state));
  }

  whatIf(subject, state) {
    const { id, model } = subject, out = h("div", { "aria-live": "polite" });
    const source = h("input", { id: "add-edge", autocomplete: "off", spellcheck: "false", placeholder: "Node id" });
    const chips = h("p", { class: "row" });
    const near = [...new Set(state.found.edges.filter((e) => String(e.target) === String(id)).map((e) => e.source))];
    const boxes = near.slice(0, 40).map((from) => h("label", { class: "check" }, h("input", { type: "checkbox", checked: true, onchange: (e) => {
      if (e.target.checked) state.edits.removed.delete(String(from)); else state.edits.removed.add(String(from));
      state.redraw();
    } }), String(from)));
    const ask = async () => {
      const { removed, added } = state.edits;
      const kept = near.filter((from) => removed.has(String(from)));
      if (!kept.length && !added.size) { fill(out, h("p", { class: "muted" }, "Take an edge away or add one first.")); return; }
      try {
        const body = { nodes: [id], model: model.name, mode: "exact", include: ["label", "probabilities"] };
        const overlay = { add_edges: [...added.values()].map((from) => [idOf(from, this.known.graph.id_type), id]), remove_edges: kept.map((from) => [from, id]) };
        const [before, after] = await Promise.all([post("/v1/nodes/predict", body), post("/v1/nodes/predict", { ...body, overlay })]);
        const cell = (title, p) => h("div", {}, h("h3", {}, title), h("p", { class: "named" }, named(p, state.places)), p.score !== undefined && h("p", { class: "muted" }, percent(p.score)));
        fill(out, h("div", { class: "delta" }, cell("As it is", before.predictions[0]), h("span", { "aria-hidden": "true", class: "muted" }, "→"), cell("With these edges", after.predictions[0])));
      } catch (error) {
        fill(out, failure(error));
      }
    };
    const add = () => {
      const text = source.value.trim();
      if (text === "") return;
      state.edits.added.add(text);
      source.value = "";
      chips.append(h("span", { class: "chip good" }, `from ${text}`));
      state.redraw();
    };
    if (!WITH_LABELS.includes(model.task)) return null;
    return h("details", { id: "what-if" }, h("summary", {}, "What if its edges were others?"),
      h("div", { class: "stack" },
        boxes.length > 0 && h("fieldset", {}, h("legend", {}, "Edges from"), h("div", { class: "row" }, boxes)),
        h("form", { class: "bar-form", onsubmit: (e) => { e.preventDefault(); add(); } }, h("div", { class: "field" }, h("label", { for: "add-edge" }, "Add an edge from"), source), h("button", {}, "Add")),
        chips, h("p", {}, h("button", { type: "button", class: "primary", onclick: ask }, "Predict with these edges")), out));
  }

  async nearest(node, { id, model, detail }, places, stale) {
    if (!detail.has_fresh_table) {
      fill(node, empty("The model has no fresh embedding table. ", h("a", { href: "#/jobs" }, "Start a job"), " that embeds every node and publishes the table."));
      return;
    }
    fill(node, h("p", { class: "muted", "aria-busy": "true" }, "Searching"));
    try {
      const found = await post("/v1/nodes/similar", { node: id, k: NEAR, model: model.name });
      const ids = found.neighbors.map((n) => n.node), labels = new Map();
      if (WITH_LABELS[0] === model.task && ids.length) {
        const answer = await post("/v1/nodes/predict", { nodes: ids, model: model.name, include: ["label"] });
        for (const p of answer.predictions) labels.set(String(p.node), p.label ?? p.labels?.join(", "));
      }
      if (stale()) return;
      fill(node, table("Nearest nodes", [["Node"], ["Predicted"], ["Cosine", "number"]], found.neighbors.map((n) => [
        link(n.node), tag(labels.get(String(n.node)), places), decimal(n.score)])));
    } catch (error) {
      if (!stale()) fill(node, failure(error));
    }
  }

  pairs(root) {
    const models = this.known.models.filter((m) => m.task === "link-prediction");
    if (!models.length) return;
    const field = (name, title) => h("div", { class: "field" }, h("label", { for: name }, title), h("input", { id: name, required: true, autocomplete: "off", spellcheck: "false" }));
    const model = h("select", { id: "pair-model" }, models.map((m) => h("option", { value: m.name }, m.name)));
    const out = h("div", { "aria-live": "polite" }), kind = this.known.graph.id_type;
    const form = h("form", { class: "bar-form", onsubmit: async (event) => {
      event.preventDefault();
      const [a, b] = ["pair-from", "pair-to"].map((name) => idOf(form.querySelector(`#${name}`).value, kind));
      try {
        const { scores: [found] } = await post("/v1/links/predict", { pairs: [[a, b]], model: model.value });
        fill(out, h("p", {}, h("span", { class: "big" }, percent(found.score)), " ", h("span", { class: "muted" }, `logit ${decimal(found.logit, 3)}`)));
      } catch (error) {
        fill(out, failure(error));
      }
    } }, field("pair-from", "From"), field("pair-to", "To"), h("div", { class: "field" }, h("label", { for: "pair-model" }, "Model"), model), h("button", {}, "Score"));
    add(root, panel("How likely is an edge?", { id: "pair" }, form, out));
  }
}

export const link = (id) => h("a", { href: `#/nodes/${segment(id)}` }, String(id));
const swatch = (label, places, round) => h("i", { class: `swatch${round ? " round" : ""}`, style: { background: color(places.get(String(label)) ?? 99) } });
const tag = (label, places) => (label === undefined ? "–" : h("span", { class: "named" }, swatch(label, places), String(label)));
const said = (a) => (a.label !== undefined ? `predicted ${a.label}` : a.value !== undefined ? `predicted ${a.value}` : a.labels !== undefined ? `predicted ${a.labels.join(", ") || "no label"}` : "shown");

function named(answer, places) {
  if (answer.value !== undefined) return String(Array.isArray(answer.value) ? answer.value.map((v) => decimal(v)).join(", ") : decimal(answer.value));
  if (answer.labels !== undefined) return answer.labels.join(", ") || "no label";
  return h("span", { class: "named" }, swatch(answer.label, places), String(answer.label));
}

function matches(answer, truth) {
  if (answer.label === undefined) return ".";
  return String(answer.label) === String(truth) ? ", as predicted." : [", ", h("b", { class: "error" }, "which differs"), "."];
}

function bars(probabilities, places) {
  if (!probabilities) return null;
  const sorted = Object.entries(probabilities).sort((a, b) => b[1] - a[1]), rest = sorted.slice(MOST_BARS);
  const rows = sorted.slice(0, MOST_BARS);
  if (rest.length) rows.push([plural(rest.length, "other class", "other classes"), rest.reduce((sum, [, p]) => sum + p, 0)]);
  return h("div", { class: "bars", role: "list", "aria-label": "Probabilities" }, rows.map(([label, p]) => h("div", { role: "listitem" },
    h("span", {}, label), h("span", { class: "meter", "aria-hidden": "true" }, h("i", { style: { width: `${Math.max(p * 100, 0.5)}%`, background: color(places.get(label) ?? 99) } })), h("span", { class: "number" }, percent(p)))));
}

function aboutNode(node) {
  const features = node.features ?? [];
  const low = features.length ? features.reduce((a, b) => Math.min(a, b)) : 0, high = features.length ? features.reduce((a, b) => Math.max(a, b)) : 0;
  return [facts([["Id", h("code", {}, String(node.node))], ["Type", node.type], ["In-degree", count(node.degree)],
    features.length > 0 && ["Features", `${count(features.length)}, from ${decimal(low, 2)} to ${decimal(high, 2)}`]]),
  features.length > 0 && heat(features, low, high)];
}

function heat(features, low, high) {
  const shown = features.slice(0, 512), canvas = h("canvas", { class: "heat", width: shown.length, height: 1, role: "img", "aria-label": `Values of ${shown.length} features` });
  const pen = canvas.getContext("2d");
  shown.forEach((v, i) => { pen.fillStyle = scale(high > low ? (v - low) / (high - low) : 0); pen.fillRect(i, 0, 1, 1); });
  return canvas;
}

function edgeTable({ found, labels, places }) {
  const typed = found.edges.some((e) => e.edge_type);
  const columns = [["From"], ["To"], ["Layer", "number"], ["From is predicted"], ...(typed ? [["Type"]] : [])];
  return table("Edges that the prediction reads", columns, found.edges.map((e) => [link(e.source), String(e.target), e.layer, tag(labels.get(String(e.source)), places), ...(typed ? [e.edge_type] : [])]), { id: "edge-list", class: "scroll tall" });
}
