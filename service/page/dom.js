// Elements. What comes from the server becomes text, whatever it looks like: nothing here parses
// markup, so that no name of a node or a class can be more than a name.

const SVG = "http://www.w3.org/2000/svg";

function build(node, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style")
      for (const [k, v] of Object.entries(value)) node.style.setProperty(k, v);
    else if (name === "value") node.value = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(
    ...children
      .flat(Infinity)
      .filter((c) => c !== null && c !== undefined && c !== false)
      .map((c) => (c instanceof Node ? c : String(c))),
  );
  return node;
}

/** An element: h("p", {class: "muted"}, "text", another). */
export const h = (tag, props, ...children) => build(document.createElement(tag), props, children);

/** The same in a drawing. */
export const s = (tag, props, ...children) =>
  build(document.createElementNS(SVG, tag), props, children);

/** Adds to an element; what is false or nothing is left out. */
export const add = (node, ...children) => build(node, {}, children);

/** Replaces what is in an element. */
export function fill(node, ...children) {
  node.replaceChildren();
  return add(node, ...children);
}

/** Fills an element anew but keeps the frames of its tables, so that focus and scroll stay. */
export function renew(node, ...fresh) {
  const kept = [...node.children];
  const same =
    kept.length === fresh.length &&
    fresh.every((f, i) => f.className === kept[i].className && f.tagName === kept[i].tagName);
  if (!same) {
    fill(node, fresh);
    return;
  }
  fresh.forEach((f, i) => kept[i].replaceChildren(...f.childNodes));
}

/** Says something to those who listen to the page. */
export function announce(text) {
  document.getElementById("announce").textContent = text;
}

/** A panel with a heading; `extra` stands beside the heading. */
export function panel(title, { extra, id, ...props } = {}, ...children) {
  const heading = h("h2", { id: id && `${id}-title` }, title);
  return h(
    "section",
    { ...props, id, class: `panel ${props.class ?? ""}`, "aria-labelledby": id && `${id}-title` },
    h("div", { class: "panel-head" }, heading, extra),
    ...children,
  );
}

/** A sentence where there is nothing to show. */
export const empty = (...text) => h("p", { class: "empty" }, ...text);

/** A failure, as the sentence that the server gave. */
export const failure = (error) => h("p", { class: "error", role: "alert" }, error.message);

/** Name and value pairs. */
export const facts = (pairs) =>
  h(
    "dl",
    { class: "facts" },
    pairs
      .filter(Boolean)
      .map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
  );

/** A table; a column is [title, kind], with kind "number" or nothing. */
export function table(caption, columns, rows, props = {}) {
  const head = h(
    "tr",
    {},
    columns.map(([title, kind]) => h("th", { scope: "col", class: kind }, title)),
  );
  const body = rows.map((cells) =>
    h(
      "tr",
      {},
      cells.map((cell, i) => h("td", { class: columns[i][1], "data-name": columns[i][0] }, cell)),
    ),
  );
  return h(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": caption, ...props },
    h(
      "table",
      {},
      h("caption", { class: "unseen" }, caption),
      h("thead", {}, head),
      h("tbody", {}, body),
    ),
  );
}

/** Runs `work` now and again, while the view is shown and the page is seen. */
export function repeat(ms, signal, work) {
  let timer;
  const run = async () => {
    clearTimeout(timer);
    if (signal.aborted) return;
    if (!document.hidden)
      await work().catch((error) => {
        if (!signal.aborted) console.warn(error.message);
      });
    if (!signal.aborted) timer = setTimeout(run, typeof ms === "function" ? ms() : ms);
  };
  document.addEventListener(
    "visibilitychange",
    () => {
      if (!document.hidden) run();
    },
    { signal },
  );
  signal.addEventListener("abort", () => clearTimeout(timer));
  run();
  return run;
}
