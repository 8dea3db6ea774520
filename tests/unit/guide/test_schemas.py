"""The shipped schemas are those of the classes; every sheet names its schema and is accepted, a misspelt one is not."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from orchestrator.guide.schemas import schema
from tests.smoke_line import PROJECT

SHEETS = {"experiment": "jobs/experiments", "execution": "jobs/executions", "space": "search_spaces"}


@pytest.mark.parametrize("sheet", SHEETS)
def test_the_shipped_schema_is_that_of_the_classes(sheet: str) -> None:
    shipped = json.loads((PROJECT / "schemas" / f"{sheet}.json").read_text())
    assert shipped == schema(sheet), "after a change of settings: orchestrator schemas"
    jsonschema.Draft202012Validator.check_schema(shipped)


@pytest.mark.parametrize("sheet", SHEETS)
def test_every_shipped_sheet_names_its_schema_and_fits_it(sheet: str) -> None:
    validator = jsonschema.Draft202012Validator(schema(sheet))
    for path in sorted((PROJECT / SHEETS[sheet]).glob("*.yaml")):
        text = path.read_text()
        first = text.splitlines()[0]
        assert first.startswith("# yaml-language-server: $schema="), path.name
        assert (path.parent / Path(first.partition("=")[2])).resolve() == PROJECT / "schemas" / f"{sheet}.json"
        assert [error.message[:200] for error in validator.iter_errors(yaml.safe_load(text))] == [], path.name


def test_a_misspelt_setting_and_a_value_out_of_range_are_marked() -> None:
    validator = jsonschema.Draft202012Validator(schema("experiment"))
    tree = yaml.safe_load((PROJECT / "jobs" / "experiments" / "smoke.yaml").read_text())
    assert validator.is_valid(tree)
    assert not validator.is_valid({**tree, "imag_size": 64})
    assert not validator.is_valid({**tree, "image_size": 4})
    assert validator.is_valid({**tree, "losses": {**tree["losses"], "text": None}})


def test_editors_show_the_meaning_of_a_setting() -> None:
    described = schema("experiment")["$defs"]["TextContrastiveSettings"]["properties"]["temperature"]
    assert described["description"] == "`temperature` is the start value when `learnable`."
