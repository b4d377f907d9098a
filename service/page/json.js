// JSON with whole numbers of any size: node ids have 64 bits, numbers here have 53.

const WHOLE = /^-?\d+$/;

/** Values of a text; whole numbers that a Number cannot hold become BigInts. */
export const parse = (text) =>
  JSON.parse(text, (_, value, context) =>
    typeof value === "number" && !Number.isSafeInteger(value) && WHOLE.test(context?.source ?? "")
      ? BigInt(context.source)
      : value,
  );

/** The text of values, BigInts included. */
export function stringify(value) {
  if (typeof value === "bigint") return String(value);
  if (Array.isArray(value)) return `[${value.map((v) => stringify(v ?? null)).join(",")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const members = Object.entries(value).filter(([, v]) => v !== undefined);
  return `{${members.map(([k, v]) => `${JSON.stringify(k)}:${stringify(v)}`).join(",")}}`;
}

/** A node id from what was typed: a whole number where the graph's ids are. */
export function idOf(text, kind) {
  if (kind !== "int" || !/^-?(0|[1-9]\d{0,18})$/.test(text)) return text;
  return Number.isSafeInteger(Number(text)) ? Number(text) : BigInt(text);
}
