// Numbers, times and sizes as people read them.

const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export const count = (n) => (n === null || n === undefined ? "–" : whole.format(n));
export const compact = (n) =>
  Math.abs(n) < 10_000 ? whole.format(Math.round(n)) : short.format(n);
export const percent = (p, digits = 1) => `${(100 * p).toFixed(digits)} %`;
export const decimal = (x, digits = 4) =>
  Number.isFinite(x) ? Number(x).toFixed(digits) : String(x);

export function rate(x) {
  if (x === 0) return "0";
  return x < 10 ? x.toFixed(1) : compact(x);
}

export function millis(seconds) {
  if (seconds === null || seconds === undefined || Number.isNaN(seconds)) return "–";
  const ms = seconds * 1e3;
  if (ms < 0.095) return "< 0.1 ms";
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1e3).toFixed(1)} s`;
}

export function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  for (; n >= 1024 && i < units.length - 1; i += 1) n /= 1024;
  return `${i && n < 10 ? n.toFixed(1) : Math.round(n)} ${units[i]}`;
}

export function duration(seconds) {
  if (seconds < 1) return "under a second";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800
    ? `${Math.round(seconds / 3600)} h`
    : `${Math.round(seconds / 86_400)} d`;
}

export function ago(time) {
  const seconds = Math.max(0, (Date.now() - new Date(time)) / 1e3);
  return seconds < 2 ? "just now" : `${duration(seconds)} ago`;
}

export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;
