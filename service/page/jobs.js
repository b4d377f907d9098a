// Batch jobs: start one, watch it, cancel it, take its files.

import { get, hasKey, post, remove } from "/page/api.js";
import { add, announce, failure, fill, h, panel, repeat } from "/page/dom.js";
import { ago, bytes, compact, count, duration, plural } from "/page/format.js";
import { idOf } from "/page/json.js";

const BUSY_MS = 700,
  IDLE_MS = 4000,
  LISTED = 50;
const ENDS = { done: "is done", failed: "has failed", canceled: "was canceled" };

export function show(root, { known, signal }) {
  const view = new JobsView(known, signal);
  add(
    root,
    h(
      "div",
      { class: "view-head" },
      h("h1", {}, "Jobs"),
      h("p", {}, "Embeddings and predictions of many nodes, in the background"),
    ),
    h(
      "div",
      { class: "grid" },
      h("div", { class: "m4 l3" }, view.form()),
      h("div", { class: "m8 l9" }, view.list()),
    ),
  );
  view.refresh = repeat(
    () => (view.isBusy ? BUSY_MS : IDLE_MS),
    signal,
    () => view.load(),
  );
}

class JobsView {
  constructor(known, signal) {
    Object.assign(this, { known, signal, rows: new Map(), states: new Map(), isBusy: false });
  }

  form() {
    const models = this.known.models.filter((m) => !m.task?.startsWith("graph-"));
    const out = h("div", { "aria-live": "polite" });
    const field = (id, title, control) =>
      h("div", { class: "field" }, h("label", { for: id }, title), control);
    const kind = h(
      "select",
      { id: "job-kind", onchange: () => adapt() },
      h("option", { value: "embed" }, "Embeddings"),
      h("option", { value: "predict" }, "Predictions"),
    );
    const model = h(
      "select",
      { id: "job-model" },
      models.map((m) => h("option", { value: m.name, selected: m.is_default }, m.name)),
    );
    const nodes = h("textarea", {
      id: "job-nodes",
      rows: 3,
      spellcheck: "false",
      placeholder: "Every node, where this is empty; else ids, one a line",
      oninput: () => adapt(),
    });
    const publish = h("input", { type: "checkbox", id: "job-publish", checked: true });
    const label = h(
      "label",
      { class: "check", for: "job-publish" },
      publish,
      "Publish the table, with a map",
    );
    const adapt = () => {
      const whole = kind.value === "embed" && nodes.value.trim() === "";
      publish.disabled = !whole;
      label.classList.toggle("muted", !whole);
    };
    const submit = async (event) => {
      event.preventDefault();
      const ids = nodes.value
        .split("\n")
        .map((line) => line.trim())
        .filter((line) => line !== "");
      const body = {
        kind: kind.value,
        model: model.value,
        publish: publish.checked && !publish.disabled,
      };
      if (ids.length) body.nodes = ids.map((id) => idOf(id, this.known.graph.id_type));
      try {
        const job = await post("/v1/jobs", body);
        fill(out, h("p", { class: "muted" }, `Job ${job.id.slice(0, 8)} waits for a runner.`));
        this.refresh();
      } catch (error) {
        fill(out, failure(error));
      }
    };
    return panel(
      "New job",
      { id: "new-job" },
      h(
        "form",
        { class: "stack", onsubmit: submit },
        field("job-kind", "What", kind),
        field("job-model", "Model", model),
        field("job-nodes", "Nodes", nodes),
        label,
        h("div", {}, h("button", { class: "primary" }, "Start the job")),
        out,
      ),
    );
  }

  list() {
    this.body = h("tbody");
    this.blank = h("p", { class: "empty" }, "No jobs so far.");
    this.trouble = h("div");
    const heads = ["State", "Job", "Progress", "Result", ["Actions"]];
    this.frame = h(
      "div",
      { class: "scroll", hidden: true, tabindex: 0, role: "region", "aria-label": "Jobs" },
      h(
        "table",
        { class: "jobs" },
        h("caption", { class: "unseen" }, "Jobs, the newest first"),
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            heads.map((t) =>
              Array.isArray(t)
                ? h("th", { scope: "col" }, h("span", { class: "unseen" }, t))
                : h("th", { scope: "col" }, t),
            ),
          ),
        ),
        this.body,
      ),
    );
    return panel(
      "Jobs",
      { id: "job-list", extra: h("small", { class: "muted" }, "the newest first") },
      this.trouble,
      this.blank,
      this.frame,
    );
  }

  async load() {
    let jobs;
    try {
      ({ jobs } = await get(`/v1/jobs?limit=${LISTED}`, { signal: this.signal }));
      this.trouble.replaceChildren();
    } catch (error) {
      if (!this.signal.aborted) fill(this.trouble, failure(error));
      return;
    }
    this.isBusy = jobs.some((job) => job.state === "queued" || job.state === "running");
    this.blank.hidden = jobs.length > 0;
    this.frame.hidden = !jobs.length;
    const ids = new Set(jobs.map((job) => job.id));
    for (const [id, row] of this.rows)
      if (!ids.has(id)) {
        row.node.remove();
        this.rows.delete(id);
      }
    // rows stay where they are and change in place: focus on a button is not lost
    [...jobs].reverse().forEach((job) => {
      let row = this.rows.get(job.id);
      if (!row) {
        row = new JobRow(job, this);
        this.rows.set(job.id, row);
        this.body.prepend(row.node);
      }
      row.update(job);
      const before = this.states.get(job.id);
      if (before && before !== job.state && ENDS[job.state])
        announce(`Job ${job.id.slice(0, 8)} ${ENDS[job.state]}`);
      this.states.set(job.id, job.state);
    });
  }

  async cancel(id) {
    try {
      await remove(`/v1/jobs/${id}`);
      await this.refresh();
    } catch (error) {
      fill(this.trouble, failure(error));
    }
  }
}

class JobRow {
  constructor(job, view) {
    this.view = view;
    this.state = h("span", { class: "state" });
    this.bar = h("progress", { max: 1, "aria-label": `Progress of job ${job.id.slice(0, 8)}` });
    this.text = h("small", { class: "muted" });
    this.result = h("div");
    this.actions = h("div", { class: "job-actions" });
    const what = `${job.kind === "embed" ? "Embeddings" : "Predictions"} of ${plural(job.num_nodes, "node")}`;
    this.when = h("small", { class: "muted" });
    this.node = h(
      "tr",
      { "data-job": job.id },
      h("td", {}, this.state),
      h(
        "td",
        {},
        h("div", {}, what),
        h(
          "small",
          { class: "muted" },
          h("code", {}, job.id.slice(0, 8)),
          ` · ${job.model} ${job.model_version}${job.publish ? " · publishes" : ""} · `,
        ),
        this.when,
      ),
      h("td", { class: "progress-cell" }, this.bar, this.text),
      h("td", {}, this.result),
      h("td", {}, this.actions),
    );
  }

  update(job) {
    this.state.textContent =
      job.cancel_requested && job.state === "running" ? "canceling" : job.state;
    this.state.className = `state state-${job.state}`;
    this.node.dataset.state = job.state;
    this.when.textContent = ago(job.created);
    this.progress(job);
    const key = `${job.state} ${job.result === null} ${job.cancel_requested}`;
    if (this.key === key) return;
    this.key = key;
    fill(
      this.result,
      job.error && h("span", { class: "error" }, job.error.detail),
      job.result &&
        h(
          "small",
          { class: "muted" },
          `${plural(job.result.rows, "row")}, ${bytes(job.result.size_bytes)}`,
        ),
      job.state === "done" && !job.result && h("small", { class: "muted" }, "discarded"),
    );
    const active = job.state === "queued" || job.state === "running",
      short = job.id.slice(0, 8);
    fill(
      this.actions,
      job.result?.parts.map((part) => this.download(job, part)),
      (active || job.result) &&
        h(
          "button",
          {
            type: "button",
            disabled: job.cancel_requested && active,
            "aria-label": `${active ? "Cancel" : "Discard the result of"} job ${short}`,
            onclick: () => this.view.cancel(job.id),
          },
          active ? "Cancel" : "Discard",
        ),
    );
  }

  progress(job) {
    const { bar, text } = this,
      p = job.progress;
    bar.hidden = !["queued", "running"].includes(job.state);
    if (job.state === "queued") {
      bar.value = 0;
      text.textContent = "waits for a runner";
      return;
    }
    if (job.state === "running" && p) {
      const part = p.num_rows ? p.rows_done / p.num_rows : 0;
      bar.value = part;
      const left = p.seconds_left === null ? "" : `, ${duration(p.seconds_left)} left`;
      text.textContent = `${p.stage}: ${count(p.rows_done)} of ${count(p.num_rows)}${p.rows_per_s ? ` at ${compact(p.rows_per_s)}/s` : ""}${left}`;
      return;
    }
    const took =
      job.started && job.finished ? (new Date(job.finished) - new Date(job.started)) / 1e3 : null;
    text.textContent = took === null ? "" : `took ${duration(took)}`;
  }

  /** A file; where a key is needed it is fetched with it, else the browser streams it to disk. */
  download(job, part) {
    const several = job.result.parts.length > 1,
      name = several ? `Part ${part.part}` : "Download";
    const path = `/v1/jobs/${job.id}/result?part=${part.part}`,
      title = `${name} of job ${job.id.slice(0, 8)}, ${bytes(part.size_bytes)}`;
    if (!hasKey())
      return h("a", { class: "button", href: path, download: true, "aria-label": title }, name);
    return h(
      "button",
      {
        type: "button",
        "aria-label": title,
        onclick: async () => {
          try {
            const url = URL.createObjectURL(await get(path, { as: "blob" }));
            h("a", { href: url, download: `job-${job.id}-${part.part}.${job.format}` }).click();
            setTimeout(() => URL.revokeObjectURL(url), 10_000);
          } catch (error) {
            fill(this.view.trouble, failure(error));
          }
        },
      },
      name,
    );
  }
}
