// The console: views by the part of the address behind #, the theme, and what all views know.

import { get, startKeys, unlock } from "/page/api.js";
import { announce, failure, fill, h, repeat, s } from "/page/dom.js";
import * as overview from "/page/overview.js";
import * as nodes from "/page/nodes.js";
import * as map from "/page/map.js";
import * as jobs from "/page/jobs.js";
import * as models from "/page/models.js";

const VIEWS = { overview, nodes, map, jobs, models };
const ICONS = {
  overview: "M3 13.5 7 9l3.5 3L17 5M3 17h14",
  nodes: "M9 3.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11ZM13 13l4 4",
  map: "M4 6h.01M8 4h.01M6 9h.01M14 6h.01M16 9h.01M12 8h.01M5 14h.01M9 13h.01M8 17h.01M14 14h.01M16 16h.01M12 16h.01",
  jobs: "M3 5h9M3 10h14M3 15h6",
  models: "M10 3 3.5 6.5 10 10l6.5-3.5L10 3ZM3.5 10 10 13.5 16.5 10M3.5 13.5 10 17l6.5-3.5",
};
const TITLES = { overview: "Overview", nodes: "Nodes", map: "Map", jobs: "Jobs", models: "Models" };

const root = document.getElementById("view");
const known = { graph: null, models: [] };
let shown = null;

/** Graph and models; asked again where a view wants them fresh. */
async function learn() {
  const [graph, listed] = await Promise.all([get("/v1/graph"), get("/v1/models")]);
  known.graph = graph;
  known.models = listed.models;
  document.getElementById("brand-graph").textContent = graph.name;
  return known;
}

function route() {
  const [, name = "", ...rest] = location.hash.split("/");
  const view = name in VIEWS ? name : "overview";
  const arg = rest.join("/");
  let text = arg;
  try {
    text = decodeURIComponent(arg);
  } catch {
    /* shown as it is */
  }
  return { view, arg: text || null };
}

async function show() {
  const { view, arg } = route(),
    changes = shown?.view !== view;
  if (!changes && shown.update) return shown.update(arg);
  shown?.control.abort();
  const control = new AbortController();
  const mine = { view, control, update: null };
  const first = shown === null;
  shown = mine;
  for (const link of document.querySelectorAll("#nav a")) {
    if (link.dataset.view === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  fill(root, h("p", { class: "muted", "aria-busy": "true" }, "Loading"));
  try {
    await unlock();
    if (!known.graph || view === "overview" || view === "models") await learn();
    if (shown !== mine) return;
    document.title = `${TITLES[view]} · ${known.graph.name}`;
    root.replaceChildren();
    mine.update = VIEWS[view].show(root, { arg, known, signal: control.signal, learn }) ?? null;
    if (!first) {
      const heading = root.querySelector("h1");
      heading?.setAttribute("tabindex", "-1");
      heading?.focus({ preventScroll: true });
      scrollTo(0, 0);
    }
    announce(`${TITLES[view]} is shown`);
  } catch (error) {
    if (shown === mine) {
      fill(
        root,
        h("h1", {}, TITLES[view]),
        failure(error),
        h(
          "p",
          {},
          h(
            "button",
            {
              type: "button",
              onclick: () => {
                shown = null;
                show();
              },
            },
            "Try again",
          ),
        ),
      );
    }
  }
}

function drawNav() {
  fill(
    document.getElementById("nav"),
    Object.keys(VIEWS).map((name) =>
      h(
        "a",
        { href: `#/${name}`, "data-view": name },
        s(
          "svg",
          { viewBox: "0 0 20 20", "aria-hidden": "true" },
          s("path", { d: ICONS[name], "stroke-width": name === "map" ? 2.6 : undefined }),
        ),
        TITLES[name],
      ),
    ),
  );
}

const THEMES = ["system", "light", "dark"];

function startTheme() {
  const button = document.getElementById("theme");
  const draw = () => {
    const now = document.documentElement.dataset.theme ?? "system";
    button.textContent = `Theme: ${now}`;
    button.setAttribute("aria-label", `Color theme: ${now}. Change it.`);
  };
  button.addEventListener("click", () => {
    const now = document.documentElement.dataset.theme ?? "system";
    const next = THEMES[(THEMES.indexOf(now) + 1) % THEMES.length];
    if (next === "system") {
      delete document.documentElement.dataset.theme;
      localStorage.removeItem("gnn-theme");
    } else {
      document.documentElement.dataset.theme = next;
      localStorage.setItem("gnn-theme", next);
    }
    draw();
    dispatchEvent(new Event("themechange"));
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () =>
    dispatchEvent(new Event("themechange")),
  );
  draw();
}

function startStatus() {
  const [dot, text] = [
    document.querySelector("#status .dot"),
    document.getElementById("status-text"),
  ];
  repeat(5000, new AbortController().signal, async () => {
    let [kind, said] = ["good", "Ready"];
    try {
      const health = await get("/health/ready", { keyless: true });
      if (health.checks.redis === "degraded") [kind, said] = ["warn", "Ready, without Redis"];
    } catch (error) {
      [kind, said] = ["bad", error.status === 503 ? "Not ready" : "Not reachable"];
    }
    dot.className = `dot ${kind}`;
    if (text.textContent !== said) text.textContent = said;
    document.getElementById("status").title = said;
  });
}

document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  root.focus();
});
addEventListener("hashchange", show);
startKeys();
startTheme();
drawNav();
startStatus();
show();
