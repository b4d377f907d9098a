// How likely an edge is, by a model of links.

import { post } from "/page/api.js";
import { failure, fill, h, panel } from "/page/dom.js";
import { decimal, percent } from "/page/format.js";
import { idOf } from "/page/json.js";

/** A form for two nodes; nothing where no model of links is served. */
export function pairForm(known) {
  const models = known.models.filter((m) => m.task === "link-prediction");
  if (!models.length) return null;
  const field = (name, title) =>
    h(
      "div",
      { class: "field" },
      h("label", { for: name }, title),
      h("input", { id: name, required: true, autocomplete: "off", spellcheck: "false" }),
    );
  const model = h(
    "select",
    { id: "pair-model" },
    models.map((m) => h("option", { value: m.name }, m.name)),
  );
  const out = h("div", { "aria-live": "polite" }),
    kind = known.graph.id_type;
  const form = h(
    "form",
    {
      class: "bar-form",
      onsubmit: async (event) => {
        event.preventDefault();
        const [a, b] = ["pair-from", "pair-to"].map((name) =>
          idOf(form.querySelector(`#${name}`).value, kind),
        );
        try {
          const {
            scores: [found],
          } = await post("/v1/links/predict", { pairs: [[a, b]], model: model.value });
          fill(
            out,
            h(
              "p",
              {},
              h("span", { class: "big" }, percent(found.score)),
              " ",
              h("span", { class: "muted" }, `logit ${decimal(found.logit, 3)}`),
            ),
          );
        } catch (error) {
          fill(out, failure(error));
        }
      },
    },
    field("pair-from", "From"),
    field("pair-to", "To"),
    h("div", { class: "field" }, h("label", { for: "pair-model" }, "Model"), model),
    h("button", {}, "Score"),
  );
  return panel("How likely is an edge?", { id: "pair" }, form, out);
}
