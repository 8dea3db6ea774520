"""`orchestrator predict`: every file has a row or a reason, a killed command goes on, new classes are told by text."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from orchestrator import vocabulary as v
from orchestrator.artifacts.storage import read_table
from orchestrator.datasets.framing import square
from orchestrator.errors import ArtifactError, ConfigError, DataError
from orchestrator.evaluation.predict import images_of
from orchestrator.stages.predict import PredictRequest, predict_command
from orchestrator.students import TinyStudentSettings
from orchestrator.teachers import HashedEncoderSettings
from tests.exports import CLASSES, export_student, write_student

EMBEDDING = {"width": 4, "classifier": None, "embedding": {}}
SCRIPT = Path(sys.executable).parent / "orchestrator"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Seven images, two of them below, and three files that are none."""
    folder = tmp_path / "images"
    (folder / "below").mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(7):
        place = folder / "below" if number > 4 else folder
        size = (40 + number, 50, 3)
        Image.fromarray(random.integers(0, 256, size, np.uint8)).save(place / f"{number}.png")
    (folder / "cut.png").write_bytes((folder / "0.png").read_bytes()[:300])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "note.txt").write_text("no image")
    (folder / ".hidden").write_text("not asked for")
    return folder


def asked(student: Path, folder: Path, **more: object) -> PredictRequest:
    return PredictRequest(student, folder, folder.parent / "found.parquet", quiet=True, **more)  # type: ignore[arg-type]


def test_every_file_has_what_the_student_says_or_a_reason(tmp_path: Path, images: Path) -> None:
    export, student = export_student(TinyStudentSettings(width=4), tmp_path)
    request = asked(export, images, batch_size=3)
    predict_command(request)
    found, refused = read_table(request.output), read_table(request.quarantine)
    assert found["path"].to_pylist() == [*(f"{n}.png" for n in range(5)), "below/5.png", "below/6.png"]
    reasons = dict(zip(refused["path"].to_pylist(), refused["error"].to_pylist(), strict=True))
    assert reasons.pop("cut.png").startswith("cannot be decoded: ")
    assert reasons == {
        "empty.jpg": "the image has zero bytes",
        "note.txt": "not an image in a format that is read (JPEG, PNG, WEBP, GIF, BMP, TIFF, PPM, JPEG2000, AVIF)",
    }
    pixels = np.stack([square(Image.open(images / path).convert("RGB"), 32) for path in found["path"].to_pylist()])
    with torch.inference_mode():
        made = student(images_of(pixels)(np.arange(7))["image"])
    label = made[v.STUDENT_LOGITS].argmax(1)
    assert found["label"].to_pylist() == label.tolist()
    assert found["name"].to_pylist() == [CLASSES[one] for one in label.tolist()]
    score = made[v.STUDENT_LOGITS].softmax(1).max(1).values.tolist()
    assert found["score"].to_pylist() == pytest.approx(score, rel=1e-5)
    assert np.allclose(np.stack(found["embedding"].to_pylist()), made[v.STUDENT_FEATURE].numpy(), atol=1e-6)
    assert not request.parts.exists()


def test_a_students_own_file_says_the_same_as_its_export(tmp_path: Path, images: Path) -> None:
    export, _ = export_student(TinyStudentSettings(width=4), tmp_path)
    request = asked(export, images)
    predict_command(request)
    by_export = read_table(request.output)
    request.output.unlink()
    predict_command(asked(write_student(TinyStudentSettings(width=4), tmp_path), images))
    again = read_table(request.output)
    for column in ("path", "label", "score", "embedding"):
        assert again[column].to_pylist() == by_export[column].to_pylist()


def test_finished_parts_are_kept_and_other_images_begin_anew(tmp_path: Path, images: Path) -> None:
    export, _ = export_student(TinyStudentSettings(width=4), tmp_path)
    request = asked(export, images)
    predict_command(request)
    first = request.output.stat().st_mtime_ns
    predict_command(request)
    assert request.output.stat().st_mtime_ns == first
    Image.new("RGB", (20, 20)).save(images / "new.png")
    predict_command(request)
    assert len(read_table(request.output)) == 8


@pytest.mark.slow
def test_a_killed_command_is_continued_by_the_same_command(tmp_path: Path) -> None:
    export, _ = export_student(TinyStudentSettings(width=4), tmp_path)
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(400):
        Image.fromarray(np.full((8, 8, 3), number % 251, np.uint8)).save(folder / f"{number:03d}.png")
    output = tmp_path / "found.parquet"
    command = [str(SCRIPT), "predict", str(export), str(folder), "--output", str(output), "--batch-size", "1", "-q"]
    parts = tmp_path / ".found.parquet.parts"
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while running.poll() is None and len(list(parts.glob("*.parquet"))) < 2:
        time.sleep(0.005)
    running.send_signal(signal.SIGKILL)
    running.wait()
    if output.exists():
        pytest.skip("it ended before it could be killed")
    kept = {path: path.stat().st_mtime_ns for path in parts.glob("*.parquet")}
    assert len(kept) >= 2
    (parts / ".000009.parquet.left.tmp").write_bytes(b"half")
    told = subprocess.run([*command, "--dry-run"], capture_output=True, text=True, check=True).stdout
    assert f"{len(kept)} of 25 parts are done" in told
    assert {path: path.stat().st_mtime_ns for path in parts.glob("*.parquet")} == kept
    subprocess.run(command, check=True, env={**os.environ})
    found = read_table(output)
    assert found["path"].to_pylist() == [f"{number:03d}.png" for number in range(400)]
    assert not parts.exists()


def test_new_classes_are_told_by_the_cosine_to_their_texts(tmp_path: Path, images: Path) -> None:
    tower = HashedEncoderSettings(dim=16)
    export, student = export_student(
        TinyStudentSettings.model_validate(EMBEDDING), tmp_path, text_tower=tower.model_dump(mode="json")
    )
    names, sentences = tmp_path / "new.txt", tmp_path / "said.txt"
    names.write_text("red star\nblue ring\tan azure hoop\n\n")
    sentences.write_text("It has five points.\nIt is round.\n")
    pixels = np.stack([square(Image.open(path).convert("RGB"), 32) for path in sorted(images.glob("?.png"))])
    with torch.inference_mode():
        embedding = student(images_of(pixels)(np.arange(5))["image"])[v.STUDENT_EMBEDDING]
    wanted = {
        None: ["a photo of a red star.", "an azure hoop"],
        sentences: ["a photo of red star . It has five points.", "a photo of blue ring . It is round."],
    }
    for file, texts in wanted.items():
        request = asked(export, images, class_names=names, sentences=file)
        predict_command(request)
        cosines = torch.nn.functional.normalize(embedding, dim=1) @ torch.from_numpy(tower.build_text()(texts)).T
        score, label = (cosines / 0.07).softmax(1).max(1)
        found = read_table(request.output)
        assert found["name"].to_pylist()[:5] == [["red star", "blue ring"][one] for one in label.tolist()]
        assert found["score"].to_pylist()[:5] == pytest.approx(score.tolist(), rel=1e-4)


def test_what_cannot_be_is_told_at_once(tmp_path: Path, images: Path) -> None:
    export, _ = export_student(TinyStudentSettings(width=4), tmp_path)
    names = tmp_path / "new.txt"
    names.write_text("one\none\n")
    with pytest.raises(ConfigError, match="no embedding"):
        predict_command(asked(export, images, class_names=names))
    with pytest.raises(ConfigError, match=r"is no folder; --output found\.csv is not named"):
        predict_command(PredictRequest(export, tmp_path / "none", Path("found.csv"), quiet=True))
    (tmp_path / "mine.parquet").write_bytes(b"precious")
    with pytest.raises(ConfigError, match="did not write"):
        predict_command(PredictRequest(export, images, tmp_path / "mine.parquet", quiet=True))
    with pytest.raises(ArtifactError, match="does not exist"):
        predict_command(asked(tmp_path / "nothing", images))
    for path in images.rglob("*.png"):
        path.unlink()
    with pytest.raises(DataError, match="none of 2 files"):
        predict_command(asked(export, images))


def test_new_classes_need_their_text_tower_and_each_class_once(tmp_path: Path, images: Path) -> None:
    export, _ = export_student(TinyStudentSettings.model_validate(EMBEDDING), tmp_path)
    names = tmp_path / "new.txt"
    names.write_text("one\ntwo\n")
    with pytest.raises(ConfigError, match="does not name the text tower"):
        predict_command(asked(export, images, class_names=names))
    names.write_text("one\none\n")
    with pytest.raises(DataError, match="'one' stands twice"):
        predict_command(asked(export, images, class_names=names, text_encoder="hashed:16"))
    names.write_text("one\ntwo\n")
    with pytest.raises(ConfigError, match="have 8 numbers, and the student compares with 16"):
        predict_command(asked(export, images, class_names=names, text_encoder="hashed:8"))
