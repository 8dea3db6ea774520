"""A trained student through the real commands: exported, registered, answered for by MLflow's own command line."""

import base64
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from orchestrator.artifacts.storage import read_json
from orchestrator.exporting.use_student import Student
from orchestrator.stages import line
from orchestrator.stages.context import Context
from orchestrator.stages.evaluate_export import evaluate_export
from orchestrator.tracking.mlflow_store import open_client
from tests.smoke_line import PROJECT, make_smoke_line

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback: no proxy
BIN = Path(sys.executable).parent
pytestmark = pytest.mark.slow


def run(*arguments: str, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, capture_output=True, text=True, check=False, **more)  # type: ignore[call-overload,no-any-return]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Context:
    """The smoke experiment with its students evaluated, without the sweep."""
    context = make_smoke_line(tmp_path_factory.mktemp("export") / "runs", overrides={"sweep": None}).context
    line.run(context, "evaluate")
    return context


@pytest.fixture(scope="module")
def registered(finished: Context) -> tuple[Path, str]:
    """(the export of an arm by the command line, the tracking store in which it is registered)."""
    done = export(finished, "--arm", "distilled", "--register", "small", "--alias", "best", "--batch-sizes", "1,2")
    assert done.returncode == 0, done.stderr
    assert "outputs differ from the trained model's by 0, on 24 images of the select split" in done.stdout
    assert "registered as models:/small/1" in done.stdout
    return finished.folder / "exports" / "distilled", f"sqlite:///{finished.root / 'mlflow.db'}"


def export(context: Context, *options: str) -> subprocess.CompletedProcess[str]:
    sheets = ["jobs/experiments/smoke.yaml", "image_teacher_views=0", "sweep=null", "-x",
              "jobs/executions/in_process.yaml"]  # fmt: skip
    return run(str(BIN / "orchestrator"), "export", *sheets, "--set", f"storage_root={context.root}", *options,
               cwd=PROJECT)  # fmt: skip


@pytest.fixture(scope="module")
def pictures(finished: Context, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for number, pixels in enumerate(np.load(finished.folder / "shards" / "report.npy")[:3]):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    (folder / "bad.png").write_bytes(b"no image")
    return folder


def test_the_card_tells_data_models_losses_accuracy_and_speed(registered: tuple[Path, str], finished: Context) -> None:
    card = (registered[0] / "README.md").read_text()
    evaluation = read_json(finished.folder / "evaluations" / "distilled" / "evaluation.json")["metrics"]
    assert f"| report | {100 * evaluation['all']:.1f} | {100 * evaluation['mean_per_class']:.1f} | – |" in card
    assert "| text (text_contrastive) | 1.0 |" in card
    assert "| text encoder | hashed | none needed (no weights) |" in card
    fingerprint = read_json(finished.folder / "arms" / "distilled" / "manifest.json")["fingerprint"]
    assert f"Training fingerprint `{fingerprint}`" in card
    assert re.search(r"^\| torch \| 0\.\d\d \| \d+\.\d\d \(\d+\.\d\d\) \| \d+\.\d\d \(\d+\.\d\d\) \|", card, re.M)
    assert str(finished.root) not in card


def test_the_baselines_card_names_no_teacher_and_a_changed_sheet_is_refused(finished: Context) -> None:
    done = export(finished, "--arm", "baseline", "--no-speed", "--quiet")
    assert done.returncode == 0, done.stderr
    card = (finished.folder / "exports" / "baseline" / "README.md").read_text()
    assert "none: labels alone" in card
    assert "text encoder" not in card
    refused = export(finished, "training.epochs=4", "--arm", "baseline", "--no-speed")
    assert refused.returncode == 2
    assert "is not the one that this sheet describes" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_an_exported_student_has_the_accuracies_of_its_run(registered: tuple[Path, str], finished: Context) -> None:
    done = run(str(BIN / "orchestrator"), "evaluate", str(registered[0]), "--quiet")
    assert done.returncode == 0, done.stderr
    assert "equal to the run's own evaluation of distilled" in done.stdout
    evaluation = read_json(finished.folder / "evaluations" / "distilled" / "evaluation.json")
    found = evaluate_export(registered[0])
    assert found.metrics == pytest.approx(evaluation["metrics"], rel=0, abs=0, nan_ok=True)
    assert found.num_images == evaluation["images"]


def test_the_same_export_is_reused_and_registered_once(registered: tuple[Path, str], finished: Context) -> None:
    before = (registered[0] / "manifest.json").stat().st_mtime_ns
    done = export(finished, "--arm", "distilled", "--register", "small", "--alias", "newest", "--batch-sizes", "1,2")
    assert done.returncode == 0, done.stderr
    assert "was registered as models:/small/1" in done.stdout
    assert (registered[0] / "manifest.json").stat().st_mtime_ns == before
    client = open_client(registered[1])
    assert [int(one.version) for one in client.search_model_versions("name = 'small'")] == [1]
    assert {int(client.get_model_version_by_alias("small", name).version) for name in ("best", "newest")} == {1}


def test_mlflows_own_command_predicts_with_the_registered_model(
    registered: tuple[Path, str], pictures: Path, tmp_path: Path
) -> None:
    export_folder, uri = registered
    rows = [["0.png"], ["bad.png"], ["../outside.png"], ["2.png"]]
    (tmp_path / "rows.json").write_text(json.dumps({"dataframe_split": {"columns": ["path"], "data": rows}}))
    answer = tmp_path / "answer.json"
    done = run(
        str(BIN / "mlflow"), "models", "predict", "-m", "models:/small@best", "-i", str(tmp_path / "rows.json"),
        "-o", str(answer), "-t", "json", "--env-manager", "local", env=environment(uri), cwd=pictures,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    check(export_folder, pictures, json.loads(answer.read_text())["predictions"], ["0.png", None, None, "2.png"])


def test_mlflows_server_answers_for_images_sent_as_base64(registered: tuple[Path, str], pictures: Path) -> None:
    export_folder, uri = registered
    rows = [[base64.b64encode((pictures / name).read_bytes()).decode()] for name in ("1.png", "bad.png", "2.png")]
    body = json.dumps({"dataframe_split": {"columns": ["image"], "data": rows}}).encode()
    port = _free_port()
    command = [str(BIN / "mlflow"), "models", "serve", "-m", "models:/small@best", "--env-manager", "local",
               "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]  # fmt: skip
    server = subprocess.Popen(
        command, env=environment(uri), cwd=pictures, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        while not _answers(f"http://127.0.0.1:{port}/ping"):
            assert server.poll() is None, "the server ended"
            time.sleep(0.5)
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations", body, {"Content-Type": "application/json"}
        )
        with OPENER.open(request) as reply:
            answers = json.loads(reply.read())["predictions"]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)  # it and its worker: the session is its own
        server.wait()
    check(export_folder, pictures, answers, ["1.png", None, "2.png"])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(address: str) -> bool:
    try:
        with OPENER.open(address) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


def environment(uri: str) -> dict[str, str]:
    path = f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"  # MLflow starts uvicorn by its name
    return {**os.environ, "MLFLOW_TRACKING_URI": uri, "MLFLOW_REGISTRY_URI": uri, "PATH": path}


def check(export_folder: Path, pictures: Path, answers: list[dict[str, object]], names: list[str | None]) -> None:
    """Each answer is the export's own, or a reason."""
    student = Student(export_folder)
    for answer, name in zip(answers, names, strict=True):
        if name is None:
            assert answer["label"] == -1
            assert answer["error"]
            continue
        expected, score = student.predict([Image.open(pictures / name)])[0]
        assert (answer["name"], answer["error"]) == (expected, "")
        assert answer["score"] == pytest.approx(score, rel=1e-5)
        assert student.classes[int(str(answer["label"]))] == expected
