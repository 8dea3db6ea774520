"""A real browser, and pages that were really made: the smoke experiment's report, sweep and comparison, and its MLflow.

The browser is Debian's chromium (CHROMIUM names another), one for all tests of a file; so are the pages. Both end with
the file: while playwright is open, its event loop counts as running in the test's thread.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route

from benchmarks.report_page import chromium, find_chromium
from orchestrator.config.execution import Execution
from orchestrator.config.load import load_experiment, with_overrides
from orchestrator.executors.in_process import InProcessExecutor
from orchestrator.stages import line
from orchestrator.stages.command import tracked
from orchestrator.stages.compare_command import run_compare
from orchestrator.stages.context import Context
from orchestrator.stages.feedback import Feedback
from orchestrator.stages.sweep_answers import PAGE
from orchestrator.tracking import NullTracker
from tests.smoke_line import SMOKE

PATIENCE_MS = 120_000
LOCAL = ("file:", "data:", "blob:")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium without a display."""
    if find_chromium() is None:
        pytest.skip("no chromium: apt-get install chromium, or name one in CHROMIUM")
    with chromium() as opened:
        yield opened


@dataclass(frozen=True)
class Made:
    """The storage root of a finished experiment, and its pages by name."""

    root: Path
    pages: dict[str, Path]

    @property
    def uri(self) -> str:
        """Its MLflow store."""
        return f"sqlite:///{self.root / 'mlflow.db'}"


@pytest.fixture(scope="module")
def made(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The smoke experiment with twelve classes, run in this process with tracking, where there is a browser for it."""
    root = tmp_path_factory.mktemp("pages")
    experiment = with_overrides(load_experiment(SMOKE), {"dataset.num_classes": 12}, "test")
    execution = Execution(name="test", engine="in_process", storage_root=str(root))
    context = Context(experiment, execution, NullTracker(), Feedback(quiet=True), InProcessExecutor)
    with tracked(context) as context:
        plans = line.run(context, "report")
    pages = {
        "report": plans["report"].folder / "report.html",
        "sweep": plans["sweep"].folder / PAGE,
        "comparison": run_compare(["smoke/baseline", "smoke/distilled"], root, None, 0.95).page,
    }
    return Made(root, pages)


@dataclass
class Watched:
    """An open page, with what it complained of and what it asked of a network (which it did not get)."""

    page: Page
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture
def watched(browser: Browser) -> Iterator[Callable[..., Watched]]:
    """`watched(address, allowed=(), **options of a browser's context)` opens a page; requests elsewhere are stopped."""
    contexts = []

    def opened(address: str, allowed: tuple[str, ...] = (), **options: Any) -> Watched:
        context = browser.new_context(**options)
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        made = Watched(context.new_page())

        def judge(route: Route) -> None:
            if route.request.url.startswith(LOCAL + allowed):
                route.continue_()
            else:
                made.requests.append(route.request.url)
                route.abort()

        context.route("**/*", judge)
        made.page.on("console", lambda told: made.errors.append(told.text) if told.type == "error" else None)
        made.page.on("pageerror", lambda error: made.errors.append(str(error)))
        made.page.goto(address)
        return made

    yield opened
    for context in contexts:
        context.close()
