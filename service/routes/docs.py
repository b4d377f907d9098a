"""The interactive documentation: one page, made from the OpenAPI document, that loads nothing.

FastAPI's own pages fetch Swagger UI from a content delivery network; this one works where there
is no network, and its policy forbids everything but its own style and script.
"""

from __future__ import annotations

import base64
import hashlib
import json
from html import escape
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import Response

from service.access import needs
from service.errors import PROBLEMS

__all__ = ["add_routes"]

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
code,pre,textarea,input{font:14px/1.4 ui-monospace,monospace}
details{border:1px solid #8886;border-radius:6px;margin:.6rem 0;padding:.4rem .8rem}
summary{cursor:pointer} .m{font-weight:700;display:inline-block;width:4rem}
textarea{width:100%;box-sizing:border-box} pre{overflow:auto;background:#8881;padding:.6rem}
table{border-collapse:collapse} td,th{padding:.2rem .8rem .2rem 0;text-align:left}
:root{color-scheme:light dark}
"""

SCRIPT = """
for (const form of document.querySelectorAll("form")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const out = form.querySelector("output");
    let path = form.dataset.path;
    const query = new URLSearchParams();
    for (const field of form.querySelectorAll("input")) {
      if (field.dataset.in === "path")
        path = path.replace(`{${field.name}}`, encodeURIComponent(field.value));
      else if (field.value !== "") query.set(field.name, field.value);
    }
    if (query.size) path += "?" + query;
    const body = form.querySelector("textarea");
    const headers = body ? {"content-type": "application/json"} : {};
    const started = performance.now();
    const answer = await fetch(path, {method: form.dataset.method, headers, body: body?.value});
    const text = await answer.text();
    const took = (performance.now() - started).toFixed(1);
    let shown = text;
    try { shown = JSON.stringify(JSON.parse(text), null, 1); } catch {}
    out.textContent = `${answer.status} in ${took} ms\\n${shown.slice(0, 100000)}`;
  });
}
"""


def add_routes(app: FastAPI) -> None:
    """`/docs`."""

    @app.get("/docs", include_in_schema=False)
    @needs(None)
    async def docs(request: Request) -> Response:
        page = _page(request.app.openapi())
        policy = (
            f"default-src 'none'; connect-src 'self'; style-src {_digest(STYLE)}; "
            f"script-src {_digest(SCRIPT)}; base-uri 'none'; form-action 'none'"
        )
        headers = {"content-security-policy": policy}
        return Response(page, media_type="text/html", headers=headers)


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _page(document: dict[str, Any]) -> str:
    schemas = document["components"]["schemas"]
    operations = [
        _operation(path, method, operation, schemas)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    title = escape(document["info"]["title"])
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>"
        f"<style>{STYLE}</style><h1>{title} {escape(document['info']['version'])}</h1>"
        f"<p>{escape(document['info'].get('summary', ''))} <a href=/>The console.</a> "
        "The same as a document for programs: <a href=/openapi.json>openapi.json</a>.</p>"
        f"{''.join(operations)}<h2>Errors</h2>{_problem_table()}"
        f"<script>{SCRIPT}</script></html>"
    )


def _operation(path: str, method: str, operation: dict[str, Any], schemas: dict[str, Any]) -> str:
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    fields = "".join(
        f"<label>{escape(p['name'])} <input name={escape(p['name'])} data-in={p['in']}></label> "
        for p in operation.get("parameters", [])
        if p["in"] != "header"
    )
    schema = ""
    if body:
        model = schemas[body["schema"]["$ref"].rpartition("/")[2]]
        fields += f"<textarea rows=6>{escape(json.dumps(_example(model)))}</textarea>"
        schema = f"<pre>{escape(json.dumps(model.get('properties', {}), indent=1))}</pre>"
    statuses = ", ".join(operation.get("responses", {}))
    return (
        f"<details><summary><span class=m>{method.upper()}</span> <code>{escape(path)}</code> "
        f"{escape(operation.get('description', ''))}</summary>"
        f"<p>Statuses: {statuses}</p>{schema}"
        f'<form data-path="{escape(path)}" data-method={method.upper()}>{fields}'
        "<button>Send</button><pre><output></output></pre></form></details>"
    )


def _example(model: dict[str, Any]) -> dict[str, Any]:
    fields = model.get("properties", {})
    given = {name: f["default"] for name, f in fields.items() if f.get("default") is not None}
    return given | ({"nodes": [0]} if "nodes" in fields else {})


def _problem_table() -> str:
    rows = sorted({(p.code, p.status, p.title) for p in PROBLEMS.values()})
    cells = "".join(
        f'<tr id="problem-{code}"><td><code>{code}</code><td>{status}<td>{escape(title)}'
        for code, status, title in rows
    )
    return f"<table><tr><th>code<th>status<th>meaning{cells}</table>"
