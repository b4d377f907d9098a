"""The console in a real Chromium, against a real server that asks for keys."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

sys.path.insert(0, str(Path(__file__).parent.parent / "service"))
from world import DIM, World, add_model, running

from gnn import embed, load_model
from sampling import Dataset, Graph, GraphStore, NodeIds
from sampling.graph.ids import encode_strings
from service.keys import new_key

NUM_NODES = 9000
MARKUP, SCRIPT = '<img src=x onerror="window.ran=1">', "<script>window.ran=1</script>"
HOSTILE = [MARKUP, SCRIPT, "a/b?c#d&e", "javascript:window.ran=1", "\u202e'; window.ran=1; '"]
CLASSES = [SCRIPT, f"ok {MARKUP}", "unsure"]
VIEWS = ["overview", "nodes", "nodes/n7", "map", "jobs", "models"]
TIMEOUT_MS = 90_000
CHROMIUM = ["--no-sandbox"] if os.geteuid() == 0 else []


def hostile_world(root: Path) -> World:
    """Names of nodes, classes and the graph are code."""
    rng = np.random.default_rng(0)
    data = Dataset.in_memory(
        Graph.from_edges(*rng.integers(0, NUM_NODES, (2, 8 * NUM_NODES)), num_nodes=NUM_NODES),
        features=rng.standard_normal((NUM_NODES, DIM)).astype(np.float32),
        labels=rng.integers(-1, len(CLASSES), NUM_NODES),
        classes=list(CLASSES),
        ids=NodeIds.from_strings(
            *encode_strings([*HOSTILE, *(f"n{i}" for i in range(len(HOSTILE), NUM_NODES))])
        ),
        name=f"graph {MARKUP}",
    )
    GraphStore.write(root / "graph", data)
    data, models = GraphStore.open(root / "graph"), root / "models"
    add_model(models / "default", data, seed=1)
    add_model(models / "links", data, seed=2, task="link-prediction", decoder="dot", head="none",
              d_out=16)  # fmt: skip
    saved = load_model(models / "default")
    for _ in embed(saved, data, root / "embeddings", predictions=True, make_map=True):
        pass
    return World(root / "graph", models, root / "embeddings", data)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return hostile_world(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def server(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    secret, line = new_key("console", ["read", "predict"])
    keys = tmp_path_factory.mktemp("keys") / "keys.txt"
    keys.write_text(line)
    settings = world.settings(embeddings=world.embeddings, api_keys_file=keys, job_tile_rows=1,
                              job_lease_s=1.0, request_timeout_ms=60_000)  # fmt: skip
    with running(settings) as client:
        client.headers["X-API-Key"] = secret
        yield client


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium")
    assert program, "the program chromium is missing; install the package of that name"
    expect.set_options(timeout=TIMEOUT_MS)
    arguments = [*CHROMIUM, "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, server: httpx.Client) -> Iterator[Page]:
    """A tab with the key; it may not fail, run what was sent as a name, or leave the server."""
    with_key = f"sessionStorage.setItem('gnn-api-key', {server.headers['X-API-Key']!r})"
    with watched(browser, server) as page:
        page.add_init_script(with_key)
        yield page


class watched:  # noqa: N801 - reads as what it does
    """A tab that is closed at the end, when nothing may have gone wrong in it."""

    def __init__(self, browser: Browser, server: httpx.Client, **options: Any) -> None:
        self.server, self.complaints, self.requests = server, list[str](), list[str]()
        options = {"viewport": {"width": 1280, "height": 900}, **options}
        self.context = browser.new_context(base_url=str(server.base_url), **options)

    def __enter__(self) -> Page:
        self.page = page = self.context.new_page()
        page.set_default_timeout(TIMEOUT_MS)
        page.on("console", lambda m: self.complaints.append(f"{m.type}: {m.text}"))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        page.on("request", lambda request: self.requests.append(request.url))
        return page

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        try:
            if kind is None:
                assert self.page.evaluate("window.ran") is None
                assert self.complaints == []
                outside = [url for url in self.requests if self._is_outside(url)]
                assert outside == []
        finally:
            self.context.close()

    def _is_outside(self, url: str) -> bool:
        return not url.startswith((str(self.server.base_url), "data:", "blob:"))


def opened(page: Page, view: str) -> Page:
    page.goto(f"/#/{view}")
    expect(page.locator("main h1")).to_be_visible()
    return page


def get(server: httpx.Client, path: str, **params: Any) -> Any:
    response = server.get(path, params=params)
    assert response.status_code == 200, response.text
    return response.json()


def post(server: httpx.Client, path: str, **body: Any) -> Any:
    response = server.post(path, json=body)
    assert response.status_code in (200, 202), response.text
    return response.json()


def prediction(server: httpx.Client, node: str, **body: Any) -> Any:
    return post(server, "/v1/nodes/predict", nodes=[node], **body)["predictions"][0]


def percent(score: float) -> str:
    return f"{100 * score:.1f} %"


# --- files -------------------------------------------------------------------------------------


def test_files_are_open_and_come_with_a_policy_and_a_tag(server: httpx.Client):
    linked = ["style.css", "main.js", "theme.js", "icon.svg"]
    with httpx.Client(base_url=server.base_url) as anyone:
        start = anyone.get("/")
        assert start.headers["content-type"] == "text/html; charset=utf-8"
        assert all(f'"/page/{name}"' in start.text for name in linked)
        for response in [start, *(anyone.get(f"/page/{name}") for name in linked)]:
            assert response.status_code == 200
            policy = response.headers["content-security-policy"].split("; ")
            assert {"default-src 'none'", "script-src 'self'", "style-src 'self'"} <= set(policy)
            assert "unsafe" not in " ".join(policy)
            assert response.headers["cache-control"] == "no-cache"
            tag = {"if-none-match": response.headers["etag"]}
            again = anyone.get(response.url, headers=tag)
            assert (again.status_code, again.content) == (304, b"")
        assert anyone.get("/v1/graph").status_code == 401
    assert server.get("/v1/graph").headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "name", ["", "..%2fapp.py", "%2e%2e/app.py", "%2fetc/passwd", "style.css%00", "style.css/", "x"]
)
def test_nothing_but_the_files_is_served(server: httpx.Client, name: str):
    response = server.get(f"/page/{name}")
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"


# --- keys --------------------------------------------------------------------------------------


def test_a_key_is_asked_for_and_kept_in_this_tab_alone(browser: Browser, server: httpx.Client):
    with watched(browser, server) as page:
        page.goto("/")
        dialog = page.get_by_role("dialog", name="This service asks for a key")
        expect(dialog).to_be_visible()
        expect(page.get_by_label("API key")).to_be_focused()
        page.keyboard.type(server.headers["X-API-Key"])
        page.keyboard.press("Enter")
        expect(page.locator("#counts")).to_contain_text(f"{NUM_NODES:,}")
        expect(dialog).to_be_hidden()
        assert page.evaluate("localStorage.length") == 0
        assert page.evaluate("document.cookie") == ""
        page.get_by_role("button", name="Forget key").click()
        expect(dialog).to_be_visible()


# --- views -------------------------------------------------------------------------------------


def test_the_overview_shows_counts_and_requests_as_they_happen(page: Page, server: httpx.Client):
    graph = get(server, "/v1/graph")
    opened(page, "overview")
    expect(page.locator("main h1")).to_have_text(graph["name"])
    counts = page.locator("#counts")
    for name in ("num_nodes", "num_edges"):
        expect(counts).to_contain_text(f"{graph[name]:,}")
    before = stage_count(server)
    for seed in range(3):
        prediction(server, "n9", mode="sampled", seed=seed)
    assert stage_count(server) == before + 3
    expect(page.locator("#endpoints")).to_contain_text("/v1/nodes/predict")
    expect(page.locator("#stages .stage-compute td").nth(1)).to_contain_text("ms")
    expect(page.locator("#requests .line")).to_have_attribute("d", re.compile("^M.*L"))


def stage_count(server: httpx.Client) -> int:
    stages = get(server, "/v1/stats")["stages"]
    return sum(stage["count"] for stage in stages if stage["stage"] == "compute")


def test_a_search_by_keyboard_shows_what_rest_answers(page: Page, server: httpx.Client):
    opened(page, "overview")
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the content")).to_be_focused()
    reach(page, "a[href='#/nodes']")
    page.keyboard.press("Enter")
    expect(page.locator("main h1")).to_have_text("Nodes")
    reach(page, "#node-id")
    page.keyboard.type("n42")
    page.keyboard.press("Enter")
    answer = prediction(server, "n42")
    found = page.locator("#prediction")
    expect(found.locator(".big")).to_have_text(answer["label"])
    expect(found).to_contain_text(percent(answer["score"]))
    shares = found.locator(".bars .number").all_inner_texts()
    wanted = sorted(answer["probabilities"].values(), reverse=True)
    assert shares == [percent(p) for p in wanted]
    expect(page.locator("#announce")).to_have_text(f"Node n42: predicted {answer['label']}")
    similar = post(server, "/v1/nodes/similar", node="n42")["neighbors"]
    rows = page.locator("#similar tbody tr")
    expect(rows).to_have_count(len(similar))
    assert rows.locator("a").all_inner_texts() == [entry["node"] for entry in similar]


def reach(page: Page, selector: str) -> None:
    """Go there with the tab key."""
    for _ in range(30):
        if page.evaluate(f'document.activeElement.matches("{selector}")'):
            return
        page.keyboard.press("Tab")
    pytest.fail(f"{selector} was not reached")


def test_an_unknown_node_is_told_in_a_sentence(page: Page):
    opened(page, "nodes/nobody")
    expect(page.locator("main")).to_contain_text("There is no node nobody in this graph.")


def test_the_neighborhood_lists_and_draws_the_edges_that_are_drawn(
    page: Page, server: httpx.Client
):
    opened(page, "nodes/n7")
    for seed in (0, 5):
        wanted = get(server, "/v1/graph/nodes/n7/neighborhood", seed=seed)
        assert len(wanted["edges"]) == wanted["num_edges"] > 3
        if seed:
            page.get_by_label("Seed of the draw").fill(str(seed))
            page.keyboard.press("Enter")
        expect(page.locator(f".ego[aria-label*='{len(wanted['nodes'])} nodes']")).to_be_visible()
        page.get_by_text("The same as a list").click()
        rows = page.locator("#edge-list tbody tr")
        expect(rows).to_have_count(len(wanted["edges"]))
        expect(rows.last.locator("td").nth(3)).not_to_have_text("–")
        listed = [tuple(row.split("\t")[:3]) for row in rows.all_inner_texts()]
        edges = [(e["source"], e["target"], str(e["layer"])) for e in wanted["edges"]]
        assert listed == edges
        labels = post(server, "/v1/nodes/predict", nodes=[e[0] for e in edges])["predictions"]
        shown = [row.split("\t")[3].strip() for row in rows.all_inner_texts()]
        assert shown == [entry["label"] for entry in labels]
        assert page.locator(".ego circle.node").count() == len(wanted["nodes"])


def test_what_if_an_edge_were_gone(page: Page, server: httpx.Client):
    opened(page, "nodes/n7")
    page.get_by_text("What if its edges were others?").click()
    box = page.locator("#what-if input[type=checkbox]").first
    source = page.locator("#what-if label.check").first.inner_text().strip()
    box.uncheck()
    page.get_by_label("Add an edge from").fill("n50")
    page.get_by_role("button", name="Add", exact=True).click()
    page.get_by_role("button", name="Predict with these edges").click()
    overlay = {"remove_edges": [[source, "n7"]], "add_edges": [["n50", "n7"]]}
    after = prediction(server, "n7", mode="exact", overlay=overlay)
    before = prediction(server, "n7", mode="exact")
    delta = page.locator("#what-if .delta")
    expect(delta).to_contain_text(percent(after["score"]))
    expect(delta).to_contain_text(percent(before["score"]))
    assert page.locator(".ego .edge.removed").count() == 1
    assert page.locator(".ego .edge.added").count() == 1


def test_the_score_of_a_pair(page: Page, server: httpx.Client):
    opened(page, "nodes")
    page.locator("#pair-from").fill("n11")
    page.locator("#pair-to").fill("n12")
    page.get_by_role("button", name="Score").click()
    [wanted] = post(server, "/v1/links/predict", pairs=[["n11", "n12"]], model="links")["scores"]
    expect(page.locator("#pair")).to_contain_text(f"logit {wanted['logit']:.3f}")


def test_the_map_draws_every_node_and_says_who_a_point_is(page: Page, server: httpx.Client):
    opened(page, "map")
    canvas = page.locator("canvas")
    expect(canvas).to_have_attribute("data-drawn", str(NUM_NODES))
    inked = page.evaluate(INKED)
    assert inked["pixels"] > 500
    assert inked["colors"] >= 2
    page.locator("#map-find").fill("n77")
    page.keyboard.press("Enter")
    expect(page.locator("#map-node .big")).to_have_text("n77")
    [point] = get(server, "/v1/models/default/map/nodes", node="n77")["points"]
    assert point["label"] == prediction(server, "n77")["label"]
    expect(page.locator("#map-node")).to_contain_text(f"predicted {point['label']}")
    page.locator("#map-find").fill("n78")
    page.keyboard.press("Enter")
    expect(page.locator("#map-node .big")).to_have_text("n78")
    canvas.focus()
    page.keyboard.press("Enter")
    [other] = get(server, "/v1/models/default/map/nodes", node="n78")["points"]
    nearest = page.locator("#map-node .big").inner_text()
    [found] = get(server, "/v1/models/default/map/nodes", node=nearest)["points"]
    assert np.hypot(found["x"] - other["x"], found["y"] - other["y"]) < 0.02
    for button in page.locator("#map-legend button").all():
        button.click()
    assert page.evaluate(INKED)["pixels"] == 0


INKED = """() => {
  const canvas = document.querySelector("canvas"), gl = canvas.getContext("webgl2");
  gl.clear(gl.COLOR_BUFFER_BIT);
  gl.drawArrays(gl.POINTS, 0, Number(canvas.dataset.drawn));
  const seen = new Uint8Array(4 * canvas.width * canvas.height);
  gl.readPixels(0, 0, canvas.width, canvas.height, gl.RGBA, gl.UNSIGNED_BYTE, seen);
  let pixels = 0;
  const colors = new Set();
  for (let i = 0; i < seen.length; i += 4) if (seen[i + 3] > 180) {
    pixels += 1;
    colors.add([seen[i] >> 5, seen[i + 1] >> 5, seen[i + 2] >> 5].join());
  }
  return {pixels, colors: colors.size};
}"""


def test_map_points_are_what_the_table_holds(world: World, server: httpx.Client):
    about = get(server, "/v1/models/default/map")
    content = server.get("/v1/models/default/map/points").content
    assert (about["num_points"], about["kind"], about["stored"]) == (NUM_NODES, "class", True)
    assert len(content) == 10 * NUM_NODES
    places = np.frombuffer(content, "<f4", 2 * NUM_NODES).reshape(-1, 2)
    assert np.array_equal(places, np.load(world.embeddings / "map.npy"))
    codes = np.frombuffer(content, "<u2", offset=8 * NUM_NODES)
    best = np.load(world.embeddings / "predictions.npy").argmax(axis=1)
    assert np.array_equal(codes, best)
    assert about["counts"] == np.bincount(best, minlength=len(CLASSES)).tolist()
    found = get(server, "/v1/models/default/map/nodes", point=[3, 17])["points"]
    assert [entry["node"] for entry in found] == [HOSTILE[3], "n17"]
    for params in ({}, {"point": [NUM_NODES]}, {"point": [1], "node": "n7"}):
        response = server.get("/v1/models/default/map/nodes", params=params)
        assert response.status_code == 422, response.text
    response = server.get("/v1/models/links/map")
    assert (response.status_code, response.json()["code"]) == (409, "no_table")


def test_a_job_is_started_seen_at_work_canceled_and_another_read(page: Page, server: httpx.Client):
    opened(page, "jobs")
    page.get_by_role("button", name="Start the job").click()
    slow = page.locator("tr[data-job]").first
    expect(slow.locator(".progress-cell")).to_contain_text(f"of {NUM_NODES:,} at")
    assert slow.locator("progress").evaluate("bar => bar.value") > 0
    slow.get_by_role("button", name="Cancel").click()
    expect(slow).to_have_attribute("data-state", "canceled")
    number = slow.get_attribute("data-job")
    expect(page.locator("#announce")).to_have_text(f"Job {number[:8]} was canceled")
    assert get(server, f"/v1/jobs/{number}")["state"] == "canceled"

    page.get_by_label("What").select_option("predict")
    page.locator("#job-nodes").fill(f"{MARKUP}\nn8")
    page.get_by_role("button", name="Start the job").click()
    quick = page.locator(f"tr[data-job]:not([data-job='{number}'])")
    expect(quick).to_have_attribute("data-state", "done")
    with page.expect_download() as download:
        quick.get_by_role("button", name="Download").click()
    job = get(server, f"/v1/jobs/{quick.get_attribute('data-job')}")
    assert job["num_nodes"] == 2
    content = server.get(f"/v1/jobs/{job['id']}/result").content
    assert Path(download.value.path()).read_bytes() == content
    quick.get_by_role("button", name="Discard").click()
    expect(quick).to_contain_text("discarded")


def test_models_are_shown_with_metrics_and_card(page: Page, server: httpx.Client):
    model = get(server, "/v1/models/links")
    opened(page, "models/links")
    expect(page.locator("#model")).to_contain_text("link-prediction")
    expect(page.locator("#metrics")).to_contain_text(
        f"{100 * model['metrics']['test']['accuracy']:.2f} %"
    )
    expect(page.locator("#card h3").first).to_have_text(model["card"].splitlines()[0][2:])


# --- for everyone ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HOSTILE)
def test_names_with_code_are_text(page: Page, server: httpx.Client, name: str):
    opened(page, f"nodes/{quote(name, safe='')}")
    answer = prediction(server, name)
    expect(page.locator("#prediction .big")).to_have_text(answer["label"])
    expect(page.locator("#about code")).to_have_text(name)
    expect(page.locator(".ego text.center")).to_be_visible()
    expect(page.locator("#similar tbody tr").first).to_be_visible()
    page.goto(f"/#/map/{quote(name, safe='')}")
    expect(page.locator("#map-node .big")).to_have_text(name)


@pytest.mark.parametrize("width", [360, 2560])
def test_every_view_fits_and_names_its_controls(browser: Browser, server: httpx.Client, width: int):
    key = f"sessionStorage.setItem('gnn-api-key', {server.headers['X-API-Key']!r})"
    with watched(browser, server, viewport={"width": width, "height": 800}) as page:
        page.add_init_script(key)
        for view in VIEWS:
            opened(page, view)
            expect(page.locator("[aria-busy]")).to_have_count(0)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, view
            assert page.evaluate(NAMELESS) == [], view
            for role in ("main", "navigation", "banner"):
                assert page.get_by_role(role).first.is_visible()


NAMELESS = """() => [...document.querySelectorAll(
    "a, button, input, select, textarea, canvas, [role=img]")]
  .filter((e) => e.offsetParent !== null || e.ownerSVGElement === null)
  .filter((e) => !(e.labels?.length || e.getAttribute("aria-label") || e.textContent.trim()))
  .map((e) => e.outerHTML)"""


def test_dark_and_light_follow_the_system_and_the_choice_and_can_be_read(
    browser: Browser, server: httpx.Client
):
    key = f"sessionStorage.setItem('gnn-api-key', {server.headers['X-API-Key']!r})"
    with watched(browser, server, color_scheme="dark") as page:
        page.add_init_script(key)
        opened(page, "overview")
        assert luminance(page, "background-color", "body", "html") < 0.05
        button = page.get_by_role("button", name="Color theme")
        for theme, is_dark in (("light", False), ("dark", True)):
            button.click()
            expect(button).to_have_text(f"Theme: {theme}")
            assert (luminance(page, "background-color", "body", "html") < 0.05) == is_dark
            for selector in ("h1", ".view-head p", ".strip dt", "#nav a", "th", ".chart text"):
                kind = "fill" if "text" in selector else "color"
                assert contrast(page, kind, selector) >= 4.5, (theme, selector)
        page.reload()
        expect(page.locator("html")).to_have_attribute("data-theme", "dark")
        button.click()
        expect(button).to_have_text("Theme: system")


COLOR = """([kind, selector]) => {
  const found = document.querySelector(selector);
  const pen = document.createElement("canvas").getContext("2d");
  pen.fillStyle = getComputedStyle(found).getPropertyValue(kind);
  pen.fillRect(0, 0, 1, 1);
  return [...pen.getImageData(0, 0, 1, 1).data];
}"""


def luminance(page: Page, kind: str, *selectors: str) -> float:
    """Relative luminance (WCAG 2.2) of the first of these elements that is not transparent."""
    for selector in selectors:
        red, green, blue, alpha = page.evaluate(COLOR, [kind, selector])
        if alpha:
            parts = [v / 255 for v in (red, green, blue)]
            linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
            return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))
    pytest.fail("all are transparent")


def contrast(page: Page, kind: str, selector: str) -> float:
    behind = "html" if selector in ("h1", ".view-head p") else ".panel"
    text, ground = luminance(page, kind, selector), luminance(page, "background-color", behind)
    light, dark = max(text, ground), min(text, ground)
    return (light + 0.05) / (dark + 0.05)
