// The models that answer: versions, quality, architecture, and the card.

import { get, segment } from "/page/api.js";
import { add, empty, facts, failure, fill, h, panel, table } from "/page/dom.js";
import { decimal, percent } from "/page/format.js";
import { markdown } from "/page/markdown.js";

export function show(root, { arg, known, signal }) {
  const cards = h("nav", { class: "cards", "aria-label": "Models" }),
    detail = h("div", { class: "stack" });
  add(
    root,
    h(
      "div",
      { class: "view-head" },
      h("h1", {}, "Models"),
      h("p", {}, "What answers, in which version, and how good it is"),
    ),
  );
  if (!known.models.length) {
    add(root, empty("No model is served."));
    return null;
  }
  add(
    root,
    h(
      "div",
      { class: "grid" },
      h("div", { class: "m4 l3" }, cards),
      h("div", { class: "m8 l9" }, detail),
    ),
  );
  const open = (text) => {
    const name = text ?? (known.models.find((m) => m.is_default) ?? known.models[0]).name;
    fill(
      cards,
      known.models.map((m) =>
        h(
          "a",
          {
            class: "card-link",
            href: `#/models/${segment(m.name)}`,
            "aria-current": m.name === name ? "true" : null,
          },
          h("b", {}, m.name),
          h("small", { class: "muted" }, `${m.task ?? "not open"}, version ${m.version}`),
          h(
            "span",
            { class: "row" },
            m.is_default && h("span", { class: "chip accent" }, "default"),
            (m.aliases ?? []).map((a) => h("span", { class: "chip" }, a)),
          ),
        ),
      ),
    );
    draw(detail, name, signal);
  };
  open(arg);
  return open;
}

async function draw(node, name, signal) {
  fill(node, h("p", { class: "muted", "aria-busy": "true" }, "Loading"));
  try {
    const model = await get(`/v1/models/${segment(name)}`, { signal });
    const { config } = model;
    fill(
      node,
      h(
        "div",
        { class: "grid" },
        panel(
          model.name,
          { id: "model", class: "l5" },
          facts([
            ["Task", model.task],
            ["Version", `${model.version} of ${model.versions.join(", ")}`],
            ["Convolution", `${config.conv}, ${config.num_layers} layers`],
            ["Widths", [config.d_in, config.d_hidden, config.d_out].join(" → ")],
            model.fanouts.length > 0 && [
              "Fanouts",
              model.fanouts.map((k) => (k < 0 ? "all" : k)).join(", "),
            ],
            [
              "Embedding table",
              model.has_fresh_table
                ? h("span", { class: "chip good" }, "fresh")
                : h("span", { class: "chip" }, "none that is fresh"),
            ],
            model.classes && [
              "Classes",
              model.classes.slice(0, 30).join(", ") + (model.classes.length > 30 ? ", …" : ""),
            ],
            ["Digest", h("code", { title: model.digest }, model.digest.slice(0, 16))],
            ["Trained on", h("code", {}, model.graph_fingerprint)],
          ]),
        ),
        panel("Metrics", { id: "metrics", class: "l7" }, metrics(model.metrics)),
        panel("Model card", { id: "card" }, markdown(model.card)),
      ),
    );
  } catch (error) {
    if (!signal.aborted) fill(node, failure(error));
  }
}

function metrics(found) {
  const parts = Object.entries(found).filter(
    ([, values]) => values && typeof values === "object" && !Array.isArray(values),
  );
  const names = [
    ...new Set(
      parts.flatMap(([, values]) =>
        Object.keys(values).filter((k) => typeof values[k] === "number"),
      ),
    ),
  ];
  if (!names.length) return empty("None were kept with this version.");
  return table(
    "Metrics by part of the data",
    [["Metric"], ...parts.map(([part]) => [part, "number"])],
    names.map((name) => [
      h("code", {}, name),
      ...parts.map(([, values]) =>
        values[name] === undefined
          ? "–"
          : name === "accuracy"
            ? percent(values[name], 2)
            : decimal(values[name]),
      ),
    ]),
  );
}
