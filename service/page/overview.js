// What is served, and how it is doing: counts of the graph, request rate, latency by stage.

import { get } from "/page/api.js";
import { lineChart, sparkline } from "/page/charts.js";
import { add, facts, fill, h, panel, renew, repeat, table } from "/page/dom.js";
import { bytes, count, compact, millis, plural, rate } from "/page/format.js";
import { color } from "/page/palette.js";

const EVERY_MS = 1000,
  POINTS = 120;
const STAGES = {
  queue: "waiting for company",
  sample: "drawing neighbors",
  gather: "reading features",
  compute: "running the model",
};
const SOURCES = { table: "embedding table", cache: "cache", computed: "computed" };
/** What the console and probes ask for by themselves. */
const OWN = /^(\/|\/page\/.*|\/health\/.*|\/metrics|\/v1\/(stats|jobs|graph|models))$/;

export function show(root, { known, signal }) {
  const { graph, models } = known;
  const live = liveParts();
  add(
    root,
    h(
      "div",
      { class: "view-head" },
      h("h1", {}, graph.name),
      h("p", {}, `version ${graph.version}, fingerprint `, h("code", {}, graph.fingerprint)),
    ),
    counts(graph, models),
    h(
      "div",
      { class: "grid even" },
      panel(
        "Requests",
        {
          id: "requests",
          class: "l7",
          extra: h(
            "small",
            { class: "muted" },
            "last two minutes, without what the console asks by itself",
          ),
        },
        live.figures,
        live.chart.node,
      ),
      panel("Latency by stage", { id: "stages", class: "l5" }, live.stages),
      panel("Answers by source", { id: "answers", class: "m6 l5" }, live.answers),
      panel("Service", { id: "service", class: "m6 l7" }, live.service),
      panel("Endpoints", { id: "endpoints", class: "l7" }, live.routes),
      types(graph),
    ),
  );
  const history = [];
  repeat(EVERY_MS, signal, async () => {
    const [stats, health] = await Promise.all([
      get("/v1/stats", { signal }),
      get("/health/ready", { signal }),
    ]);
    history.push(stats);
    if (history.length > POINTS + 1) history.shift();
    draw(live, history, health);
  });
}

function counts(graph, models) {
  const mean = graph.num_nodes ? graph.num_edges / graph.num_nodes : 0;
  const tile = (name, value, note) =>
    h("div", {}, h("dt", {}, name), h("dd", {}, value, note && h("small", {}, note)));
  const kinds = {
    class: "one label per node",
    multi: "several labels per node",
    real: "a value per node",
  };
  return h(
    "dl",
    { class: "strip", id: "counts" },
    tile(
      "Nodes",
      count(graph.num_nodes),
      graph.node_types.length > 1 && plural(graph.node_types.length, "type"),
    ),
    tile("Edges", count(graph.num_edges), `${mean.toFixed(1)} into a node`),
    tile("Features", count(graph.feature_dim), graph.feature_storage),
    tile(
      "Classes",
      graph.classes.length ? count(graph.classes.length) : "–",
      kinds[graph.label_kind] ?? "no labels",
    ),
    tile("Models", count(models.length), models.find((m) => m.is_default)?.name),
  );
}

function types(graph) {
  if (graph.node_types.length < 2 && graph.edge_types.length < 2) {
    return panel(
      "Identifiers",
      { id: "types", class: "l5" },
      facts([
        ["Node ids", graph.id_type === "int" ? "whole numbers" : "text"],
        [
          "Classes",
          graph.classes.length
            ? graph.classes.slice(0, 24).join(", ") + (graph.classes.length > 24 ? ", …" : "")
            : "none",
        ],
      ]),
    );
  }
  return panel(
    "Types",
    { id: "types", class: "l5" },
    table(
      "Node types",
      [["Node type"], ["Nodes", "number"]],
      graph.node_types.map((t) => [t.name, count(t.num_nodes)]),
    ),
    h("p", { class: "muted" }, `Edge types: ${graph.edge_types.join(", ")}`),
  );
}

function liveParts() {
  const chart = lineChart("Requests per second over the last two minutes", {
    points: POINTS,
    seconds: POINTS,
    format: (v) => (v % 1 && v < 100 ? v.toFixed(1) : compact(v)),
  });
  const rows = Object.keys(STAGES).map((stage) => ({
    stage,
    spark: sparkline(POINTS),
    cells: [
      h("td", { class: "number" }),
      h("td", { class: "number" }),
      h("td", { class: "number" }),
    ],
  }));
  const stages = h(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": "Latency by stage" },
    h(
      "table",
      {},
      h("caption", { class: "unseen" }, "Milliseconds per batch in each stage"),
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          ["Stage", "2 min", "p50", "p95", "per s"].map((t, i) =>
            h("th", { scope: "col", class: i > 1 && "number" }, t),
          ),
        ),
      ),
      h(
        "tbody",
        {},
        rows.map((row) =>
          h(
            "tr",
            { class: `stage-${row.stage}` },
            h(
              "th",
              { scope: "row" },
              h(
                "span",
                { class: "named ink" },
                h("i", { class: "swatch" }),
                h(
                  "span",
                  {},
                  row.stage,
                  h("br"),
                  h("small", { class: "muted" }, STAGES[row.stage]),
                ),
              ),
            ),
            h("td", {}, row.spark.node),
            row.cells.map((cell) => {
              cell.classList.add("ink");
              return cell;
            }),
          ),
        ),
      ),
    ),
  );
  return {
    chart,
    rows,
    stages,
    figures: h("dl", { class: "figures" }),
    answers: h("div", { class: "stack" }),
    service: h("div"),
    routes: h("div"),
  };
}

function draw(live, history, health) {
  const now = history.at(-1),
    steps = history.slice(1).map((later, i) => [history[i], later]);
  const perSecond = steps.map(
    ([a, b]) => (asked(b) - asked(a)) / Math.max(b.time_s - a.time_s, 1e-3),
  );
  live.chart.update(perSecond.length ? perSecond : [0]);
  const start = history[Math.max(0, history.length - 11)];
  const recent = latency(merged(now.routes), merged(start.routes), now.bounds_s);
  const whole = latency(merged(now.routes), null, now.bounds_s);
  const pick = recent ?? whole;
  fill(
    live.figures,
    [
      ["per second", rate(perSecond.at(-1) ?? 0)],
      ["in total", compact(asked(now))],
      ["p50", millis(pick?.p50)],
      ["p95", millis(pick?.p95)],
      ["waiting", count(now.queue_depth)],
      ["errors", count(failed(now))],
    ].map(([name, value]) => h("div", {}, h("dd", {}, value), h("dt", {}, name))),
  );
  for (const row of live.rows) drawStage(row, history, steps, start);
  drawAnswers(live.answers, now);
  drawRoutes(live.routes, now, start);
  drawService(live.service, now, health);
}

const asked = (stats) =>
  stats.routes.filter((r) => !OWN.test(r.route)).reduce((sum, r) => sum + r.count, 0);
const failed = (stats) =>
  stats.requests
    .filter((r) => r.status >= "400" && !OWN.test(r.route))
    .reduce((sum, r) => sum + r.count, 0);

function merged(routes) {
  const counted = routes.filter((r) => !OWN.test(r.route));
  const buckets = (counted[0]?.buckets ?? []).map((_, i) =>
    counted.reduce((sum, r) => sum + r.buckets[i], 0),
  );
  return { count: counted.reduce((sum, r) => sum + r.count, 0), buckets };
}

/** Median and 95th percentile between two readings, within buckets by interpolation; null for none. */
export function latency(later, before, bounds) {
  const buckets = (later?.buckets ?? []).map((n, i) => n - (before?.buckets[i] ?? 0));
  const total = buckets.reduce((a, b) => a + b, 0);
  if (!total) return null;
  const at = (part) => {
    let left = part * total;
    for (const [i, n] of buckets.entries()) {
      if (n && left <= n) {
        const low = i ? bounds[i - 1] : 0;
        return low + ((bounds[i] ?? bounds.at(-1)) - low) * (left / n);
      }
      left -= n;
    }
    return bounds.at(-1);
  };
  return { p50: at(0.5), p95: at(0.95) };
}

function drawStage(row, history, steps, start) {
  const of = (stats) => stats.stages.find((s) => s.stage === row.stage);
  row.spark.update(
    steps.map(([a, b]) => {
      const [early, late] = [of(a), of(b)],
        n = (late?.count ?? 0) - (early?.count ?? 0);
      return n > 0 ? (late.sum_s - (early?.sum_s ?? 0)) / n : null;
    }),
  );
  const now = history.at(-1),
    late = of(now);
  const found = latency(late, of(start), now.bounds_s) ?? latency(late, null, now.bounds_s);
  const [a, b] = [history.at(-2), now];
  const speed = a
    ? ((of(b)?.count ?? 0) - (of(a)?.count ?? 0)) / Math.max(b.time_s - a.time_s, 1e-3)
    : 0;
  [millis(found?.p50), millis(found?.p95), rate(speed)].forEach((text, i) => {
    row.cells[i].textContent = text;
  });
}

function drawAnswers(node, now) {
  const parts = Object.keys(SOURCES).map((name, i) => ({
    name,
    n: now.answers[name] ?? 0,
    color: color(i),
  }));
  const total = parts.reduce((sum, p) => sum + p.n, 0);
  renew(
    node,
    h(
      "div",
      { class: "split", "aria-hidden": "true" },
      total > 0 &&
        parts
          .filter((p) => p.n)
          .map((p) => h("i", { style: { background: p.color, "flex-grow": p.n } })),
    ),
    table(
      "Nodes answered for, by source",
      [["Source"], ["Nodes", "number"], ["Share", "number"]],
      parts.map((p) => [
        h(
          "span",
          { class: "named" },
          h("i", { class: "swatch", style: { background: p.color } }),
          SOURCES[p.name],
        ),
        count(p.n),
        total ? `${((100 * p.n) / total).toFixed(1)} %` : "–",
      ]),
    ),
  );
}

function drawRoutes(node, now, start) {
  const listed = now.routes
    .filter((r) => !OWN.test(r.route))
    .sort((a, b) => b.count - a.count)
    .slice(0, 8);
  if (!listed.length) {
    renew(
      node,
      h("p", { class: "empty" }, "No requests so far. They show up here as they come in."),
    );
    return;
  }
  renew(
    node,
    table(
      "Requests by endpoint",
      [
        ["Endpoint"],
        ["Requests", "number"],
        ["Errors", "number"],
        ["p50", "number"],
        ["p95", "number"],
      ],
      listed.map((r) => {
        const found =
          latency(
            r,
            start.routes.find((x) => x.route === r.route),
            now.bounds_s,
          ) ?? latency(r, null, now.bounds_s);
        const errors = now.requests
          .filter((x) => x.route === r.route && x.status >= "400")
          .reduce((sum, x) => sum + x.count, 0);
        return [
          h("code", {}, r.route),
          count(r.count),
          count(errors),
          millis(found?.p50),
          millis(found?.p95),
        ];
      }),
    ),
  );
}

function drawService(node, now, health) {
  const { checks } = health;
  const names = {
    fresh: "fresh",
    stale: "stale: made by other weights or of another graph",
    none: "none",
  };
  fill(
    node,
    facts([
      ["State", h("span", { class: "named" }, h("i", { class: "dot good" }), health.status)],
      checks.models && [
        "Models",
        Object.entries(checks.models)
          .map(([name, v]) => `${name} (version ${v})`)
          .join(", "),
      ],
      checks.table && ["Embedding table", names[checks.table] ?? checks.table],
      checks.redis && ["Redis", checks.redis],
      ["Cache", `${plural(now.cache.entries, "embedding")}, ${bytes(now.cache.size_bytes)}`],
      ["Edges read", compact(now.sampled_edges)],
    ]),
  );
}
