"""The page on texts: every example on it is an experiment's, and every kind and set has one."""

import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from orchestrator.captioners.prompts import PROMPT_SETS, PROMPTS
from orchestrator.captioners.texts import TextSettings
from orchestrator.config.experiment import Experiment
from orchestrator.config.load import validate

PROJECT = Path(__file__).resolve().parents[3]
PAGE = (PROJECT / "docs" / "texts.md").read_text()
EXAMPLES: list[dict[str, Any]] = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: next(iter(example.get("texts", example))))
def test_an_example_is_part_of_an_experiment(example: dict[str, Any]) -> None:
    tree = yaml.safe_load((PROJECT / "jobs" / "experiments" / "smoke.yaml").read_text())
    texts = example.get("texts", {"general": {"kind": "caption", "prompt": "general"}})
    tree |= {"texts": texts, "text_sources": list(texts), "sweep": None, **example}
    experiment = validate(Experiment, tree, "docs/texts.md")
    assert set(experiment.texts) == set(texts)


def test_every_kind_of_text_has_an_example_and_every_prompt_and_set_is_named() -> None:
    shown = {text["kind"] for example in EXAMPLES for text in example.get("texts", {}).values()}
    assert shown == {kind.model_fields["kind"].default for kind in get_args(get_args(TextSettings)[0])}
    unnamed = [name for name in [*PROMPTS, *PROMPT_SETS] if f"`{name}`" not in PAGE]
    assert unnamed == ["targeted_2", "targeted_3"]  # "`targeted_1` to `targeted_4`"
