// The part of Markdown that model cards are written in: headings, lists, tables, code, paragraphs.
// It makes elements and text, never markup from text; links and pictures are left as they read.

import { h, table } from "/page/dom.js";

export function markdown(text) {
  const blocks = text
    .split(/\n{2,}/)
    .map((block) => block.trim())
    .filter((block) => block !== "");
  return h("div", { class: "markdown" }, blocks.map(blockOf));
}

function blockOf(block) {
  const heading = /^(#{1,6}) (.*)$/.exec(block);
  if (heading) return h(heading[1].length < 3 ? "h3" : "h4", {}, inline(heading[2]));
  const lines = block.split("\n");
  if (lines.every((line) => /^[-*] /.test(line)))
    return h(
      "ul",
      {},
      lines.map((line) => h("li", {}, inline(line.slice(2)))),
    );
  if (lines.length > 1 && lines.every((line) => line.startsWith("|"))) return tableOf(lines);
  if (block.startsWith("![")) return null;
  return h("p", {}, inline(lines.join(" ")));
}

function tableOf(lines) {
  const cells = (line) =>
    line
      .replace(/^\||\|$/g, "")
      .split(/(?<!\\)\|/)
      .map((cell) => cell.trim().replaceAll("\\|", "|"));
  const [head, , ...rows] = lines.map(cells);
  const numeric = head.map(
    (_, i) => rows.length > 0 && rows.every((row) => /^[-\d.,% ]*$/.test(row[i] ?? "")),
  );
  return table(
    head.filter(Boolean).join(", ") || "Table",
    head.map((name, i) => [inline(name), numeric[i] ? "number" : ""]),
    rows.map((row) => head.map((_, i) => inline(row[i] ?? ""))),
  );
}

/** Text with `code` and **strong** parts. */
const inline = (text) =>
  text.split(/(`+[^`]+`+|\*\*[^*]+\*\*)/).map((part) => {
    if (part.startsWith("`")) return h("code", {}, part.replace(/^`+|`+$/g, ""));
    return part.startsWith("**") ? h("b", {}, part.slice(2, -2)) : part;
  });
