// An answer in words and bars: the label, how sure the model is, and what is known of the node.

import { empty, facts, h } from "/page/dom.js";
import { count, decimal, percent, plural } from "/page/format.js";
import { segment } from "/page/api.js";
import { color, scale } from "/page/palette.js";

const MOST_BARS = 8;

export const link = (id) => h("a", { href: `#/nodes/${segment(id)}` }, String(id));

export const swatch = (label, places, round) =>
  h("i", {
    class: `swatch${round ? " round" : ""}`,
    style: { background: color(places.get(String(label)) ?? 99) },
  });

export const tag = (label, places) =>
  label === undefined ? "–" : h("span", { class: "named" }, swatch(label, places), String(label));

export const said = (a) =>
  a.label !== undefined
    ? `predicted ${a.label}`
    : a.value !== undefined
      ? `predicted ${a.value}`
      : a.labels !== undefined
        ? `predicted ${a.labels.join(", ") || "no label"}`
        : "shown";

/** What the prediction panel shows. */
export function predicted(answer, node, places) {
  if (answer.label === undefined && answer.labels === undefined && answer.value === undefined) {
    return empty("This model gives embeddings and no labels. What is near the node is beside it.");
  }
  const head = h(
    "div",
    { class: "answer" },
    h("p", { class: "big" }, named(answer, places)),
    h(
      "p",
      { class: "row" },
      answer.score !== undefined && h("span", { class: "chip accent" }, percent(answer.score)),
      h(
        "span",
        { class: "chip" },
        { table: "from the table", cache: "from the cache", computed: "computed now" }[
          answer.source
        ],
      ),
      h(
        "span",
        { class: "chip" },
        answer.mode === "sampled" ? "sampled neighbors" : "all neighbors",
      ),
    ),
  );
  const truth = node.label ?? node.labels;
  return [
    head,
    truth !== null &&
      truth !== undefined &&
      h(
        "p",
        { class: "muted" },
        "Labeled ",
        h("b", {}, String(truth)),
        " in the graph",
        matches(answer, truth),
      ),
    bars(answer.probabilities, places),
  ];
}

export function named(answer, places) {
  if (answer.value !== undefined)
    return String(
      Array.isArray(answer.value)
        ? answer.value.map((v) => decimal(v)).join(", ")
        : decimal(answer.value),
    );
  if (answer.labels !== undefined) return answer.labels.join(", ") || "no label";
  return h("span", { class: "named" }, swatch(answer.label, places), String(answer.label));
}

function matches(answer, truth) {
  if (answer.label === undefined) return ".";
  return String(answer.label) === String(truth)
    ? ", as predicted."
    : [", ", h("b", { class: "error" }, "which differs"), "."];
}

function bars(probabilities, places) {
  if (!probabilities) return null;
  const sorted = Object.entries(probabilities).sort((a, b) => b[1] - a[1]),
    rest = sorted.slice(MOST_BARS);
  const rows = sorted.slice(0, MOST_BARS);
  if (rest.length)
    rows.push([
      plural(rest.length, "other class", "other classes"),
      rest.reduce((sum, [, p]) => sum + p, 0),
    ]);
  return h(
    "div",
    { class: "bars", role: "list", "aria-label": "Probabilities" },
    rows.map(([label, p]) =>
      h(
        "div",
        { role: "listitem" },
        h("span", {}, label),
        h(
          "span",
          { class: "meter", "aria-hidden": "true" },
          h("i", {
            style: {
              width: `${Math.max(p * 100, 0.5)}%`,
              background: color(places.get(label) ?? 99),
            },
          }),
        ),
        h("span", { class: "number" }, percent(p)),
      ),
    ),
  );
}

/** What the graph says of the node itself. */
export function aboutNode(node) {
  const features = node.features ?? [];
  const low = features.length ? features.reduce((a, b) => Math.min(a, b)) : 0,
    high = features.length ? features.reduce((a, b) => Math.max(a, b)) : 0;
  return [
    facts([
      ["Id", h("code", {}, String(node.node))],
      ["Type", node.type],
      ["In-degree", count(node.degree)],
      features.length > 0 && [
        "Features",
        `${count(features.length)}, from ${decimal(low, 2)} to ${decimal(high, 2)}`,
      ],
    ]),
    features.length > 0 && heat(features, low, high),
  ];
}

function heat(features, low, high) {
  const shown = features.slice(0, 512),
    canvas = h("canvas", {
      class: "heat",
      width: shown.length,
      height: 1,
      role: "img",
      "aria-label": `Values of ${shown.length} features`,
    });
  const pen = canvas.getContext("2d");
  shown.forEach((v, i) => {
    pen.fillStyle = scale(high > low ? (v - low) / (high - low) : 0);
    pen.fillRect(i, 0, 1, 1);
  });
  return canvas;
}
