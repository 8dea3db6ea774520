"""How soon a page of ours is there: first paint within 1 s, every figure within 3 s, at most 15 MB.

Opens pages in chromium (CHROMIUM, else the one on PATH), each time in a fresh context without caches, and prints
medians and greatest values over the repeats. A figure that lies below the screen is drawn when it comes near, so the
time of all figures is that of a reader who jumps from one to the next at once. Other work on the machine lengthens the
times: its load is told beside them.

    python -m benchmarks.report_page runs/demo/report/report.html runs/demo/sweeps/demo/sweep.html

Without a page, the smoke experiment is run for some.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

FIRST_PAINT_S, FIGURES_S, MOST_MB = 1.0, 3.0, 15.0
PROJECT = Path(__file__).resolve().parent.parent
PATIENCE_MS = 120_000


def find_chromium() -> str | None:
    """Where it is: CHROMIUM, else on PATH."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Chromium without a display; root may not use its sandbox."""
    found = find_chromium()
    if found is None:
        raise SystemExit("no chromium: apt-get install chromium, or name one in CHROMIUM")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        yield browser
        browser.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        pages = arguments.pages or _made(Path(folder))
        print(f"load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; median (greatest) of "
              f"{arguments.repeats}")  # fmt: skip
        for page in pages:
            taken = [_open(browser, page) for _ in range(arguments.repeats + 1)][1:]  # the first warms the browser
            paints, figures = [paint for paint, _, _ in taken], [drawn for _, drawn, _ in taken]
            size = page.stat().st_size / 1e6
            kept = (
                statistics.median(paints) <= FIRST_PAINT_S
                and statistics.median(figures) <= FIGURES_S
                and size <= MOST_MB
            )
            print(
                f"{page.name:<24} first paint {statistics.median(paints):5.2f} s ({max(paints):.2f}), "
                f"{taken[0][2]} figures {statistics.median(figures):5.2f} s ({max(figures):.2f}), {size:5.1f} MB: "
                f"{'within' if kept else 'ABOVE'} {FIRST_PAINT_S:g} s, {FIGURES_S:g} s, {MOST_MB:g} MB"
            )


def _open(browser: Browser, file: Path) -> tuple[float, float, int]:
    """(seconds to the first paint with content, seconds to the last figure, figures)."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    started = time.perf_counter()
    page.goto(file.resolve().as_uri(), wait_until="commit")
    page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length > 0")
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime") / 1000
    page.wait_for_load_state()
    shown = page.evaluate(
        "[...document.querySelectorAll('[data-figure]')]"
        ".map((one, index) => one.closest('details:not([open])') ? -1 : index)"
    )
    number = 0  # of figures, but for those in folded parts, which are drawn when they are opened
    for index in (index for index in shown if index >= 0):
        number += 1
        page.evaluate("index => document.querySelectorAll('[data-figure]')[index].scrollIntoView()", index)
        page.wait_for_function(
            "index => document.querySelectorAll('[data-figure]')[index].querySelector('.main-svg')", arg=index
        )
    drawn = time.perf_counter() - started
    context.close()
    return paint, drawn, number


def _made(root: Path) -> list[Path]:
    command = [sys.executable, "-m", "jobs.run", "jobs/experiments/smoke.yaml", "--execution",
               "jobs/executions/in_process.yaml", "--set", f"storage_root={root}", "--quiet"]  # fmt: skip
    subprocess.run(command, cwd=PROJECT, check=True, stdout=subprocess.DEVNULL)
    return [root / "smoke" / "report" / "report.html", root / "smoke" / "sweeps" / "smoke" / "sweep.html"]


if __name__ == "__main__":
    main()
