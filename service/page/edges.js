// The edges behind a prediction, as a drawing and as a list, and what would be predicted had the
// node others.

import { get, post, segment } from "/page/api.js";
import { link, named, swatch, tag } from "/page/answer.js";
import { empty, failure, fill, h, s, table } from "/page/dom.js";
import { drawEgo } from "/page/ego.js";
import { count, percent, plural } from "/page/format.js";
import { idOf } from "/page/json.js";

const LABELED = "node-classification",
  ANSWERED = [LABELED, "node-regression"],
  LISTED = 160;

export class Edges {
  constructor(known, choice) {
    this.known = known;
    this.choice = choice;
  }

  controls(draw) {
    const seed = h("input", {
      type: "number",
      min: 0,
      value: String(this.choice.seed),
      "aria-label": "Seed of the draw",
      style: { width: "84px", "min-height": "30px" },
      onchange: (e) => {
        this.choice.seed = Math.max(0, Number.parseInt(e.target.value, 10) || 0);
        draw();
      },
    });
    const buttons = [
      ["sampled", "Sampled"],
      ["exact", "All"],
    ].map(([value, label]) =>
      h(
        "button",
        {
          type: "button",
          "aria-pressed": String(this.choice.edges === value),
          onclick: (e) => {
            this.choice.edges = value;
            for (const b of e.target.parentNode.children)
              b.setAttribute("aria-pressed", String(b === e.target));
            draw();
          },
        },
        label,
      ),
    );
    return h(
      "div",
      { class: "row" },
      h("div", { class: "segmented", role: "group", "aria-label": "Edges" }, buttons),
      h(
        "span",
        { class: "row nowrap" },
        h("small", { class: "muted", "aria-hidden": "true" }, "seed"),
        seed,
      ),
    );
  }

  async show(node, subject, places, stale) {
    const { text, model } = subject,
      { edges, seed } = this.choice;
    const turn = (this.turn = Symbol(text)),
      late = () => stale() || this.turn !== turn;
    try {
      const query = new URLSearchParams({ model: model.name, mode: edges, seed, limit: LISTED });
      const found = await get(`/v1/graph/nodes/${segment(text)}/neighborhood?${query}`);
      if (late()) return;
      const state = {
        found,
        labels: new Map(),
        places,
        edits: { removed: new Set(), added: new Set() },
      };
      this.draw(node, subject, state);
      if (LABELED !== model.task) return;
      const answer = await post("/v1/nodes/predict", {
        nodes: found.nodes.map((n) => n.node),
        model: model.name,
        mode: "auto",
        include: ["label"],
        on_unknown: "report",
      });
      if (late()) return;
      for (const p of answer.predictions)
        state.labels.set(String(p.node), p.label ?? p.labels?.join(", ") ?? "none");
      state.redraw();
      state.relist();
    } catch (error) {
      if (!late()) fill(node, failure(error));
    }
  }

  draw(node, subject, state) {
    const { found } = state;
    const svg = s("svg", { class: "ego", role: "img", viewBox: "0 0 640 640" });
    const list = h("div", {}),
      legend = h("ul", { class: "legend", "aria-label": "Predicted classes" });
    const onpick = (id) => {
      location.hash = `#/nodes/${segment(id)}`;
    };
    state.redraw = () => {
      drawEgo(svg, found, { ...state, onpick });
      const present = [...new Set([...state.labels.values()].map(String))].sort(
        (a, b) => (state.places.get(a) ?? 99) - (state.places.get(b) ?? 99),
      );
      fill(
        legend,
        present
          .slice(0, 12)
          .map((label) => h("li", { class: "named" }, swatch(label, state.places, true), label)),
      );
    };
    state.relist = () => fill(list, edgeTable(state));
    state.redraw();
    state.relist();
    const drawn =
      found.mode === "sampled"
        ? `fanouts ${found.fanouts.map((k) => (k < 0 ? "all" : k)).join(", ")}`
        : "all neighbors";
    const rest =
      found.num_edges > found.edges.length
        ? `the nearest ${count(found.edges.length)} of ${plural(found.num_edges, "edge")} read`
        : `${plural(found.num_edges, "edge")} read`;
    fill(
      node,
      found.edges.length
        ? svg
        : empty("No edge points to this node: the model reads its features alone."),
      legend,
      h("p", { class: "muted" }, `${found.fanouts.length} hops, ${drawn}: ${rest}.`),
      h("details", {}, h("summary", {}, "The same as a list"), list),
      this.whatIf(subject, state),
    );
  }

  whatIf(subject, state) {
    const { id, model } = subject,
      out = h("div", { "aria-live": "polite" });
    const source = h("input", {
      id: "add-edge",
      autocomplete: "off",
      spellcheck: "false",
      placeholder: "Node id",
    });
    const chips = h("p", { class: "row" });
    const near = [
      ...new Set(
        state.found.edges.filter((e) => String(e.target) === String(id)).map((e) => e.source),
      ),
    ];
    const boxes = near.slice(0, 40).map((from) =>
      h(
        "label",
        { class: "check" },
        h("input", {
          type: "checkbox",
          checked: true,
          onchange: (e) => {
            if (e.target.checked) state.edits.removed.delete(String(from));
            else state.edits.removed.add(String(from));
            state.redraw();
          },
        }),
        String(from),
      ),
    );
    const ask = async () => {
      const { removed, added } = state.edits;
      const kept = near.filter((from) => removed.has(String(from)));
      if (!kept.length && !added.size) {
        fill(out, h("p", { class: "muted" }, "Take an edge away or add one first."));
        return;
      }
      try {
        const body = {
          nodes: [id],
          model: model.name,
          mode: "exact",
          include: ["label", "probabilities"],
        };
        const overlay = {
          add_edges: [...added.values()].map((from) => [idOf(from, this.known.graph.id_type), id]),
          remove_edges: kept.map((from) => [from, id]),
        };
        const [before, after] = await Promise.all([
          post("/v1/nodes/predict", body),
          post("/v1/nodes/predict", { ...body, overlay }),
        ]);
        const cell = (title, p) =>
          h(
            "div",
            {},
            h("h3", {}, title),
            h("p", { class: "named" }, named(p, state.places)),
            p.score !== undefined && h("p", { class: "muted" }, percent(p.score)),
          );
        fill(
          out,
          h(
            "div",
            { class: "delta" },
            cell("As it is", before.predictions[0]),
            h("span", { "aria-hidden": "true", class: "muted" }, "→"),
            cell("With these edges", after.predictions[0]),
          ),
        );
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
    if (!ANSWERED.includes(model.task)) return null;
    return h(
      "details",
      { id: "what-if" },
      h("summary", {}, "What if its edges were others?"),
      h(
        "div",
        { class: "stack" },
        boxes.length > 0 &&
          h("fieldset", {}, h("legend", {}, "Edges from"), h("div", { class: "row" }, boxes)),
        h(
          "form",
          {
            class: "bar-form",
            onsubmit: (e) => {
              e.preventDefault();
              add();
            },
          },
          h("div", { class: "field" }, h("label", { for: "add-edge" }, "Add an edge from"), source),
          h("button", {}, "Add"),
        ),
        chips,
        h(
          "p",
          {},
          h(
            "button",
            { type: "button", class: "primary", onclick: ask },
            "Predict with these edges",
          ),
        ),
        out,
      ),
    );
  }
}

function edgeTable({ found, labels, places }) {
  const typed = found.edges.some((e) => e.edge_type);
  const columns = [
    ["From"],
    ["To"],
    ["Layer", "number"],
    ["From is predicted"],
    ...(typed ? [["Type"]] : []),
  ];
  return table(
    "Edges that the prediction reads",
    columns,
    found.edges.map((e) => [
      link(e.source),
      String(e.target),
      e.layer,
      tag(labels.get(String(e.source)), places),
      ...(typed ? [e.edge_type] : []),
    ]),
    { id: "edge-list", class: "scroll tall" },
  );
}
