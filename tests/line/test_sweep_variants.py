"""A sweep over what trials share: each combination reads its own captions and embeddings, and none is paid twice."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.artifacts.storage import read_json
from orchestrator.config.load import with_overrides
from orchestrator.errors import ConfigError
from orchestrator.search.check import check_space
from orchestrator.search.space import load_space
from orchestrator.stages import line
from orchestrator.stages.verify import stores_below
from orchestrator.training.run import HISTORY
from tests.smoke_line import SMOKE, load_experiment, quiet_context

FIRST = "a picture of {width} by {height}: {prompt}"  # the experiment's own
OTHER = "quite another picture: {prompt}"
SPACE = {
    "name": "shared", "question": "?", "expected": "!", "cost": "seconds",
    "parameters": {
        "text_encoder.dim": {"kind": "choice", "values": [16, 8]},
        "captioner.text": {"kind": "choice", "values": [FIRST, OTHER]},
    },
    "fixed": {"training.epochs": 1},
    "objectives": {"train/text": "min"},
    "scheduler": {"kind": "none"},
    "searcher": {"kind": "grid"},
}  # fmt: skip


def paid(root: Path) -> dict[str, float]:
    return {str(store.folder): store.totals()["model_rows"] for store in stores_below(str(root))}


def losses(folder: Path) -> tuple[float, float]:
    """What a training of one epoch came to; no two texts give the same."""
    (row,) = read_json(folder / HISTORY)
    return row["train/text"], row["train/loss"]


def test_trials_read_what_their_variant_has_and_the_final_student_that_of_the_best(tmp_path: Path) -> None:
    (tmp_path / "shared.yaml").write_text(yaml.safe_dump(SPACE, sort_keys=False))
    reference = {"space": str(tmp_path / "shared.yaml"), "arm": "distilled"}
    changes: dict[str, Any] = {"sweep": reference, "training.epochs": 1, "arms": {"distilled": {}}}
    swept = with_overrides(load_experiment(SMOKE), changes, "test")
    context = quiet_context(swept, tmp_path / "runs")

    told = [row for row in line.forecast(context, "sweep") if "variants" in row[1]]
    assert [stage for stage, _, _ in told] == ["caption", "embed", "embed", "caption", "embed"]
    plans = line.run(context, "evaluate")
    folder = context.folder / "sweeps" / "shared"
    trials = read_json(folder / "trials.json")
    assert [trial["status"] for trial in trials["trials"]] == ["finished"] * 4
    assert len(list(context.folder.glob("variants/*/embeddings"))) == 3  # the fourth is the experiment's own
    assert len(list(context.folder.glob("variants/*/captions"))) == 2

    # Each trial is the training of an experiment that has these values, alone, in a root of its own.
    for number in (1, 2):
        alone = with_overrides(swept, {**trials["trials"][number]["values"], "sweep": None}, "test")
        other = quiet_context(alone, tmp_path / f"alone-{number}")
        student = line.run(other, "train")["train/distilled"]
        assert losses(folder / "trials" / f"{number:04d}") == losses(student.folder)
    assert len({losses(folder / "trials" / f"{number:04d}") for number in range(4)}) == 4

    final = plans["train/distilled"]
    of_best = {trial["number"]: trial["values"] for trial in trials["trials"]}[trials["best"]]
    is_own = of_best == {"text_encoder.dim": 16, "captioner.text": FIRST}
    assert (final.parents["embed"] == plans["embed"].identity) == is_own

    before = paid(tmp_path / "runs")
    assert all(rows > 0 for rows in before.values())
    again = quiet_context(swept, tmp_path / "runs")
    line.run(again, "evaluate")
    assert paid(tmp_path / "runs") == before
    assert again._executor is None  # everything was there, so nothing was opened


def test_what_cannot_be_a_variant_is_refused_with_the_way_out(tmp_path: Path) -> None:
    endless = {**SPACE, "parameters": {"image_teacher.dim": {"kind": "uniform", "low": 1, "high": 9}}}
    endless |= {"searcher": {"kind": "random"}, "budget": {"num_trials": 2}}
    fixed = {**SPACE, "fixed": {"prompts": ["general"]}}
    for tree, told in ((endless, "give a choice"), (fixed, "set it in the experiment")):
        (tmp_path / "space.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
        with pytest.raises(ConfigError, match=told):
            check_space(load_space(tmp_path / "space.yaml"), load_experiment(SMOKE))
