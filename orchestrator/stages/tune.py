"""Stage `tune`: the image teacher made a classifier of the data set, by fine-tuning or a linear probe.

Reads the index, class texts and (for a probe) the encoder's rows from the content-addressed stores; writes
`tuned_teacher/`: `weights.safetensors`, `encoder.json`, history and result. Not part of the line unless the experiment
has `teacher_tuning`. Knows nothing of students.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow.compute as pc
from pydantic import TypeAdapter

from orchestrator.artifacts.manifest import read_manifest
from orchestrator.artifacts.storage import read_json, write_atomically, write_json
from orchestrator.artifacts.store_arrays import read_rows, stream_rows
from orchestrator.config.experiment import Experiment
from orchestrator.config.run_tags import run_tags
from orchestrator.datasets.index import DatasetIndex
from orchestrator.frozen import Frozen
from orchestrator.stages import describe, index
from orchestrator.stages.context import Context, Counts, Plan
from orchestrator.stages.embed_views import RENDERER, encoded_views
from orchestrator.stages.encoded import Encoded, encoded_images, encoded_texts
from orchestrator.stages.feedback import short_metrics
from orchestrator.stages.texts import class_texts, texts_in, vectors_of_groups
from orchestrator.stages.tracked_runs import status_of
from orchestrator.teachers import BothTowers, ImageEncoderSettings, TunedEncoderSettings, UntunedEncoderSettings
from orchestrator.teachers.encoder import EMBEDDING, LOGITS
from orchestrator.teachers.tuned import ENCODER
from orchestrator.teachers.weights import EMBEDDED_PREFIX, resolve_model
from orchestrator.tracking import SpoolTracker
from orchestrator.training.run import RESULT
from orchestrator.training.tune import TuningJob
from orchestrator.training.view_settings import TeacherViews
from orchestrator.vocabulary import SPLIT_SELECT, SPLIT_TRAIN

Settings = TypeVar("Settings", bound=Frozen)
FOLDER, ROWS, CLASS_VECTORS = "tuned_teacher", "rows", "class_vectors.npy"
READS = ("index", "describe")


def run_key(context: Context) -> str:
    """Identity of the tuning in tracking."""
    return f"{context.experiment.name}/teacher/tuned"


def plan(context: Context, parents: Mapping[str, Plan]) -> Plan | None:
    """The teacher depends on the index, the encoder, the views and, for its head, class texts; None when not asked."""
    experiment = context.experiment
    if (tuning := experiment.teacher_tuning) is None:
        return None
    encoder = _embedding_only(_untuned(experiment))
    settings = {
        "encoder": encoder.identity(),
        "tuning": tuning.model_dump(mode="json"),
        "views": {**_recipe(experiment).model_dump(mode="json"), "renderer": RENDERER},
        "num_views": experiment.image_teacher_views,
    }
    reads: tuple[str, ...] = ("index",)
    if tuning.head == "class_texts":
        assert isinstance(encoder, BothTowers)
        class_text = experiment.class_text and experiment.class_text.identity()
        settings |= {"class_text": class_text, "logit_scale": encoder.logit_scale}
        reads = READS
    fingerprints = {name: parents[name].identity for name in reads if name in parents}
    return Plan("tune", context.folder / FOLDER, settings, fingerprints, is_view=False)


def teacher_of(context: Context) -> ImageEncoderSettings | None:
    """The image teacher whose outputs students read: the tuned one, as soon as there is one."""
    experiment = context.experiment
    folder = context.folder / FOLDER
    teacher = experiment.image_teacher
    if teacher is None or experiment.teacher_tuning is None or read_manifest(folder) is None:
        return teacher
    dtype = getattr(teacher, "dtype", "float32")
    outputs = dict.fromkeys((*teacher.outputs, LOGITS))
    return TunedEncoderSettings(model=str(folder), dtype=dtype, store_dtype=teacher.store_dtype, outputs=tuple(outputs))


def make(context: Context, parents: Mapping[str, Plan], planned: Plan) -> Plan:
    """Make or reuse the tuned teacher."""

    def build(folder: Path) -> tuple[Counts, Mapping[str, float]]:
        experiment = context.experiment
        tuning = experiment.teacher_tuning
        assert tuning is not None
        teacher = _untuned(experiment)
        if not (folder / RESULT).is_file():
            job = _prepare(context, parents, planned, index.load(context), teacher)
            key = job.run_key
            context.tracker.start_run(
                key, name="image teacher", parent_key=experiment.name, params=planned.settings,
                tags=run_tags(experiment, "teacher"),
            )  # fmt: skip
            context.feedback.event("tune", f"{tuning.mode} of {teacher.label()}: {tuning.epochs} epochs")
            with context.feedback.bar("tune", tuning.epochs, "epochs") as advance:

                def on_progress(progress: Mapping[str, Any]) -> None:
                    advance(progress.get("epoch", 0), short_metrics(progress))

                try:
                    context.executor.tune(job, context.execution.training, on_progress)
                except BaseException as error:
                    context.tracker.end_run(key, *status_of(error))
                    raise
            context.tracker.end_run(key, "FINISHED")
        shutil.rmtree(folder / ROWS, ignore_errors=True)
        result = read_json(folder / RESULT)
        return {"epochs": tuning.epochs, "best_epoch": result["best_epoch"]}, result["metrics"]

    context.make(planned, build)
    return planned


def _prepare(
    context: Context, parents: Mapping[str, Plan], planned: Plan, data: DatasetIndex, teacher: UntunedEncoderSettings
) -> TuningJob:
    """Everything the job reads, put where it can be read."""
    experiment, folder, tracker = context.experiment, planned.folder, context.tracker
    tuning = experiment.teacher_tuning
    assert tuning is not None
    portable = portable_encoder(teacher)
    write_json(folder / ENCODER, portable.model_dump(mode="json"))
    encoder = _embedding_only(portable)
    scale, num_classes = 1.0, index.class_groups(parents["index"].folder).num_seen
    if tuning.head == "class_texts":
        assert isinstance(encoder, BothTowers)
        scale = encoder.logit_scale
        groups = class_texts(data.classes.slice(0, num_classes), experiment.class_text, describe.load(parents))
        unique = texts_in(groups) or [""]
        texts = encoded_texts(context, encoder, unique)
        texts.make_missing(context, folder=folder)
        vectors = vectors_of_groups(groups, unique, read_rows(texts.store, texts.keys, EMBEDDING).astype(np.float32))
        write_atomically(folder / CLASS_VECTORS, lambda temporary: _save(temporary, vectors))
    if tuning.mode == "linear_probe":
        _keep_rows(context, folder, data, encoder)
    return TuningJob(
        run_key=run_key(context),
        identity=planned.fingerprint,
        folder=str(folder),
        images=str(parents["index"].folder / "images.parquet"),
        rows=str(folder / ROWS) if tuning.mode == "linear_probe" else None,
        class_vectors=str(folder / CLASS_VECTORS) if tuning.head == "class_texts" else None,
        logit_scale=scale,
        num_classes=num_classes,
        encoder=encoder,
        tuning=tuning,
        recipe=_recipe(experiment),
        num_views=experiment.image_teacher_views,
        spool=str(tracker.spool_dir) if isinstance(tracker, SpoolTracker) else None,
    )


def _keep_rows(context: Context, folder: Path, data: DatasetIndex, encoder: UntunedEncoderSettings) -> None:
    """The untuned encoder's embeddings of views of the training images, and of the selection images, as `.npy`."""
    for split in (SPLIT_TRAIN, SPLIT_SELECT):
        images = data.images.filter(pc.equal(data.images["split"], split))
        if split == SPLIT_TRAIN and context.experiment.image_teacher_views:
            encoded: Encoded = encoded_views(context, encoder, _recipe(context.experiment), images)
        else:
            encoded = encoded_images(context, encoder, images)
        encoded.make_missing(context, folder=folder)

        def write(temporary: Path, encoded: Encoded = encoded) -> None:
            mapped = None
            for places, values in stream_rows(encoded.store, encoded.keys, EMBEDDING):
                if mapped is None:
                    shape = (len(encoded.keys), values.shape[1])
                    mapped = np.lib.format.open_memmap(temporary, "w+", values.dtype, shape)
                mapped[places] = values
            if mapped is None:
                _save(temporary, np.zeros((0, 1), np.float32))
            else:
                mapped.flush()

        write_atomically(folder / ROWS / f"{split}.npy", write)


def _save(path: Path, array: Any) -> None:
    with path.open("wb") as stream:
        np.save(stream, array, allow_pickle=False)


def _recipe(experiment: Experiment) -> TeacherViews:
    """The views of the training images, drawn on the tuning's own seed."""
    assert experiment.teacher_tuning is not None
    return TeacherViews(
        num_views=max(1, experiment.image_teacher_views),
        views=experiment.training.views,
        image_size=experiment.image_size,
        framing=experiment.framing,
        data_seed=experiment.teacher_tuning.data_seed,
    )


def _untuned(experiment: Experiment) -> UntunedEncoderSettings:
    teacher = experiment.image_teacher
    assert teacher is not None
    assert not isinstance(teacher, TunedEncoderSettings)  # refused with the experiment
    return teacher


def _embedding_only(encoder: UntunedEncoderSettings) -> UntunedEncoderSettings:
    """The encoder as the head sees it."""
    changed = {**encoder.model_dump(mode="json"), "outputs": [EMBEDDING]}
    found: UntunedEncoderSettings = TypeAdapter(UntunedEncoderSettings).validate_python(changed)
    return found


def portable_encoder(encoder: Settings) -> Settings:
    """The same with the absolute path of a local directory, so that any working directory finds it."""
    model = getattr(encoder, "model", None)
    if model is None or model.startswith(EMBEDDED_PREFIX):
        return encoder
    return encoder.model_copy(update={"model": resolve_model(model)})
