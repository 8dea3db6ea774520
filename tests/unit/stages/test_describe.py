"""The stage that lets a model describe the classes: only where asked for, only what is missing, nothing lost."""

from pathlib import Path

import pytest

from orchestrator.artifacts.manifest import read_manifest
from orchestrator.artifacts.storage import read_table
from orchestrator.captioners.constant import ConstantCaptionerSettings
from orchestrator.captioners.prompts import DESCRIPTION_PROMPTS
from orchestrator.config.load import load_experiment
from orchestrator.errors import DataError
from orchestrator.stages import describe, index, line
from orchestrator.stages.context import Context
from tests.smoke_line import SMOKE, quiet_context

DESCRIBER = 'describer={kind: constant, text: "It is {prompt} {width}"}'
SHORT, LONG = "texts.short={kind: written_description}", "class_text={kind: written_description, level: long}"
NUM_CLASSES = 6


def context_of(root: Path, *overrides: str) -> Context:
    return quiet_context(load_experiment(SMOKE, [DESCRIBER, *overrides]), root)


def told(asked: int, done: int, reused: int) -> dict[str, int]:
    return {"asked": asked, "done": done, "reused": reused, "quarantined": 0, "skipped": 0}


def described(context: Context) -> dict[str, int]:
    """The stage's counts."""
    planned = describe.plan(context, index.make(context))
    assert planned is not None
    manifest = read_manifest(describe.make(context, planned).folder)
    assert manifest is not None
    return manifest.counts


def test_every_class_is_described_by_what_the_describer_answers_without_an_image(tmp_path: Path) -> None:
    context = context_of(tmp_path, SHORT)
    assert described(context) == told(NUM_CLASSES, NUM_CLASSES, 0)
    table = read_table(context.folder / "descriptions" / describe.DESCRIPTIONS)
    names = index.load(context).classes["name"].to_pylist()
    prompts = [DESCRIPTION_PROMPTS["short"].replace("{class}", name) for name in names]
    assert table.to_pydict() == {
        "label": list(range(NUM_CLASSES)),
        "name": names,
        "level": ["short"] * NUM_CLASSES,
        "prompt_text": prompts,
        "description": [f"It is {prompt} 0" for prompt in prompts],
    }


def test_a_second_run_writes_nothing_and_another_level_only_itself(tmp_path: Path) -> None:
    described(context_of(tmp_path, SHORT))
    again = context_of(tmp_path, SHORT)
    (again.folder / "descriptions" / "manifest.json").unlink()
    assert described(again) == told(NUM_CLASSES, 0, NUM_CLASSES)
    more = context_of(tmp_path, SHORT, LONG)
    assert described(more) == told(2 * NUM_CLASSES, NUM_CLASSES, NUM_CLASSES)
    assert describe.description_store(more).totals()["model_rows"] == 2 * NUM_CLASSES


def test_what_a_killed_run_had_committed_is_not_asked_for_again(tmp_path: Path) -> None:
    context = context_of(tmp_path, SHORT)
    index.make(context)
    worker = describe.DescriptionWorker(
        describer=context.experiment.describer_settings(), store=describe.description_store(context).folder.uri,
        run="killed", known=(), timeout_s=60,
    )  # fmt: skip
    items = describe.to_items(describe.wanted_rows(context))
    receipt = worker.open(own_process=False)(worker.fetch(items.slice(0, 4)))
    assert receipt.select(["done", "refused", "reused"]).to_pylist() == [{"done": 4, "refused": 0, "reused": 0}]
    assert described(context) == told(NUM_CLASSES, 2, 4)


def test_an_empty_answer_is_an_error_with_the_reason_and_is_asked_for_again(tmp_path: Path) -> None:
    context = context_of(tmp_path, SHORT, 'describer.text=" "')
    with pytest.raises(
        DataError, match=r"6 of 6 descriptions were not written: .*EmptyDescription: the describer answered nothing"
    ) as error:
        described(context)
    assert "of dax." in str(error.value)
    assert str(error.value).splitlines()[0].endswith("; 3 more")
    assert describe.description_store(context).keys() == set()
    with pytest.raises(DataError, match="6 of 6 descriptions"):
        described(context)
    assert describe.description_store(context).totals()["model_rows"] == 2 * NUM_CLASSES
    assert described(context_of(tmp_path, SHORT, "describer.text=ok"))["done"] == NUM_CLASSES


def test_without_a_source_that_asks_the_line_has_no_such_stage(tmp_path: Path) -> None:
    context = context_of(tmp_path)
    plans = line.run(context, "describe")
    assert list(plans) == ["index"]
    assert not (tmp_path / "store").exists()
    assert "describe" not in [stage for stage, _, _ in line.forecast(context, "embed")]
    asked = context_of(tmp_path, SHORT)
    assert [stage for stage, _, _ in line.forecast(asked, "embed")] == ["index", "describe", "caption", "embed"]


def test_the_captioner_describes_where_no_describer_is_named() -> None:
    experiment = load_experiment(SMOKE, [SHORT, LONG])
    assert experiment.describer_settings() == experiment.captioner
    assert experiment.description_levels() == ("short", "long")
    assert load_experiment(SMOKE, [DESCRIBER]).describer_settings() == ConstantCaptionerSettings(
        text="It is {prompt} {width}"
    )
