"""The documentation is true: the site builds, commands parse, imports resolve, mistakes are told as it says."""

import ast
import dataclasses
import importlib
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from benchmarks.mistakes import MISTAKES, Mistake, see
from orchestrator.cli import app
from tests.smoke_line import PROJECT

PAGES = sorted([PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *(PROJECT / "docs").glob("*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(orchestrator [a-z][^`]*)`")


def commands(page: Path) -> Iterator[str]:
    """Every `orchestrator ...` of a page, comments and continuations taken away."""
    text = page.read_text()
    for language, block in FENCE.findall(text):
        if language in ("", "bash", "console"):
            for line in block.replace("\\\n", " ").splitlines():
                if line.strip().startswith("orchestrator "):
                    yield line.strip()
    yield from (" ".join(found.split()) for found in INLINE.findall(FENCE.sub("", text)))


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_every_documented_command_exists_with_its_options(page: Path) -> None:
    group, wrong = get_command(app), []
    for line in commands(page):
        words = [word for word in shlex.split(line, comments=True)[1:] if word != "..."]
        for name in () if words[0] == "--help" else words[0].split("|"):
            try:
                parsed = group.make_context("orchestrator", [name, *words[1:]], resilient_parsing=False)
                _, command, rest = group.resolve_command(parsed, [name, *words[1:]])
                known = {flag for option in command.params for flag in (*option.opts, *option.secondary_opts)}
                given = {word.partition("=")[0] for word in rest if re.match(r"--[a-z]", word)}
                if name not in ("submit", "store") and not given <= {*known, "--help"}:
                    wrong.append(f"{line}: {', '.join(sorted(given - known))}")
            except Exception as error:  # whatever the parser says of it
                wrong.append(f"{line}: {error}")
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_every_python_block_parses_and_imports_what_is_there(page: Path) -> None:
    for language, block in FENCE.findall(page.read_text()):
        if language != "python":
            continue
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("orchestrator"):
                module = importlib.import_module(node.module)
                assert [name.name for name in node.names if not hasattr(module, name.name)] == []


def test_the_python_page_shows_what_the_tested_notebook_runs() -> None:
    notebook = json.loads((PROJECT / "docs" / "examples" / "line.ipynb").read_text())
    run = {line.strip() for cell in notebook["cells"] for line in cell["source"]}
    (block,) = [block for language, block in FENCE.findall((PROJECT / "docs" / "python.md").read_text())
                if language == "python"]  # fmt: skip
    assert [line for line in block.splitlines() if line.strip() not in run and line.strip()] == []


def test_the_site_builds_without_a_warning_and_holds_the_reference(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="mkdocs-material is not installed: make setup")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=PROJECT, capture_output=True, text=True, check=False, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    losses = (tmp_path / "site" / "reference" / "experiment_losses.html").read_text()
    assert "losses.text_contrastive" in losses
    assert "start value when" in losses
    pages = [path.read_text() for path in (tmp_path / "site").rglob("*.html")]
    assert not any(re.search(r'(?:src|href)="https?://[^"]*\.(?:js|css|woff2?)"', page) for page in pages)


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_a_plausible_mistake_is_told_as_the_docs_say(
    mistake: Mistake, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seen = see(mistake, tmp_path)
    warned = tuple(record.getMessage() for record in caplog.records)  # pytest takes them from standard error
    seen = dataclasses.replace(seen, lines=(*seen.lines, *warned))
    assert seen.problems(mistake) == [], seen
    assert f"| {mistake.name} |" in (PROJECT / "docs" / "troubleshooting.md").read_text()
