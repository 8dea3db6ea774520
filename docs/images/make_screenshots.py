"""The picture of docs/mlflow.md, made in a real browser: MLflow's UI as `orchestrator ui --table` opens it.

    python docs/images/make_screenshots.py RUNS/mlflow.db EXPERIMENT

Needs chromium (Debian: apt-get install chromium) and playwright; fetches no browser. Ends with an error where the page
does not show as many trials as the store holds.
"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from orchestrator.tracking.mlflow_store import open_client
from orchestrator.tracking.ui import find_experiment, served, view_of

PATIENCE_MS = 300_000


def main(database: Path, experiment: str) -> None:
    """Write `mlflow_trials.png` beside this file."""
    uri = f"sqlite:///{database.resolve()}"
    number, name, has_trials = find_experiment(uri, experiment)
    view = view_of("trial", None, "", has_trials=has_trials, charts=False)
    wanted = len(open_client(uri).search_runs([number], view.filter))
    with served(uri, "127.0.0.1", 5600) as server, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1500, "height": 950})
        page.goto(view.address(server, number), timeout=PATIENCE_MS)
        page.get_by_text("matching runs").wait_for(timeout=PATIENCE_MS)
        page.locator(".ag-center-cols-container [role=row]").nth(wanted - 1).wait_for(timeout=PATIENCE_MS)
        page.screenshot(path=Path(__file__).with_name("mlflow_trials.png"))
        shown = page.locator(".ag-center-cols-container [role=row]").count()
        browser.close()
    if shown != wanted:
        raise SystemExit(f"the page of {name} shows {shown} trials, the store holds {wanted}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
