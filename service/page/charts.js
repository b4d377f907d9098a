// Lines over the last minutes, drawn as SVG and kept in place while values come in.

import { s } from "/page/dom.js";

const W = 600,
  H = 150,
  LEFT = 40,
  BOTTOM = 20,
  TOP = 8;

/** A step of 1, 2 or 5 times a power of ten, such that `most` is reached in few of them. */
function ceiling(most) {
  if (!(most > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 2.5, 5, 10].map((m) => m * power).find((bound) => bound >= most);
}

/** A line with an area under it; `update(values)` takes the newest last, null where nothing is known. */
export function lineChart(label, { points, seconds, format }) {
  const line = s("path", { class: "line" }),
    area = s("path", { class: "area" });
  const marks = [0, 0.5, 1].map((part) => {
    const y = TOP + (1 - part) * (H - TOP - BOTTOM);
    const text = s("text", { x: LEFT - 8, y: y + 4, "text-anchor": "end" });
    return {
      part,
      text,
      parts: [s("line", { class: "grid-line", x1: LEFT, x2: W, y1: y, y2: y }), text],
    };
  });
  const node = s(
    "svg",
    {
      class: "chart",
      viewBox: `0 0 ${W} ${H}`,
      preserveAspectRatio: "none",
      role: "img",
      "aria-label": label,
    },
    marks.map((m) => m.parts),
    area,
    line,
    s("text", { x: LEFT, y: H - 4 }, `${Math.round(seconds / 60)} min ago`),
    s("text", { x: W, y: H - 4, "text-anchor": "end" }, "now"),
  );
  // text keeps its shape however wide the chart is
  new ResizeObserver(() => {
    const width = node.clientWidth || W;
    for (const text of node.querySelectorAll("text")) {
      text.setAttribute(
        "transform",
        `translate(${text.getAttribute("x")} 0) scale(${W / width} 1) translate(${-text.getAttribute("x")} 0)`,
      );
    }
  }).observe(node);
  return {
    node,
    update(values) {
      const top = ceiling(Math.max(...values.map((v) => v ?? 0)));
      for (const mark of marks) mark.text.textContent = format(mark.part * top);
      const x = (i) => W - (values.length - 1 - i) * ((W - LEFT) / (points - 1));
      const y = (v) => TOP + (1 - v / top) * (H - TOP - BOTTOM);
      const spots = values.map((v, i) => (v === null ? null : [x(i), y(v)])).filter(Boolean);
      const path = spots.map(([a, b]) => `${a.toFixed(1)} ${b.toFixed(1)}`).join("L");
      line.setAttribute("d", spots.length ? `M${path}` : "");
      area.setAttribute(
        "d",
        spots.length
          ? `M${spots[0][0].toFixed(1)} ${H - BOTTOM}L${path}L${spots.at(-1)[0].toFixed(1)} ${H - BOTTOM}Z`
          : "",
      );
    },
  };
}

/** A small line without axes; gaps stay gaps. */
export function sparkline(points) {
  const path = s("path", {});
  const node = s(
    "svg",
    {
      class: "spark",
      viewBox: `0 0 ${points} 28`,
      preserveAspectRatio: "none",
      "aria-hidden": "true",
    },
    path,
  );
  return {
    node,
    update(values) {
      const top = Math.max(...values.map((v) => v ?? 0)) || 1;
      let d = "",
        pen = "M";
      values.forEach((v, i) => {
        if (v === null) {
          pen = "M";
          return;
        }
        const at = `${(points - values.length + i).toFixed(1)} ${(26 - (v / top) * 24).toFixed(1)}`;
        // a value between two gaps is a short dash
        d += `${pen}${at}${pen === "M" && (values[i + 1] ?? null) === null ? "h1" : ""}`;
        pen = "L";
      });
      path.setAttribute("d", d);
    },
  };
}
