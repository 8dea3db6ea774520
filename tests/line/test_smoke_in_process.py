"""The smoke experiment through the console script: it ends, it is told to MLflow, it is reused, refused, proved."""

import json
import math
import shutil
from pathlib import Path

import pytest

from orchestrator.artifacts.storage import read_table
from orchestrator.reporting import read_report_data
from orchestrator.tracking.mlflow_store import open_client
from tests.line.command import Smoke, verify

FEW_CLASSES = {
    "select/all",
    "select/few",
    "select/medium",
    "select/mean_per_class",
    "train/loss",
    "train/classification",
}
DISTILLED = FEW_CLASSES | {"train/text", "train/image", "train/text.temperature"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Smoke, str]:
    """One finished run, and what it printed."""
    smoke = Smoke(tmp_path_factory.mktemp("line"))
    ended = smoke.run()
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return smoke, ended.stdout


@pytest.fixture
def copy(finished: tuple[Smoke, str], tmp_path: Path) -> Smoke:
    """The finished artifacts and stores under a root of the test's own (without the MLflow database)."""
    for name in ("smoke", "store"):
        shutil.copytree(finished[0].root / name, tmp_path / "runs" / name)
    return Smoke(tmp_path / "runs")


def test_the_result_is_a_table_of_all_arms_and_the_ways_to_look_at_it(finished: tuple[Smoke, str]) -> None:
    smoke, printed = finished
    table = [line for line in printed.splitlines() if line.startswith("│")]
    assert [line.split("│")[1].strip() for line in table] == ["baseline", "distilled", "minus baseline"]
    shown = [float(line.split("│")[2]) for line in table]
    numbers = [json.loads((smoke.folder / "evaluations" / arm / "evaluation.json").read_text())["metrics"]["all"]
               for arm in ("baseline", "distilled")]  # fmt: skip
    assert shown[:2] == pytest.approx([100 * number for number in numbers], abs=0.051)
    assert shown[2] == pytest.approx(100 * (numbers[1] - numbers[0]), abs=0.051)
    assert f"mlflow ui --backend-store-uri sqlite:///{smoke.root / 'mlflow.db'}" in printed
    assert (smoke.folder / "report" / "report.html").read_text().startswith("<!")


def test_mlflow_holds_the_run_its_arms_and_the_sweep_with_its_trials_as_children(finished: tuple[Smoke, str]) -> None:
    smoke, _ = finished
    client = open_client(f"sqlite:///{smoke.root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("smoke")
    found = client.search_runs([experiment.experiment_id])
    runs = {run.data.tags["orchestrator.run_key"]: run for run in found}
    trials = [f"smoke/sweep/smoke/trial/000{number}" for number in range(3)]
    assert sorted(runs) == sorted(["smoke", "smoke/arm/baseline", "smoke/arm/distilled", "smoke/sweep/smoke", *trials])
    assert len(found) == 7
    assert {run.info.status for run in found} == {"FINISHED"}

    parents = {key: run.data.tags.get("mlflow.parentRunId") for key, run in runs.items()}
    whole, sweep = runs["smoke"].info.run_id, runs["smoke/sweep/smoke"].info.run_id
    assert parents["smoke"] is None
    assert {parents[key] for key in ("smoke/arm/baseline", "smoke/arm/distilled", "smoke/sweep/smoke")} == {whole}
    assert {parents[key] for key in trials} == {sweep}
    for key in trials:
        params = runs[key].data.params
        assert 0.3 <= float(params["losses.text.weight"]) <= 3.0
        assert 0.05 <= float(params["losses.text.temperature"]) <= 0.2
        assert int(params["adaptor.depth"]) in (0, 1, 2)
        assert set(params) == {"losses.text.weight", "losses.text.temperature", "adaptor.depth"}, "what was swept alone"
        tags = runs[key].data.tags
        wanted = {"kind": "trial", "sweep": "smoke", "dataset": "shapes", "student": "tiny", "seed": "0"}
        assert wanted.items() <= tags.items()
        assert tags["outcome"] == "finished"
        assert tags["method"] == "logit_adjusted_cross_entropy+text_contrastive+image_distillation"
        assert runs[key].data.metrics["objective"] == runs[key].data.metrics["select/all"]
    assert {run.inputs.dataset_inputs[0].dataset.name for run in found} == {"shapes"}
    assert len({run.inputs.dataset_inputs[0].dataset.digest for run in found}) == 1

    def steps(key: str, metric: str) -> list[int]:
        history = client.get_metric_history(runs[key].info.run_id, metric)
        return sorted({row.step for row in history})

    for key in trials:
        assert all(steps(key, metric) == [1, 2] for metric in DISTILLED)
    assert all(steps("smoke/arm/distilled", metric) == [1, 2, 3] for metric in DISTILLED)
    assert all(steps("smoke/arm/baseline", metric) == [1, 2, 3] for metric in FEW_CLASSES)
    assert steps("smoke/arm/baseline", "report/all") == [3]
    assert not math.isnan(runs["smoke/sweep/smoke"].data.metrics["best_objective"])
    kept = {artifact.path for artifact in client.list_artifacts(whole)}
    assert kept >= {"experiment.yaml", "execution.yaml", "environment.json", "fingerprints.json", "report"}
    best = runs["smoke/sweep/smoke"].data.tags["best_trial"]
    link = (
        f"[{best}](#/experiments/{experiment.experiment_id}/runs/{runs[f'smoke/sweep/smoke/trial/{best}'].info.run_id})"
    )
    assert link in runs["smoke/sweep/smoke"].data.tags["mlflow.note.content"]
    assert f"runs/{sweep})" in runs["smoke"].data.tags["mlflow.note.content"]
    told = runs["smoke/arm/distilled"].data.tags["mlflow.note.content"]
    assert "| minus baseline |" in told
    assert f"[smoke](#/experiments/{experiment.experiment_id}/runs/{whole})" in told
    names = {artifact.path for artifact in client.list_artifacts(whole, "report")}
    assert names == {"report/report.html", "report/report.md", "report/report.json"}
    for run_id, folder in ((whole, smoke.folder / "report"), (sweep, smoke.folder / "sweeps" / "smoke")):
        shown = {artifact.path: artifact.file_size for artifact in client.list_artifacts(run_id, "figures")}
        assert shown == {f"figures/{path.name}": path.stat().st_size for path in (folder / "figures").iterdir()}
        assert "figures/sweep.png" in shown

    reached = {arm: runs[f"smoke/arm/{arm}"].data.metrics["select/all"] for arm in ("baseline", "distilled")}
    best_arm = runs[f"smoke/arm/{max(reached, key=lambda arm: reached[arm])}"]
    registered = client.get_model_version_by_alias("smoke", "best")
    assert (str(registered.version), registered.run_id, registered.status) == ("1", best_arm.info.run_id, "READY")
    assert best_arm.info.end_time < runs["smoke"].info.end_time, "a run that was registered keeps its end"
    assert all(
        run.data.metrics["cost/model_size_mb"] > 0 for key, run in runs.items() if "trial" in key or "arm" in key
    )


def test_the_report_tells_spaces_mistakes_and_costs_of_this_very_run(finished: tuple[Smoke, str]) -> None:
    smoke, _ = finished
    data = read_report_data(smoke.folder / "report" / "report.json")
    drawn = {(space.kind, space.name): space for space in data.spaces.planes}
    assert set(drawn) == {
        ("teacher", "image teacher"), ("student", "baseline"), ("student", "distilled"), ("text", "truth"),
        ("text", "targeted"),
    }  # fmt: skip
    assert all(-1 <= space.silhouette <= 1 and len(space.points) == len(space.classes) for space in drawn.values())
    assert len(drawn["student", "baseline"].points) == 36, "all images of the report split, 6 of each class"
    for mistakes in data.mistakes:
        told = read_table(smoke.folder / "evaluations" / mistakes.arm / "predictions.parquet").to_pandas()
        right = (told["label"] == told["predicted"]).groupby(told["label"]).sum()
        assert mistakes.classes[0].correct == right.min()
        assert all(row.correct + sum(count for _, count in row.taken_for) == row.total == 6 for row in mistakes.classes)
    paid = {row.unit: (row.asked, row.made, row.reused) for row in data.economics}
    assert paid == {"captions": (124, 124, 0), "texts": (75, 75, 0), "images": (122, 122, 0), "views": (124, 124, 0)}
    assert data.economics[0].without_store == 124 * 4, "of the arm that reads them, and of its sweep's three trials"
    assert data.seeds["dataset.seed"] == 11
    assert len(data.exports) == 1, "of the best student, which is registered"


def test_a_second_run_reuses_everything_and_no_model_sees_a_row(finished: tuple[Smoke, str]) -> None:
    smoke, _ = finished
    before, numbers = smoke.model_rows(), smoke.numbers()
    assert sorted(before.values()) == [75, 124, 246]  # texts with classes', captions, 122 images and 2 views of 62
    written = {path: path.stat().st_mtime_ns for path in smoke.folder.rglob("manifest.json")}
    ended = smoke.run()
    assert ended.returncode == 0, ended.stderr
    made = [line for line in ended.stdout.splitlines() if " made " in line]
    assert made == []
    assert len(open_client(f"sqlite:///{smoke.root / 'mlflow.db'}").search_model_versions("name = 'smoke'")) == 1
    assert sum(" reused " in line for line in ended.stdout.splitlines()) == len(written) == 13
    assert smoke.model_rows() == before
    assert smoke.numbers() == numbers
    assert {path: path.stat().st_mtime_ns for path in smoke.folder.rglob("manifest.json")} == written


def test_a_changed_setting_under_the_same_name_is_refused_naming_the_field(copy: Smoke) -> None:
    before = copy.numbers()
    ended = copy.run("training.optimizer.learning_rate=1e-2", "--set", "tracking.kind=none")
    assert ended.returncode == 2
    assert "training.optimizer.learning_rate: 0.003 -> 0.01" in ended.stderr
    assert "--rebuild" in ended.stderr
    assert "another name" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert len(ended.stderr.strip().splitlines()) <= 3
    assert copy.numbers() == before


def test_a_dry_run_tells_what_would_be_made_and_makes_nothing(copy: Smoke) -> None:
    shutil.rmtree(copy.folder / "embeddings")
    shutil.rmtree(copy.folder / "sweeps")
    before = sorted(str(path) for path in copy.root.rglob("*"))
    ended = copy.run("--dry-run", "training.epochs=4", "sweep=null")
    assert ended.returncode == 0, ended.stderr
    told = {line.split()[1].rstrip(":"): line.split(": ")[-1] for line in ended.stdout.splitlines() if ": " in line
            and line.split()[0] in ("index", "caption", "embed", "shard", "train")}  # fmt: skip
    assert told == {
        "smoke/index": "reuse", "smoke/captions": "reuse", "smoke/embeddings": "make", "smoke/shards": "reuse",
        "smoke/arms/baseline": "refused", "smoke/arms/distilled": "refused",
    }  # fmt: skip
    assert "learning_rate: 0.003" in ended.stdout
    assert sorted(str(path) for path in copy.root.rglob("*")) == before


def test_a_stage_is_made_anew_on_request_and_gives_the_same_numbers(copy: Smoke) -> None:
    numbers, rows = copy.numbers(), copy.model_rows()
    students = [copy.folder / "arms" / arm / "student.safetensors" for arm in ("baseline", "distilled")]
    bits, times = [path.read_bytes() for path in students], [path.stat().st_mtime_ns for path in students]
    ended = copy.run("--rebuild", "train", "--rebuild", "evaluate", "--set", "tracking.kind=none")
    assert ended.returncode == 0, ended.stderr
    made = [line.split()[2] for line in ended.stdout.splitlines() if " made " in line]
    assert made == [f"smoke/{folder}/{arm}" for folder in ("arms", "evaluations") for arm in ("baseline", "distilled")]
    assert [path.read_bytes() for path in students] == bits
    assert all(path.stat().st_mtime_ns > time for path, time in zip(students, times, strict=True))
    assert (copy.numbers(), copy.model_rows()) == (numbers, rows)


@pytest.mark.parametrize("wrong", ["trains", "all"])
def test_an_unknown_stage_to_rebuild_is_refused_with_the_known_ones(copy: Smoke, wrong: str) -> None:
    ended = copy.run("--rebuild", wrong)
    assert ended.returncode == 2
    assert "one of index, describe, caption, tune, embed" in ended.stderr


def test_verify_passes_finds_a_damaged_file_and_a_repair_lets_the_same_command_heal_it(copy: Smoke) -> None:
    numbers = copy.numbers()
    sound = verify(copy.root, "--json")
    assert sound.returncode == 0, sound.stdout
    told = json.loads(sound.stdout)
    assert told["problems"] == []
    assert (told["counts"]["artifacts"], told["counts"]["stores"]) == (13, 3)

    student = copy.folder / "arms" / "distilled" / "student.safetensors"
    data = bytearray(student.read_bytes())
    data[-5] ^= 1
    student.write_bytes(data)
    store = next(store for name, store in copy.stores().items() if "captions" in name)
    segment = Path(store.segment_files.uri) / store.segment_files.names()[0]
    segment.write_bytes(segment.read_bytes()[:-100])
    damaged = verify(copy.root)
    assert damaged.returncode == 1
    assert f"{student}: checksum differs from the manifest" in damaged.stdout
    assert segment.name in damaged.stdout
    assert "2 problems" in damaged.stdout

    assert verify(copy.root, "--repair").returncode == 0
    assert verify(copy.root).returncode == 0
    (copy.folder / "captions" / "manifest.json").unlink()  # so that the store is read again
    assert copy.run("--set", "tracking.kind=none").returncode == 0
    assert verify(copy.root).returncode == 0
    assert copy.numbers() == numbers


def test_verify_of_a_folder_with_nothing_in_it_is_a_plain_error(tmp_path: Path) -> None:
    ended = verify(tmp_path)
    assert ended.returncode == 2
    assert "no artifact and no store" in ended.stderr
    assert "Traceback" not in ended.stderr
