"""The captioner sheets in the documentation are valid, and can be copied as they are."""

import re
from pathlib import Path

import pytest
import yaml

from orchestrator.config.experiment import Experiment
from orchestrator.config.load import read_yaml, validate

PROJECT = Path(__file__).resolve().parents[3]
TEXT = (PROJECT / "docs" / "captioners.md").read_text(encoding="utf-8")
SHEETS = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(captioner:.*?)```", TEXT, re.DOTALL)]


@pytest.mark.parametrize("sheet", SHEETS, ids=lambda sheet: "{kind}-{model}".format(**sheet["captioner"]))
def test_a_documented_captioner_is_a_valid_one_with_an_identity(sheet: dict[str, object]) -> None:
    smoke = read_yaml(PROJECT / "jobs" / "experiments" / "smoke.yaml")
    experiment = validate(Experiment, smoke | sheet, "docs/captioners.md")
    assert experiment.captioner.identity()["kind"] == experiment.captioner.kind
