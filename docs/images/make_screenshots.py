"""The pictures of README and docs, made in a real browser of a finished experiment: its pages, and MLflow beside them.

    python docs/images/make_screenshots.py STORAGE_ROOT EXPERIMENT      # for example: runs demo

Writes beside this file, each below 150 kB: `report.png`, `report_dark.png`, `report_phone.png`, `sweep.png`,
`mlflow_trials.png` (as `orchestrator ui --table` opens it) and `mlflow_compare.png` (all of these trials, compared).
Needs chromium (Debian: apt-get install chromium) and playwright; fetches no browser. Ends with an error where MLflow
shows not as many trials as the store holds.
"""

import io
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from orchestrator.tracking.mlflow_store import open_client
from orchestrator.tracking.ui import find_experiment, served, view_of

PATIENCE_MS, MOST_BYTES = 300_000, 150_000
DESKTOP, PHONE = {"width": 1100, "height": 1250}, {"width": 390, "height": 800}
FOLDER = Path(__file__).parent


def main(root: Path, experiment: str) -> None:
    """Make every picture."""
    uri = f"sqlite:///{(root / 'mlflow.db').resolve()}"
    report = root / experiment / "report" / "report.html"
    with sync_playwright() as driver:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        with _page(browser, report.resolve().as_uri(), viewport=DESKTOP) as page:
            _ours(page, "report.png")
            page.emulate_media(color_scheme="dark")
            _ours(page, "report_dark.png")
        with _page(browser, report.resolve().as_uri(), viewport=PHONE, device_scale_factor=2, is_mobile=True) as page:
            _ours(page, "report_phone.png")
        for sweep in sorted((root / experiment / "sweeps").glob("*/sweep.html")):
            with _page(browser, sweep.resolve().as_uri(), viewport=DESKTOP) as page:
                page.locator("#trials").evaluate("section => section.scrollIntoView()")
                _ours(page, "sweep.png")
        _mlflow(browser, uri, experiment)
        browser.close()


def _mlflow(browser: Browser, uri: str, experiment: str) -> None:
    number, name, has_trials = find_experiment(uri, experiment)
    view = view_of("trial", None, "", has_trials=has_trials, charts=False)
    wanted = len(open_client(uri).search_runs([number], view.filter))
    with (
        served(uri, "127.0.0.1", 5600) as server,
        _page(browser, view.address(server, number), viewport={"width": 1500, "height": 800}) as page,
    ):
        rows = page.locator(".ag-center-cols-container [role=row]")
        page.get_by_text("matching runs").wait_for()
        rows.nth(wanted - 1).wait_for()
        _without_assistant(page)
        _keep(page, "mlflow_trials.png")
        shown = rows.count()
        page.locator(".ag-header-select-all input").first.check()
        page.get_by_test_id("runs-compare-button").click()
        page.locator(".parcoords").first.wait_for()
        page.wait_for_timeout(3000)  # its lines are drawn in steps
        _keep(page, "mlflow_compare.png")
    if shown != wanted:
        raise SystemExit(f"the page of {name} shows {shown} trials, the store holds {wanted}")


def _without_assistant(page: Page) -> None:
    """Close MLflow's panel that asks for a language model: it takes a fourth of the picture."""
    close = page.get_by_role("button", name="Close")
    if close.count():
        close.first.click()
        page.wait_for_timeout(1000)


@contextmanager
def _page(browser: Browser, address: str, **options: Any) -> Iterator[Page]:
    context = browser.new_context(**options)
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.goto(address)
    yield page
    context.close()


def _ours(page: Page, name: str) -> None:
    """The top of a page of ours, after the figures that it shows are drawn."""
    page.wait_for_function(
        "[...document.querySelectorAll('[data-figure]')].filter(one => one.getBoundingClientRect().top < innerHeight"
        "&& one.getBoundingClientRect().bottom > 0)"
        ".every(one => one.querySelector('.main-svg'))"
    )
    _keep(page, name)


def _keep(page: Page, name: str) -> None:
    """Write the picture with as few colours as keep it small."""
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    for colours in (256, 128, 64, 32):
        picture.quantize(colours).save(FOLDER / name, optimize=True)
        if (FOLDER / name).stat().st_size <= MOST_BYTES:
            return
    raise SystemExit(f"{name} is larger than {MOST_BYTES} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
