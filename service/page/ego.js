// A neighborhood around its node: rings by hops, every node in the sector of the one it points to.
// The drawing is for the eye; the list beside it says the same in words.

import { fill, s } from "/page/dom.js";
import { color } from "/page/palette.js";

const SIZE = 640,
  MIDDLE = SIZE / 2,
  RADIUS = 282;

/** Angle and ring of every node: a tree of first edges, each sector as wide as it has leaves. */
function layout(nodes, edges) {
  const hop = new Map(nodes.map((n) => [String(n.node), n.hop]));
  const children = new Map(),
    parent = new Map();
  for (const { source, target } of edges) {
    const [child, up] = [String(source), String(target)];
    if (!parent.has(child) && hop.get(child) === hop.get(up) + 1) {
      parent.set(child, up);
      children.set(up, [...(children.get(up) ?? []), child]);
    }
  }
  const root = String(nodes[0].node),
    last = Math.max(1, ...nodes.map((n) => n.hop));
  const leaves = new Map();
  const weigh = (id) => {
    // a neighbor without neighbors of its own needs room for its name, too
    const own = Math.max(
      hop.get(id) === 1 ? 2.5 : 1,
      (children.get(id) ?? []).reduce((sum, c) => sum + weigh(c), 0),
    );
    leaves.set(id, own);
    return own;
  };
  const spots = new Map();
  const place = (id, from, to) => {
    const ring = (hop.get(id) / last) * RADIUS,
      turn = (from + to) / 2;
    spots.set(id, {
      x: MIDDLE + ring * Math.cos(turn),
      y: MIDDLE + ring * Math.sin(turn),
      hop: hop.get(id),
      turn,
    });
    let start = from;
    for (const child of children.get(id) ?? []) {
      const width = ((to - from) * leaves.get(child)) / leaves.get(id);
      place(child, start, start + width);
      start += width;
    }
  };
  weigh(root);
  place(root, -Math.PI / 2, 1.5 * Math.PI);
  return { spots, parent, last };
}

/**
 * Draws the edges that a prediction reads into an <svg class="ego">.
 * `labels` maps ids to predicted classes, `places` classes to colors; `edits` has sets of sources
 * under `removed` and `added`.
 */
export function drawEgo(svg, found, { labels, places, edits, onpick }) {
  const ids = new Set(found.nodes.map((n) => String(n.node)));
  const root = found.nodes[0].node;
  const added = [...edits.added].filter((id) => !ids.has(String(id)));
  const nodes = [...found.nodes, ...added.map((node) => ({ node, hop: 1 }))];
  const edges = [
    ...found.edges,
    ...[...edits.added].map((source) => ({ source, target: root, layer: 0 })),
  ];
  const { spots, parent, last } = layout(nodes, edges);
  const fills = (id) => {
    const label = labels.get(String(id));
    return label === undefined ? null : color(places.get(String(label)) ?? 99);
  };
  const drawn = new Map();
  for (const edge of edges) {
    const [a, b] = [String(edge.source), String(edge.target)],
      key = JSON.stringify([a, b]);
    if (a === b || drawn.has(key)) continue;
    const [p, q] = [spots.get(a), spots.get(b)];
    const isTree = parent.get(a) === b;
    const kind =
      b === String(root)
        ? edits.removed.has(a)
          ? "removed"
          : edits.added.has(a)
            ? "added"
            : "near"
        : isTree
          ? ""
          : "other";
    drawn.set(
      key,
      s("path", { class: `edge ${kind}`, d: curve(p, q, isTree), "data-a": a, "data-b": b }),
    );
  }
  const many = nodes.length > 70;
  const marks = nodes.map(({ node, hop }) => {
    const id = String(node),
      at = spots.get(id),
      size = hop === 0 ? 15 : hop === 1 ? 8.5 : many ? 4 : 6;
    const label = labels.get(id);
    const circle = s(
      "circle",
      { class: "node", cx: at.x, cy: at.y, r: size, "data-id": id, onclick: () => onpick(node) },
      s("title", {}, label === undefined ? id : `${id}: ${label}`),
    );
    if (fills(id)) circle.style.fill = fills(id);
    return circle;
  });
  const words = nodes
    .filter((n) => n.hop < 2 || nodes.length <= 36)
    .slice(0, 60)
    .map(({ node, hop }) => {
      const at = spots.get(String(node)),
        text = String(node),
        off = hop === 0 ? 30 : 14;
      const up = hop > 0 && Math.sin(at.turn) < 0;
      return s(
        "text",
        { class: hop === 0 ? "center" : "", x: at.x, y: at.y + (up ? -off + 2 : off + 5) },
        text.length > 14 ? `${text.slice(0, 13)}…` : text,
      );
    });
  const rings = Array.from({ length: last }, (_, i) =>
    s("circle", { class: "ring", cx: MIDDLE, cy: MIDDLE, r: (RADIUS * (i + 1)) / last }),
  );
  fill(svg, rings, [...drawn.values()].reverse(), marks.reverse(), words);
  svg.setAttribute("viewBox", `0 0 ${SIZE} ${SIZE}`);
  svg.setAttribute(
    "aria-label",
    `${found.edges.length} edges among ${nodes.length} nodes around node ${root}; the list below has the same.`,
  );
  light(svg);
}

const curve = (p, q, isTree) => {
  if (isTree) return `M${p.x.toFixed(1)} ${p.y.toFixed(1)}L${q.x.toFixed(1)} ${q.y.toFixed(1)}`;
  const bend = 0.55,
    cx = MIDDLE + ((p.x + q.x) / 2 - MIDDLE) * bend,
    cy = MIDDLE + ((p.y + q.y) / 2 - MIDDLE) * bend;
  return `M${p.x.toFixed(1)} ${p.y.toFixed(1)}Q${cx.toFixed(1)} ${cy.toFixed(1)} ${q.x.toFixed(1)} ${q.y.toFixed(1)}`;
};

/** What a node under the pointer is tied to stands out. */
function light(svg) {
  svg.onpointerover = (event) => {
    const id = event.target.dataset?.id;
    if (id === undefined) return;
    for (const edge of svg.querySelectorAll(".edge"))
      edge.classList.toggle("lit", edge.dataset.a === id || edge.dataset.b === id);
  };
  svg.onpointerout = () => {
    for (const edge of svg.querySelectorAll(".lit")) edge.classList.remove("lit");
  };
}
