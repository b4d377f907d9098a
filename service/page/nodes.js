// One node: what is predicted for it and from which edges, what is near it, and what if.

import { get, post, segment } from "/page/api.js";
import { aboutNode, link, predicted, said, tag } from "/page/answer.js";
import { add, announce, empty, failure, fill, h, panel, table } from "/page/dom.js";
import { Edges } from "/page/edges.js";
import { decimal } from "/page/format.js";
import { idOf } from "/page/json.js";
import { pairForm } from "/page/pair.js";
import { placesOf } from "/page/palette.js";

const WITH_LABELS = ["node-classification", "node-regression"];
const NEAR = 10;

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
    this.edges = new Edges(known, this.choice);
    this.body = h("div", { class: "stack" });
    add(
      root,
      h(
        "div",
        { class: "view-head" },
        h("h1", {}, "Nodes"),
        h("p", {}, "What the model says of a node, and why"),
      ),
      this.form(),
      this.body,
    );
    add(root, pairForm(known));
    addEventListener("themechange", () => this.recolor?.(), { signal });
  }

  firstModel() {
    const { models } = this.known;
    const answers = models.filter((m) => WITH_LABELS.includes(m.task));
    return (
      answers.find((m) => m.is_default) ??
      answers[0] ??
      models.find((m) => m.is_default) ??
      models[0]
    )?.name;
  }

  form() {
    const models = this.known.models.filter((m) => !m.task?.startsWith("graph-"));
    this.input = h("input", {
      id: "node-id",
      name: "node",
      autocomplete: "off",
      spellcheck: "false",
      placeholder:
        this.known.graph.id_type === "int" ? "A number, as in 42" : "An id, as it was ingested",
    });
    const model = h(
      "select",
      {
        id: "node-model",
        onchange: (e) => {
          this.choice.model = e.target.value;
          this.reload();
        },
      },
      models.map((m) =>
        h(
          "option",
          { value: m.name, selected: m.name === this.choice.model },
          `${m.name} (${m.task ?? "not open"})`,
        ),
      ),
    );
    const mode = h(
      "select",
      {
        id: "node-mode",
        onchange: (e) => {
          this.choice.mode = e.target.value;
          this.reload();
        },
      },
      [
        ["auto", "cheapest that is fresh"],
        ["exact", "all neighbors"],
        ["sampled", "sampled neighbors"],
        ["table", "embedding table"],
      ].map(([v, t]) => h("option", { value: v }, t)),
    );
    return h(
      "form",
      {
        class: "bar-form",
        role: "search",
        "aria-label": "Find a node",
        onsubmit: (event) => {
          event.preventDefault();
          const text = this.input.value;
          if (text === "") return;
          const next = `#/nodes/${segment(text)}`;
          if (location.hash === next) this.open(text);
          else location.hash = next;
        },
      },
      h("div", { class: "field wide" }, h("label", { for: "node-id" }, "Node id"), this.input),
      h("div", { class: "field" }, h("label", { for: "node-model" }, "Model"), model),
      h("div", { class: "field" }, h("label", { for: "node-mode" }, "Answered from"), mode),
      h("button", { class: "primary" }, "Show"),
    );
  }

  reload() {
    if (this.text !== null) this.open(this.text);
  }

  async open(text) {
    this.text = text;
    this.recolor = null;
    if (text === null) {
      fill(
        this.body,
        empty(
          "Give a node id to see its prediction, the edges that it was made from and the nodes most like it. Or pick a point on the ",
          h("a", { href: "#/map" }, "map"),
          ".",
        ),
      );
      this.input.focus();
      return;
    }
    this.input.value = text;
    const turn = (this.turn = Symbol(text)),
      stale = () => this.turn !== turn || this.signal.aborted;
    fill(this.body, h("p", { class: "muted", "aria-busy": "true" }, "Asking"));
    try {
      const id = idOf(text, this.known.graph.id_type),
        model = this.known.models.find((m) => m.name === this.choice.model);
      const answer = await this.ask(id, model);
      if (stale()) return;
      if (answer?.status === "unknown") {
        fill(
          this.body,
          empty(
            "There is no node ",
            h("b", {}, text),
            " in this graph. Ids are as they were ingested, letter for letter.",
          ),
        );
        announce(`There is no node ${text}`);
        return;
      }
      const [node, detail] = await Promise.all([
        get(`/v1/graph/nodes/${segment(text)}`),
        get(`/v1/models/${segment(model.name)}`),
      ]);
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
    const answer = await post("/v1/nodes/predict", {
      nodes: [id],
      model: model.name,
      mode,
      seed,
      include,
      on_unknown: "report",
    });
    return answer.predictions[0];
  }

  draw(subject, stale) {
    const { detail, answer, node, text } = subject;
    const places = placesOf(detail.classes ?? []);
    const prediction = panel("Prediction", { id: "prediction" }, predicted(answer, node, places));
    const about = panel("Node", { id: "about" }, aboutNode(node));
    const drawing = h("div", { class: "stack" }),
      similar = h("div", { class: "stack" });
    fill(
      this.body,
      h(
        "div",
        { class: "grid" },
        h("div", { class: "stack m6 l3" }, prediction, about),
        panel(
          "Neighborhood",
          {
            id: "neighborhood",
            class: "m6 l6",
            extra: this.edges.controls(() => this.edges.show(drawing, subject, places, stale)),
          },
          drawing,
        ),
        panel(
          "Nearest nodes",
          {
            id: "similar",
            class: "m6 l3",
            extra: h("small", { class: "muted" }, "by cosine of embeddings"),
          },
          similar,
        ),
      ),
    );
    this.edges.show(drawing, subject, places, stale);
    this.nearest(similar, subject, places, stale);
    document.title = `${text} · ${this.known.graph.name}`;
    this.recolor = () => this.reload();
  }

  async nearest(node, { id, model, detail }, places, stale) {
    if (!detail.has_fresh_table) {
      fill(
        node,
        empty(
          "The model has no fresh embedding table. ",
          h("a", { href: "#/jobs" }, "Start a job"),
          " that embeds every node and publishes the table.",
        ),
      );
      return;
    }
    fill(node, h("p", { class: "muted", "aria-busy": "true" }, "Searching"));
    try {
      const found = await post("/v1/nodes/similar", { node: id, k: NEAR, model: model.name });
      const ids = found.neighbors.map((n) => n.node),
        labels = new Map();
      if (WITH_LABELS[0] === model.task && ids.length) {
        const answer = await post("/v1/nodes/predict", {
          nodes: ids,
          model: model.name,
          include: ["label"],
        });
        for (const p of answer.predictions)
          labels.set(String(p.node), p.label ?? p.labels?.join(", "));
      }
      if (stale()) return;
      fill(
        node,
        table(
          "Nearest nodes",
          [["Node"], ["Predicted"], ["Cosine", "number"]],
          found.neighbors.map((n) => [
            link(n.node),
            tag(labels.get(String(n.node)), places),
            decimal(n.score),
          ]),
        ),
      );
    } catch (error) {
      if (!stale()) fill(node, failure(error));
    }
  }
}
