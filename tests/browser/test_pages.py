"""Our pages and MLflow's in a real browser: they work, ask no network, complain of nothing, and all can use them."""

import json
import re
from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Response, expect

from orchestrator.tracking.mlflow_store import open_client
from orchestrator.tracking.ui import find_experiment, served, view_of
from tests.browser.conftest import PATIENCE_MS, Made, Watched
from tests.smoke_line import PROJECT

Open = Callable[..., Watched]
PAGES = ("report", "sweep", "comparison")
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
ENDS_OF_WORDS = """captions => captions.map(caption => {
    const words = document.createRange();
    words.selectNodeContents(caption);
    return Math.max(0, ...[...words.getClientRects()].map(line => line.right));
})"""
pytestmark = pytest.mark.slow
expect.set_options(timeout=PATIENCE_MS)


def _draw_all(page: Page) -> int:
    """Open what is folded and scroll to every figure until it is drawn; returns how many there are."""
    for folded in page.locator("details:not([open]) > summary").all()[::-1]:
        folded.evaluate("summary => { summary.parentElement.open = true; }")
    figures = page.locator("[data-figure]")
    for number in range(figures.count()):
        figures.nth(number).scroll_into_view_if_needed()
        figures.nth(number).locator(".main-svg").first.wait_for()
    return figures.count()


def _accessible(page: Page) -> None:
    found = Axe().run(page)
    assert not found.violations_count, found.generate_report()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_draws_every_figure_in_light_and_dark_for_everybody_and_asks_no_network(
    made: Made, watched: Open, name: str
) -> None:
    opened = watched(made.pages[name].as_uri(), viewport=DESKTOP, color_scheme="light")
    page = opened.page
    assert _draw_all(page) >= 1
    _accessible(page)
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert _lightness(light) > 0.9
    assert _lightness(dark) < 0.2
    ink = page.evaluate("getComputedStyle(document.body).color")
    axis = page.locator("[data-figure] .xtick text, [data-figure] .axis-title, [data-figure] .axis-label")
    if axis.count():
        expect(axis.first).to_have_css("fill", ink)
    _accessible(page)
    assert (opened.errors, opened.requests) == ([], [])


@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_a_phone(made: Made, watched: Open, name: str) -> None:
    opened = watched(made.pages[name].as_uri(), viewport=PHONE, device_scale_factor=2, is_mobile=True, has_touch=True)
    _draw_all(opened.page)
    widest = opened.page.evaluate("document.documentElement.scrollWidth")
    assert widest <= PHONE["width"], "only tables scroll sideways, inside the page"
    ends = opened.page.locator(".scroll caption").evaluate_all(ENDS_OF_WORDS)
    assert ends
    assert max(ends) <= PHONE["width"], "a caption is read without scrolling its table"
    _accessible(opened.page)
    assert (opened.errors, opened.requests) == ([], [])


def test_a_table_is_sorted_by_its_headings_and_filtered_by_words(made: Made, watched: Open) -> None:
    page = watched(made.pages["report"].as_uri(), viewport=DESKTOP).page
    table = page.locator("table", has=page.locator("caption", has_text="Accuracy by class"))
    page.locator("details", has=table).locator("summary").click()
    head = table.locator("thead th", has_text="Training images")
    column = head.evaluate("cell => cell.cellIndex")
    told = []
    for _ in range(2):
        head.get_by_role("button").click()
        shown = [int(text) for text in table.locator(f"tbody tr td:nth-child({column + 1})").all_inner_texts()]
        told.append((head.get_attribute("aria-sort"), shown == sorted(shown, reverse=True), shown == sorted(shown)))
    assert told == [("descending", True, False), ("ascending", False, True)]

    name = table.locator("tbody tr td:first-child").first.inner_text()
    table.locator("xpath=ancestor::*[contains(@class, 'scroll')]/preceding-sibling::p[1]").locator(
        "input[type=search]"
    ).fill(name.upper())
    assert [row.split("\t")[0] for row in table.locator("tbody tr:visible").all_inner_texts()] == [name]


def test_a_figure_tells_its_values_under_the_pointer(made: Made, watched: Open) -> None:
    page = watched(made.pages["report"].as_uri(), viewport=DESKTOP).page
    figure = page.locator("[data-figure=groups]")
    figure.scroll_into_view_if_needed()
    figure.locator(".main-svg").first.wait_for()
    figure.locator(".bars .point path").first.hover(force=True)
    told = figure.locator(".hovertext").first
    told.wait_for()
    assert re.search(r"\d", told.text_content() or "")


def _lightness(colour: str) -> float:
    return sum(map(int, re.findall(r"\d+", colour)[:3])) / (3 * 255)


def _documented_filters() -> list[str]:
    """The filters of docs/mlflow.md, in the words of the experiment that is looked at."""
    table = (PROJECT / "docs" / "mlflow.md").read_text().partition("| question | filter |")[2].partition("\n\n")[0]
    found = [line.strip("| ").partition(" | ")[2].strip()[1:-1] for line in table.splitlines() if "`" in line]
    words = {"'text'": "'smoke'", "'resnet18'": "'tiny'", "> 0.25": "> 0.01"}
    for old, new in words.items():
        found = [one.replace(old, new) for one in found]
    return found


def _asked_for(told: Response, wanted: str) -> bool:
    return "runs/search" in told.url and wanted in json.loads(told.request.post_data or "{}").get("filter", "")


def test_mlflow_finds_by_the_documented_filters_and_compares_the_children_of_a_sweep(made: Made, watched: Open) -> None:
    number, _, has_trials = find_experiment(made.uri, "smoke")
    view = view_of("trial", None, "", has_trials=has_trials, charts=False)
    client = open_client(made.uri)
    [data] = {run.inputs.dataset_inputs[0].dataset.digest for run in client.search_runs([number], view.filter)}
    filters = [one.replace("FINGERPRINT", data) for one in _documented_filters()]
    assert len(filters) == 7
    with served(made.uri, "127.0.0.1", 5700) as server:
        opened = watched(view.address(server, number), allowed=(server,), viewport={"width": 1500, "height": 950})
        page, refused = opened.page, []
        page.on("response", lambda told: refused.append(told.url) if told.status >= 400 else None)
        rows = page.locator(".ag-center-cols-container [role=row]")
        expect(rows).to_have_count(3)  # the address alone shows the sweep's trials
        found = {}
        for one in filters:
            page.get_by_test_id("search-box").fill(one)
            with page.expect_response(lambda told, one=one: _asked_for(told, one)) as answer:
                page.get_by_test_id("search-box").press("Enter")
            found[one] = len(answer.value.json().get("runs", []))
            assert found[one] == len(client.search_runs([number], one)), one
        assert sum(count > 0 for count in found.values()) >= 5, found

        page.get_by_test_id("search-box").fill(view.filter)
        page.get_by_test_id("search-box").press("Enter")
        expect(rows).to_have_count(3)
        page.locator(".ag-header-select-all input:visible").first.check()
        page.get_by_test_id("runs-compare-button").click()
        expect(page.get_by_text("Comparing 3 Runs from 1 Experiment")).to_be_visible()
        plot = page.locator(".parcoords")
        plot.first.wait_for()
        axes = page.locator(".parcoords .axis-title").all_text_contents()
        assert {"adaptor.depth", "losses.text.temperature", "losses.text.weight"} < set(axes)
        assert not [url for url in refused if "/mlflow/runs/" in url or "/mlflow/experiments/" in url]
    assert opened.requests == []
