"""The page on training: its snippets are settings that hold together."""

import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from orchestrator.config.experiment import Experiment
from orchestrator.config.load import load_experiment, validate
from orchestrator.training.view_settings import Recipe

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "training.md").read_text()
SNIPPETS: list[dict[str, Any]] = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
SMOKE = ROOT / "jobs" / "experiments" / "smoke.yaml"


def leaves(tree: Any, path: str = "") -> dict[str, Any]:
    """Dotted path -> value, mappings of mappings followed."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        at = f"{path}.{name}" if path else name
        found |= leaves(value, at) if isinstance(value, dict) and value and at.count(".") < 2 else {at: value}
    return found


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda snippet: "-".join(snippet))
def test_a_snippet_of_the_page_holds_in_an_experiment(snippet: dict[str, Any]) -> None:
    tree = load_experiment(SMOKE).model_dump(mode="json")
    whole = {path: snippet.get(path, tree[path]) for path in tree}
    whole["training"] = {**tree["training"], **snippet.get("training", {})}
    if whole["frame_size"] is None:
        whole["image_size"] = snippet.get("image_size", tree["image_size"])
    experiment = validate(Experiment, whole, "docs/training.md")
    told = experiment.model_dump(mode="json")
    for path, value in leaves(snippet).items():
        found: Any = told
        for name in path.split("."):
            found = found[name]
        if not isinstance(value, dict | list):
            assert found == value, path


def test_the_page_tells_every_recipe() -> None:
    assert [name for name in get_args(Recipe) if f"`{name}`" not in PAGE] == []
    assert len(SNIPPETS) == 12
