// Colors of classes: ten that people with any kind of color vision tell apart (hues after Okabe
// and Ito 2008, with steps of lightness between them), one set for each theme. The most frequent
// classes get one; the rest are gray, and always named in text.

const LIGHT = [
  "#0072b2",
  "#d55e00",
  "#009e73",
  "#cc79a7",
  "#b08900",
  "#56b4e9",
  "#7a3e9d",
  "#6b8e23",
  "#8c4a2f",
  "#17becf",
];
const DARK = [
  "#4ba3e3",
  "#ff8552",
  "#35c99a",
  "#ee9ccb",
  "#e3bd3a",
  "#9adcff",
  "#b487e0",
  "#a9cf5a",
  "#dccbb8",
  "#4fe0ee",
];
const OTHER = { light: "#8a93a1", dark: "#7f8a99" };
const LOW = { light: [222, 232, 247], dark: [38, 52, 84] },
  HIGH = { light: [8, 48, 107], dark: [255, 221, 130] };

export const NAMED = LIGHT.length;

export function theme() {
  const set = document.documentElement.dataset.theme;
  return set ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
}

/** The color of a place in the palette; what is beyond it is gray. */
export const color = (place) => (theme() === "dark" ? DARK : LIGHT)[place] ?? OTHER[theme()];

/** A color between the ends of a scale, for 0 … 1. */
export function scale(part) {
  const [a, b] = [LOW[theme()], HIGH[theme()]];
  return `rgb(${a.map((v, i) => Math.round(v + (b[i] - v) * part)).join(" ")})`;
}

/** Name of a class → place in the palette: in their own order while all have a color, else by count. */
export function placesOf(classes, counts = []) {
  const order = classes.map((_, i) => i);
  if (classes.length > NAMED) order.sort((a, b) => (counts[b] ?? 0) - (counts[a] ?? 0) || a - b);
  return new Map(order.map((code, place) => [String(classes[code]), place]));
}

export const rgb = (text) => {
  const found = text.startsWith("#")
    ? text
        .slice(1)
        .match(/../g)
        .map((x) => parseInt(x, 16))
    : text.match(/\d+/g).map(Number);
  return found.slice(0, 3);
};
