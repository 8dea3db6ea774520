"""What a student says of a folder of images: one row for each readable image, one reason for each other file.

Reads a student or an export, and images; writes a Parquet file and, beside it, `NAME.quarantine.parquet`. Finished
parts lie in `.NAME.parts` meanwhile, so that the same command goes on after a kill. Knows nothing of data sets.
"""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from orchestrator.artifacts.fingerprint import digest_file, fingerprint
from orchestrator.artifacts.storage import read_json, read_table, write_json, write_table
from orchestrator.datasets.index import decode_rgb, read_image_bytes
from orchestrator.errors import ArtifactError, ConfigError, DataError
from orchestrator.exporting.bundle import BACKBONE, CONFIG, HEAD, ExportConfig, read_config
from orchestrator.exporting.network import open_network
from orchestrator.exporting.use_student import normalised, square
from orchestrator.stages.export import write_weights
from orchestrator.stages.feedback import Feedback
from orchestrator.stages.finished_student import find_source
from orchestrator.stages.new_classes import NewClasses, embed_new_classes
from orchestrator.students.networks.student import IMAGE

BATCHES_PER_PART = 16
NUM_THREADS = 4
PLAN, IDENTITY = "plan.json", b"orchestrator.predict"  # of the parts' folder; of the file's metadata


@dataclass(frozen=True)
class PredictRequest:
    """What `orchestrator predict` was asked for."""

    student: Path
    folder: Path
    output: Path
    arm: str | None = None
    class_names: Path | None = None
    sentences: Path | None = None
    template: str = "a photo of a {}."
    text_encoder: str | None = None
    batch_size: int = 64
    dry_run: bool = False
    quiet: bool = False

    @property
    def quarantine(self) -> Path:
        """Where bad files are told."""
        return self.output.with_suffix(f".quarantine{self.output.suffix}")

    @property
    def parts(self) -> Path:
        """Where finished parts lie until all are there."""
        return self.output.parent / f".{self.output.name}.parts"


def predict_command(asked: PredictRequest) -> dict[str, Any]:
    """Predict, and tell the counts; returns them for scripts."""
    feedback = Feedback(quiet=asked.quiet)
    with opened_export(asked.student, asked.arm) as export:
        config = read_config(export)
        new = _check(asked, config)
        files = list_files(asked.folder)
        identity = fingerprint(
            {
                "weights": [digest_file(export / name) for name in (BACKBONE, HEAD)],
                "preprocessing": config.preprocessing.model_dump(mode="json"),
                "classes": list(config.classes) if new is None else new.identity(),
                "files": [[name, size, time] for name, size, time in files],
                "part": asked.batch_size * BATCHES_PER_PART,
            }
        )
        if _identity_of(asked.output) == identity:
            feedback.console.print(f"reused {asked.output}: nothing has changed", markup=False)
            return {"output": str(asked.output), "files": len(files), "reused": True}
        if asked.dry_run:
            done = _finished_parts(asked, identity)
            told = f"{len(files):,} files, {done} of {_num_parts(asked, len(files))} parts are done"
            feedback.console.print(f"{told}; would write {asked.output} and {asked.quarantine}", markup=False)
            return {"dry_run": True, "output": str(asked.output), "files": len(files)}
        good, bad = _predict(asked, export, config, new, [name for name, _, _ in files], identity, feedback)
    feedback.console.print(
        f"{len(files):,} files: {good:,} predicted in {asked.output}, {bad:,} refused in {asked.quarantine}",
        markup=False,
    )
    return {"output": str(asked.output), "files": len(files), "predicted": good, "refused": bad}


@contextmanager
def opened_export(path: Path, arm: str | None) -> Iterator[Path]:
    """The export that a path names; of a student that is not exported, one for the time of the command."""
    if (path / CONFIG).is_file():
        yield path
        return
    if not path.exists():
        raise ArtifactError(f"{path} does not exist", expected="an export, an experiment's folder, or a student's file")
    with tempfile.TemporaryDirectory() as folder:
        write_weights(find_source(path, arm), Path(folder))
        yield Path(folder)


def _check(asked: PredictRequest, config: ExportConfig) -> NewClasses | None:
    """Every problem of the request at once; the new classes where there are some."""
    problems = []
    if config.reads != IMAGE:
        problems.append(f"the student reads {config.reads} of its teacher, not images")
    if not asked.folder.is_dir():
        problems.append(f"{asked.folder} is no folder")
    if asked.output.suffix != ".parquet":
        problems.append(f"--output {asked.output} is not named *.parquet")
    if asked.output.is_file() and _identity_of(asked.output) is None:
        problems.append(f"--output {asked.output} is a file that this command did not write")
    if asked.class_names is None and (asked.sentences is not None or asked.text_encoder is not None):
        problems.append("--sentences and --text-encoder are for --class-names, which is not given")
    if problems:
        raise ConfigError("; ".join(problems))
    if asked.class_names is None:
        return None
    return NewClasses.read(config, asked.class_names, asked.sentences, asked.template, asked.text_encoder)


def list_files(folder: Path) -> list[tuple[str, int, int]]:
    """(path below the folder, bytes, time of change in ns) of every file that is not hidden, by name.

    Raises:
        DataError: there is none.
    """
    found = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in name.parts):
            stat = path.stat()
            found.append((name.as_posix(), stat.st_size, stat.st_mtime_ns))
    if not found:
        raise DataError(f"{folder} holds no file", expected="images")
    return found


def _predict(
    asked: PredictRequest,
    export: Path,
    config: ExportConfig,
    new: NewClasses | None,
    names: Sequence[str],
    identity: str,
    feedback: Feedback,
) -> tuple[int, int]:
    """All parts, then the two files; (rows predicted, files refused)."""
    network = open_network(export, config)
    classes, texts = (config.classes, None) if new is None else (new.names, embed_new_classes(export, config, new))
    _begin_parts(asked, identity)
    size = asked.batch_size * BATCHES_PER_PART
    with feedback.bar("predict", len(names), "images") as advance, ThreadPoolExecutor(NUM_THREADS) as threads:
        for number, start in enumerate(range(0, len(names), size)):
            place = asked.parts / f"{number:06d}.parquet"
            if not place.is_file():
                rows = [
                    _batch(asked, network, config, texts, classes, names[at : at + asked.batch_size], threads)
                    for at in range(start, min(start + size, len(names)), asked.batch_size)
                ]
                write_table(place, pa.concat_tables(rows))
            advance(min(start + size, len(names)))
    whole = pa.concat_tables([read_table(path) for path in sorted(asked.parts.glob("*.parquet"))])
    is_good = np.array([error is None for error in whole["error"].to_pylist()])
    if len(whole) != len(names):
        raise ArtifactError(f"{asked.parts}: {len(whole)} rows for {len(names)} files", remedy="remove it and repeat")
    bad = whole.filter(pa.array(~is_good)).select(["path", "error"])
    if not is_good.any():
        first = bad["error"][0].as_py()
        raise DataError(f"none of {len(names)} files in {asked.folder} is an image; the first: {first}")
    write_table(asked.quarantine, bad)
    good = whole.filter(pa.array(is_good)).drop_columns(["error"])
    write_table(asked.output, good.replace_schema_metadata({IDENTITY: identity.encode()}))
    shutil.rmtree(asked.parts)
    return len(good), len(bad)


@torch.inference_mode()
def _batch(
    asked: PredictRequest,
    network: torch.nn.Module,
    config: ExportConfig,
    texts: Tensor | None,
    classes: Sequence[str],
    names: Sequence[str],
    threads: ThreadPoolExecutor,
) -> pa.Table:
    """One row for each file: what the student says of it, or why it is refused."""
    preprocessing = config.preprocessing.model_dump(mode="json")

    def read(name: str) -> np.ndarray | str:
        path = asked.folder / name
        try:
            return square(decode_rgb(read_image_bytes(str(path), 0, path.stat().st_size)), preprocessing)
        except DataError as error:
            return error.wrong
        except OSError as error:
            return f"cannot be read: {error.strerror or error}"

    found = list(threads.map(read, names))
    images = [one for one in found if not isinstance(one, str)]
    errors = pa.array([one if isinstance(one, str) else None for one in found], pa.string())
    at = iter(range(len(images)))
    order = pa.array([None if isinstance(one, str) else next(at) for one in found], pa.int64())
    if images:
        made = network(normalised(np.stack(images), {"preprocessing": preprocessing}))
        vectors = made["embedding"] if "embedding" in made else made["feature"]
        scores = _scores(made, texts, config)
    else:
        vectors, scores = torch.zeros(0, 1), None
    columns = {"path": pa.array(names, pa.string())}
    if scores is not None:
        best, label = scores.max(dim=1)
        columns |= {
            "label": pa.array(label.numpy().astype(np.int32)).take(order),
            "name": pa.array([classes[one] for one in label.tolist()], pa.string()).take(order),
            "score": pa.array(best.float().numpy()).take(order),
        }
    elif config.output != "embedding" or texts is not None:
        columns |= {name: pa.nulls(len(names), kind) for name, kind in SCORED.items()}
    lists = pa.array(list(vectors.float().numpy()), pa.list_(pa.float32()))
    return pa.table({**columns, "embedding": lists.take(order), "error": errors})


SCORED = {"label": pa.int32(), "name": pa.string(), "score": pa.float32()}


def _scores(made: dict[str, Tensor], texts: Tensor | None, config: ExportConfig) -> Tensor | None:
    """[n, C] probabilities: among new classes, by the classifier, or among the class texts; None: there are none."""
    if texts is not None:
        cosines = torch.nn.functional.normalize(made["embedding"], dim=1) @ texts.T
        return (cosines / config.temperature).softmax(dim=1)
    if "logits" in made:
        return made["logits"].softmax(dim=1)
    return (made["cosines"] / config.temperature).softmax(dim=1) if "cosines" in made else None


def _begin_parts(asked: PredictRequest, identity: str) -> None:
    """Parts of another request are dropped."""
    path = asked.parts / PLAN
    if path.is_file() and read_json(path) == identity:
        return
    shutil.rmtree(asked.parts, ignore_errors=True)
    write_json(path, identity)


def _num_parts(asked: PredictRequest, num_files: int) -> int:
    return -(-num_files // (asked.batch_size * BATCHES_PER_PART))


def _finished_parts(asked: PredictRequest, identity: str) -> int:
    path = asked.parts / PLAN
    return len(list(asked.parts.glob("*.parquet"))) if path.is_file() and read_json(path) == identity else 0


def _identity_of(path: Path) -> str | None:
    """Of what a finished file was made; None where there is no such file."""
    if not path.is_file():
        return None
    try:
        metadata = pq.read_schema(path).metadata or {}
    except pa.ArrowInvalid:
        return None
    return metadata[IDENTITY].decode() if IDENTITY in metadata else None
