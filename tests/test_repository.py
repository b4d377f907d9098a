"""The repository tests itself: what a reviewer would otherwise have to look for by hand."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import typer

from service.cli import app
from service.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("sampling", "gnn", "service")
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "joblib", "cloudpickle", "shelve", "marshal"}
UNSAFE_CALLS = {"torch.load", "eval", "exec", "np.load"}
COMMAND = typer.main.get_command(app)

name_of = {path: str(path.relative_to(ROOT)) for path in SOURCES}
every_source = pytest.mark.parametrize("path", SOURCES, ids=list(name_of.values()))


def commands() -> Iterator[tuple[str, object]]:
    """Every command by its words, as in ("synth rmat", command)."""
    for name, command in COMMAND.commands.items():
        inner = getattr(command, "commands", None)
        if inner is None:
            yield name, command
        else:
            yield from ((f"{name} {child}", leaf) for child, leaf in inner.items())


every_command = pytest.mark.parametrize(
    ("words", "command"), list(commands()), ids=[words for words, _ in commands()]
)


def imported(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    froms = {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    return names | froms


@every_source
def test_imports_point_inwards(path: Path):
    outer = {"sampling": {"gnn", "service"}, "gnn": {"service"}, "service": set()}
    roots = {name.split(".")[0] for name in imported(path)}
    assert not roots & outer[path.relative_to(ROOT).parts[0]]
    assert not roots & {"tests", "benchmarks"}


@every_source
def test_imports_are_absolute(path: Path):
    tree = ast.parse(path.read_text())
    assert not [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level]


@every_source
def test_exports_are_listed_and_sorted(path: Path):
    tree = ast.parse(path.read_text())
    exports = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"
    ]
    if path.name != "__init__.py" and defines_something(tree):
        assert exports, f"{name_of[path]} has no __all__"
    for names in exports:
        # as ruff sorts: constants first, then classes, then the rest
        assert names == sorted(names, key=lambda n: (not n.isupper(), not n[0].isupper(), n))


def defines_something(tree: ast.Module) -> bool:
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return any(isinstance(n, kinds) and not n.name.startswith("_") for n in tree.body)


@every_source
def test_a_file_opens_with_what_it_is(path: Path):
    text = path.read_text()
    if text.strip():
        assert ast.get_docstring(ast.parse(text)), f"{name_of[path]} has no opening paragraph"


@every_source
def test_no_code_is_loaded_from_data(path: Path):
    assert not {name.split(".")[0] for name in imported(path)} & UNSAFE_MODULES
    calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
    for call in calls:
        called = ast.unparse(call.func)
        allows = [k for k in call.keywords if k.arg == "allow_pickle"]
        assert all(ast.unparse(k.value) == "False" for k in allows), ast.unparse(call)
        assert called not in UNSAFE_CALLS - {"np.load"}, ast.unparse(call)


def test_only_the_bridges_and_the_benchmark_import_dgl():
    users = {name_of[p] for p in SOURCES if "dgl" in {n.split(".")[0] for n in imported(p)}}
    assert users <= {"gnn/bridges/dgl.py", "service/bench/dgl_peer.py"}


@pytest.mark.parametrize(
    ("statement", "unloaded"),
    [
        ("import gnn", ["dgl", "torch_geometric", "sklearn", "fastapi", "service"]),
        ("import sampling", ["gnn", "service", "dgl", "sklearn", "fastapi", "networkx"]),
        ("import service.cli", ["torch", "sampling", "gnn", "fastapi", "pyarrow", "numpy"]),
    ],
)
def test_an_import_loads_no_more_than_it_needs(statement: str, unloaded: list[str]):
    check = f"{statement}; import sys; print(*sorted({unloaded!r} & sys.modules.keys()))"
    check = check.replace(repr(unloaded), f"set({unloaded!r})")
    done = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.split() == []


@every_command
def test_every_command_has_help_an_example_and_common_options(words: str, command):
    options = {option for p in command.params for option in p.opts}
    assert {"--json", "--debug"} <= options
    assert command.epilog.startswith(f"Example: gnn {words}")
    assert command.help


BENCHES = [pair for pair in commands() if pair[0].startswith("bench ")]


@pytest.mark.parametrize(("words", "command"), BENCHES, ids=[words for words, _ in BENCHES])
def test_every_benchmark_takes_the_same_options(words: str, command):
    options = {option for p in command.params for option in p.opts}
    shared = {"nodes", "edges", "fanouts", "batch-size", "threads", "repeats", "seed"}
    assert {f"--{name}" for name in shared} <= options


@every_command
def test_every_command_and_option_is_documented(words: str, command):
    text = (ROOT / "docs/cli.md").read_text()
    assert f"## gnn {words}\n" in text
    section = text.split(f"## gnn {words}\n")[1].split("\n## ")[0]
    options = {o for p in command.params for o in p.opts if o.startswith("--")}
    common = {"--json", "--debug", "--help"}
    assert {o for o in options - common if f"`{o}" not in section} == set()


@every_command
def test_every_example_is_a_command_line_that_parses(
    words: str, command, tmp_path: Path, monkeypatch
):
    parse(command.epilog.removeprefix("Example: "))


def parse(line: str) -> None:
    """Parse one `gnn …` line without running it."""
    arguments = shlex.split(line)[1:]
    context = COMMAND.make_context("gnn", [], resilient_parsing=True)
    command = COMMAND
    while arguments and getattr(command, "commands", None):
        command = command.commands[arguments.pop(0)]
    if "--help" not in arguments:
        files = [a for before, a in pairwise(arguments) if before == "--config"]
        arguments = [a for a in arguments if a not in ("--config", *files)]
        command.make_context(command.name, arguments, parent=context)


def documented_lines() -> list[str]:
    """Every `gnn …` line inside a code block of the documents."""
    lines = []
    for path in DOCUMENTS:
        for block in re.findall(r"```(?:bash|sh)?\n(.*?)```", path.read_text(), re.DOTALL):
            joined = block.replace("\\\n", " ")
            lines += [line.split("  #")[0] for line in joined.splitlines()
                      if line.startswith("gnn ") and "…" not in line]  # fmt: skip
    return sorted(set(lines))


@pytest.mark.parametrize("line", documented_lines())
def test_every_documented_command_line_parses(line: str):
    parse(line)


def test_the_readme_names_targets_that_the_makefile_has():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = "".join(path.read_text() for path in DOCUMENTS)
    named = set(re.findall(r"\bmake ([a-z-]+)`", text)) | set(
        re.findall(r"^make ([a-z-]+)", text, re.MULTILINE)
    )
    assert named
    assert named <= targets


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_documented(name: str):
    assert f"GNN_{name.upper()}" in (ROOT / "docs/settings.md").read_text()


@pytest.mark.parametrize("path", DOCUMENTS, ids=[str(p.relative_to(ROOT)) for p in DOCUMENTS])
def test_links_between_documents_lead_somewhere(path: Path):
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text())
    assert [t for t in targets if not (path.parent / t).exists()] == []


def test_the_license_is_apache_2():
    assert "Apache License" in (ROOT / "LICENSE").read_text()[:200]
