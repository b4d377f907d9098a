// Calls of the service. A refusal is an Error whose message is the sentence of its problem
// document. Where the service has keys, the first refusal asks for one; it stays in this tab.

import { parse, stringify } from "/page/json.js";

const STORE = "gnn-api-key";

export class Refused extends Error {
  constructor(status, problem) {
    super(sentence(problem.detail ?? `The server answered ${status}`));
    this.status = status;
    this.code = problem.code ?? "";
    this.problem = problem;
  }
}

const sentence = (text) =>
  text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

let asking = null;

/** Asks for a key; everything that was refused waits for the same answer. */
function askForKey(message) {
  asking ??= new Promise((resolve) => {
    const dialog = document.getElementById("key-dialog");
    const form = document.getElementById("key-form"),
      input = document.getElementById("key-input");
    document.getElementById("key-error").textContent = message;
    const onsubmit = (event) => {
      event.preventDefault();
      form.removeEventListener("submit", onsubmit);
      sessionStorage.setItem(STORE, input.value.trim());
      input.value = "";
      dialog.close();
      showForget();
      asking = null;
      resolve();
    };
    form.addEventListener("submit", onsubmit);
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    if (!dialog.open) dialog.showModal();
    input.focus();
  });
  return asking;
}

function showForget() {
  document.getElementById("forget").hidden = !sessionStorage.getItem(STORE);
}

export function startKeys() {
  showForget();
  document.getElementById("forget").addEventListener("click", () => {
    sessionStorage.removeItem(STORE);
    location.reload();
  });
}

/** Asks for a key before the first call where the service has keys and this tab has none. */
export async function unlock() {
  if (hasKey()) return;
  const { checks } = await get("/health/ready", { keyless: true });
  if (!Object.keys(checks).length) await askForKey("");
}

async function call(method, path, { body, signal, as = "json", keyless = false } = {}) {
  const key = sessionStorage.getItem(STORE),
    headers = {};
  if (key) headers["X-API-Key"] = key;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, {
      method,
      headers,
      signal,
      body: body === undefined ? undefined : stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, { detail: "The server cannot be reached", code: "unreachable" });
  }
  if (answer.status === 401 && !keyless) {
    await askForKey(key ? "That key is not valid." : "");
    return call(method, path, { body, signal, as });
  }
  if (!answer.ok) {
    const text = await answer.text();
    let problem = {};
    try {
      problem = parse(text);
    } catch {
      /* a proxy's own page */
    }
    throw new Refused(answer.status, problem);
  }
  if (as === "bytes") return answer.arrayBuffer();
  if (as === "blob") return answer.blob();
  return parse(await answer.text());
}

export const get = (path, options) => call("GET", path, options);
export const post = (path, body, options) => call("POST", path, { ...options, body });
export const remove = (path, options) => call("DELETE", path, options);
export const hasKey = () => Boolean(sessionStorage.getItem(STORE));

/** A path segment; whatever is in the id stays in the segment. */
export const segment = (id) => encodeURIComponent(String(id));
