"""A finished student as an export: found in its run, written, proved on real images, described.

Reads a student's file and, where it lies in a run, the run's manifests, shards and embeddings; writes the export's
folder, whole or not at all. Knows nothing of the command line or of MLflow.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from orchestrator import vocabulary
from orchestrator.artifacts.fingerprint import digest_file
from orchestrator.artifacts.manifest import Manifest, artifact_fingerprint, discard, read_manifest, write_manifest
from orchestrator.artifacts.storage import read_json, write_json
from orchestrator.captioners.texts import CaptionText, WrittenDescriptionText
from orchestrator.config.experiment import Experiment
from orchestrator.datasets.framing import Framing
from orchestrator.errors import ArtifactError, ConfigError
from orchestrator.exporting import bundle
from orchestrator.exporting.bundle import ExportConfig, prove, write_bundle
from orchestrator.exporting.card import CardFacts, Model, write_card
from orchestrator.exporting.int8 import Quantization, compare, write_int8
from orchestrator.exporting.licences import UNKNOWN, licence_of
from orchestrator.exporting.network import input_name
from orchestrator.exporting.onnx_model import INT8, ONNX, OPSET, TOLERANCE, onnx_parity, open_session, write_onnx
from orchestrator.exporting.speed import measure_speed
from orchestrator.frozen import Frozen
from orchestrator.stages.finished_student import Source
from orchestrator.students.networks.student import IMAGE
from orchestrator.students.networks.two_tower.student import TwoTowerStudent
from orchestrator.training.data import OUTPUT_OF

STAGE = "export"
MEASURED = "measured.json"  # what the card says of ONNX, int8 and speed, for machines
NUM_COMPARED = 64  # real images on which outputs are compared
NUM_CALIBRATED = 128


class ExportSettings(Frozen):
    """What is made besides weights and snippet."""

    onnx: bool = False
    opset: int = OPSET
    tolerance: float = TOLERANCE
    int8: Quantization | None = None
    speed: bool = True
    compiled: bool = False
    batch_sizes: tuple[int, ...] = (1, 64)
    threads: int = 1


def plan(source: Source, settings: ExportSettings, licences: Mapping[str, str]) -> dict[str, Any]:
    """What determines an export: settings, and the very weights and figures it tells of."""
    parents = {"weights": digest_file(source.file)}
    if source.home is not None and (path := source.home / "evaluations" / source.arm / "evaluation.json").is_file():
        parents["evaluation"] = digest_file(path)
    told = {"export": settings.model_dump(mode="json"), "licences": dict(licences),
            "models": [vars(one) for one in models_of(source, licences)]}  # fmt: skip
    return {"settings": told, "parents": parents}


def status(output: Path, planned: Mapping[str, Any]) -> str:
    """What `make` would do."""
    found = read_manifest(output)
    if found is None:
        return "make"
    return "reuse" if found.fingerprint == artifact_fingerprint(STAGE, **planned) else "remake"


def make(source: Source, output: Path, settings: ExportSettings, licences: Mapping[str, str]) -> tuple[Manifest, bool]:
    """Write the export, or find that it is there; returns its manifest and whether it was made now.

    Raises:
        ArtifactError: `output` holds something that is no export, or the export does not compute what the student does.
        ConfigError: the student cannot be exported so.
    """
    _check(source, settings)
    planned = plan(source, settings, licences)
    found = read_manifest(output)
    if found is not None and found.fingerprint == artifact_fingerprint(STAGE, **planned):
        return found, False
    if output.exists() and (not output.is_dir() or any(output.iterdir())) and (found is None or found.stage != STAGE):
        raise ArtifactError(f"{output} holds something that is no export", remedy="name another --output")
    output.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    try:
        counts, metrics = _fill(source, building, settings, licences)
        manifest = write_manifest(building, stage=STAGE, counts=counts, metrics=metrics, seconds=0.0, **planned)
        building.chmod(0o755)
        if output.exists():
            discard(output)
        building.rename(output)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return manifest, True


def _check(source: Source, settings: ExportSettings) -> None:
    if settings.int8 is not None and not settings.onnx:
        raise ConfigError("--int8 quantises the ONNX graph, and --onnx is not given", remedy="add --onnx")
    if settings.int8 == "static" and source.inputs(vocabulary.SPLIT_TRAIN, 1) is None:
        raise ConfigError(
            "--int8 static calibrates on training images, and this student lies outside its run",
            remedy="use --int8 dynamic, or name the experiment",
        )


def _fill(
    source: Source, folder: Path, settings: ExportSettings, licences: Mapping[str, str]
) -> tuple[dict[str, int], dict[str, float]]:
    config = write_weights(source, folder)
    real = source.inputs(vocabulary.SPLIT_SELECT, NUM_COMPARED)
    given, compared_on = _given(source, real)
    if config.reads == IMAGE:
        config = prove(folder, source.student, given, compared_on)
        given = bundle.rescaled(given, config)
    measured: dict[str, Any] = {"onnx": {}, "int8": {}, "speed": {}}
    if settings.onnx:
        write_onnx(folder, config, given[:2], opset=settings.opset)
        measured["onnx"] = onnx_parity(folder, config, given, tolerance=settings.tolerance)
    if settings.int8 is not None:
        measured["int8"] = {"kind": settings.int8, **_int8(source, folder, config, settings.int8)}
    if settings.speed:
        measured["speed"] = measure_speed(
            folder, config, given, batch_sizes=settings.batch_sizes, threads=settings.threads,
            compiled=settings.compiled,
        )  # fmt: skip
    write_json(folder / MEASURED, measured)
    write_card(folder, config, facts_of(source, licences, settings, measured))
    metrics = {f"onnx/{name}": value for name, value in measured["onnx"].items()}
    return {"classes": len(config.classes)}, {**metrics, "max_abs_difference": config.max_abs_difference}


def write_weights(source: Source, folder: Path) -> ExportConfig:
    """Description, weights and snippet alone."""
    shards = source.manifest("shards")
    stored = {} if shards is None else shards.settings
    names, num_seen = source.classes
    return write_bundle(
        folder, source.student, source.settings, file=source.file, class_text=source.class_text, classes=names,
        num_seen=num_seen, image_size=source.image_size, frame_size=int(stored.get("image_size", source.image_size)),
        framing=cast(Framing, stored.get("framing", "crop")), text_tower=text_tower_of(source.experiment),
        fingerprint="" if source.run is None else source.run.fingerprint,
    )  # fmt: skip


def text_tower_of(experiment: Experiment | None) -> dict[str, Any] | None:
    """Settings of the encoder of class texts, with which new class names can be embedded."""
    from orchestrator.teachers import BothTowers

    if experiment is None or experiment.teacher_tuning is not None or experiment.class_prompt is not None:
        return None  # a tuned teacher's images have left its texts; a learnt context is not kept
    teacher = experiment.image_teacher
    return teacher.model_dump(mode="json") if isinstance(teacher, BothTowers) else None


def _given(source: Source, real: tuple[Tensor, Any] | None) -> tuple[Tensor, str]:
    """Inputs to compare outputs on, at least two: real ones of the selection split, else random ones."""
    if real is not None and len(real[0]) > 1:
        return real[0], f"{len(real[0])} {'images' if source.student.reads[0] == IMAGE else 'rows'} of the select split"
    if isinstance(source.student, TwoTowerStudent):
        raise ConfigError(
            f"the student reads {source.student.reads[0]}, and its run's rows are not there",
            remedy="export it from its experiment",
        )
    channels = source.header["student"].get("in_chans", 3)
    shape = (8, channels, source.image_size, source.image_size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)), "8 random images"


def _int8(source: Source, folder: Path, config: ExportConfig, kind: Quantization) -> dict[str, Any]:
    def ready(split: str, limit: int) -> tuple[Any, Any] | None:
        found = source.inputs(split, limit)
        if found is None:
            return None
        given = bundle.rescaled(found[0], config) if config.reads == IMAGE else found[0]
        return given.float().contiguous().numpy(), found[1]

    calibration = ready(vocabulary.SPLIT_TRAIN, NUM_CALIBRATED) if kind == "static" else None
    nothing = np.zeros((0,), np.float32)
    write_int8(folder, kind, nothing if calibration is None else calibration[0], input_name(config))
    selected = ready(vocabulary.SPLIT_SELECT, 1 << 31)
    if selected is None or config.output == "embedding":
        return {}
    exact, coarse = (open_session(folder / name) for name in (ONNX, INT8))
    return {**compare(exact, coarse, *selected), "on": "images of the select split"}


def models_of(source: Source, licences: Mapping[str, str]) -> tuple[Model, ...]:
    """The models that the student learnt from, and the one whose weights it began with."""
    found = [] if source.experiment is None else read_models(source.experiment)
    models = []
    for part, settings in found:
        name = getattr(settings, "model", None) or getattr(settings, "name", None)
        licence = "none needed (no weights)" if name is None else licence_of(str(name), licences)
        models.append(Model(part, str(name or settings.kind), licence))
    student = source.header["student"]
    start = f"timm/{student['name']}" if student.get("pretrained") else student.get("checkpoint")
    if start:
        models.append(Model("start of the student", Path(start).name if student.get("checkpoint") else start,
                            licences.get(start, UNKNOWN)))  # fmt: skip
    return tuple(models)


def read_models(experiment: Experiment) -> list[tuple[str, Any]]:
    """(part, settings) of the frozen models whose outputs this arm's losses, or its student, read."""
    from orchestrator.config.composition import blueprint, supplied

    model = blueprint(experiment, supplied(experiment))
    read = model.objective.required_inputs() | set(model.student.reads)
    texts = [experiment.texts[name] for name in experiment.text_sources]
    reads_texts = bool(read & {vocabulary.TEXT, vocabulary.TEXT_PREDICTION})
    found: list[tuple[str, Any]] = []
    if reads_texts and any(isinstance(text, CaptionText) for text in texts):
        found.append(("captioner", experiment.captioner))
    if reads_texts and any(isinstance(text, WrittenDescriptionText) for text in texts):
        found.append(("describer of classes", experiment.describer_settings()))
    if reads_texts:
        found.append(("text encoder", experiment.text_encoder))
    of_teacher = {vocabulary.CLASS_TEXT, vocabulary.DOMAIN_TEXT, *OUTPUT_OF}
    if experiment.image_teacher is not None and read & of_teacher:
        found.append(("image teacher", experiment.image_teacher))
    return found


def facts_of(
    source: Source, licences: Mapping[str, str], settings: ExportSettings, measured: Mapping[str, Any]
) -> CardFacts:
    """What the model card tells."""
    index, experiment = source.manifest("index"), source.experiment
    metrics: dict[str, dict[str, float]] = {}
    if source.run is not None:
        selected = {name.removeprefix("select/"): value for name, value in source.run.metrics.items()
                    if name.startswith("select/")}  # fmt: skip
        metrics |= {"select": selected} if selected else {}
    measures: dict[str, float] = {}
    if source.home is not None:
        with contextlib.suppress(FileNotFoundError):
            evaluation = read_json(source.home / "evaluations" / source.arm / "evaluation.json")
            metrics |= {"report": evaluation["metrics"]} if evaluation["metrics"] else {}
            measures = evaluation["measures"]
    home = source.home
    return CardFacts(
        name=experiment.name if experiment is not None else home.name if home is not None else source.file.stem,
        arm="" if home is None else source.arm,
        description="" if experiment is None else experiment.description,
        dataset={} if index is None else _public(index.settings["dataset"]),
        counts={} if index is None else {name: index.counts[name] for name in vocabulary.SPLITS},
        models=models_of(source, licences),
        knows_models=experiment is not None,
        training={} if source.run is None else source.run.settings,
        metrics=metrics,
        measures=measures,
        onnx=measured["onnx"],
        onnx_opset=settings.opset,
        int8=measured["int8"],
        speed=measured["speed"],
    )


def _public(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """The data set's settings without the paths of this machine."""
    return {
        name: Path(value).name if isinstance(value, str) and "/" in value else value
        for name, value in dataset.items()
        if value is not None
    }
