"""Stage `train`: one student for each arm of the experiment, by the engine's distributed training.

Reads shards and embeddings; writes each arm's student, history and result. Knows nothing of Ray.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.artifacts.fingerprint import digest_file
from orchestrator.artifacts.storage import read_table
from orchestrator.config.experiment import Experiment
from orchestrator.config.load import arm_experiment
from orchestrator.config.run_tags import run_tags
from orchestrator.stages import describe, index, tune
from orchestrator.stages.context import Context, Counts, Plan
from orchestrator.stages.feedback import short_metrics
from orchestrator.stages.texts import class_prompts
from orchestrator.stages.tracked_runs import dataset_of, status_of
from orchestrator.tracking import SpoolTracker
from orchestrator.training.checkpoint import GO_ON
from orchestrator.training.live_teacher import LiveTeaching
from orchestrator.training.live_texts import LivePrompts, LiveTexts, LiveTuning, TowerSettings
from orchestrator.training.run import TrainingJob, checkpoint_folder, read_result, train_settings


def plan(context: Context, parents: Mapping[str, Plan], arm: str, best: Mapping[str, Any]) -> Plan:
    """A student depends on shards, embeddings and its arm's settings, the sweep's best values included."""
    experiment = arm_experiment(context.experiment, arm, best)
    settings = train_settings(experiment.student, experiment.adaptor, experiment.losses, experiment.training,
                              experiment.text_sources, experiment.image_size)  # fmt: skip
    settings |= _live_settings(experiment)
    if (live := live_teacher(context, experiment)) is not None:
        settings |= live.settings()
    folder = context.folder / "arms" / arm
    return make_plan(context, experiment, folder, settings, parents_of(parents, experiment), run_key(context, arm))


def run_key(context: Context, arm: str) -> str:
    """Identity of an arm's run in tracking."""
    return f"{context.experiment.name}/arm/{arm}"


def make_plan(
    context: Context,
    experiment: Experiment,
    folder: Path,
    settings: dict[str, Any],
    parents: dict[str, str],
    run_key: str,
) -> Plan:
    """The plan of a student, which goes on from the shorter trainings that its settings extend."""
    shorter = [{**settings, "training": one.model_dump(mode="json")} for one in experiment.training.shorter()]
    return Plan(
        "train", folder, settings, parents, is_view=False, goes_on_from=tuple(shorter), way_out=GO_ON,
        elsewhere=checkpoint_folder(context.execution.checkpoint_settings, folder, run_key),
    )  # fmt: skip


def make_job(
    context: Context, experiment: Experiment, parents: Mapping[str, Plan], folder: Path, run_key: str
) -> TrainingJob:
    """The training job of an experiment (an arm, a trial, a cell) with results in `folder`."""
    tracker, groups = context.tracker, index.class_groups(parents["index"].folder)
    return TrainingJob(
        run_key=run_key,
        folder=str(folder),
        shards=str(parents["shard"].folder),
        embeddings=str(parents["embed"].folder),
        hot_copies=None if context.hot_copies is None else str(context.hot_copies),
        parents=parents_of(parents, experiment),
        num_classes=groups.num_classes,
        num_seen_classes=groups.num_seen,
        num_validation_classes=groups.num_validation,
        image_size=experiment.image_size,
        text_sources=experiment.text_sources,
        student=experiment.student,
        adaptor=experiment.adaptor,
        losses=experiment.losses,
        training=experiment.training,
        live_texts=live_texts(experiment, parents),
        watch=experiment.watch,
        loading=context.execution.input,
        checkpointing=context.execution.checkpoint_settings,
        live_teacher=live_teacher(context, experiment),
        spool=str(tracker.spool_dir) if isinstance(tracker, SpoolTracker) else None,
    )


def live_texts(experiment: Experiment, parents: Mapping[str, Plan]) -> LiveTexts:
    """What the experiment learns of texts: class prompts of the image teacher, the text encoder."""
    prompt, tuning = experiment.class_prompt, experiment.text_tuning
    teacher, encoder = experiment.image_teacher, experiment.text_encoder
    learnt = None
    if prompt is not None:
        assert isinstance(teacher, TowerSettings)  # others are refused with the experiment
        classes, written = read_table(parents["index"].folder / "classes.parquet"), describe.load(parents)
        prompts = class_prompts(classes, experiment.class_text, written, with_text=prompt.with_class_text)
        learnt = LivePrompts(settings=prompt, encoder=tune.portable_encoder(teacher), prompts=tuple(prompts))
    tuned = None
    if tuning is not None:
        assert isinstance(encoder, TowerSettings)
        tuned = LiveTuning(settings=tuning, encoder=tune.portable_encoder(encoder))
    return LiveTexts(class_prompt=learnt, text_tuning=tuned)


def live_teacher(context: Context, experiment: Experiment) -> LiveTeaching | None:
    """The image teacher that looks in the training step, where it is to."""
    teacher = tune.teacher_of(context)
    if teacher is None or experiment.image_teacher_mode == "cached":
        return None
    encoder = tune.portable_encoder(teacher)
    return LiveTeaching(mode=experiment.image_teacher_mode, encoder=encoder, framing=experiment.framing)


def _live_settings(experiment: Experiment) -> dict[str, Any]:
    parts = {"class_prompt": experiment.class_prompt, "text_tuning": experiment.text_tuning}
    return {name: one.model_dump(mode="json") for name, one in parts.items() if one is not None}


def make(context: Context, parents: Mapping[str, Plan], arm: str, best: Mapping[str, Any]) -> Plan:
    """Make or reuse the student of one arm."""
    planned = plan(context, parents, arm, best)

    def build(folder: Path) -> tuple[Counts, Mapping[str, float]]:
        experiment = arm_experiment(context.experiment, arm, best)
        key = run_key(context, arm)
        job = make_job(context, experiment, parents, folder, key)
        context.tracker.start_run(
            key, name=arm, parent_key=context.experiment.name, params=planned.settings,
            tags=run_tags(experiment, "arm", arm=arm),
        )  # fmt: skip
        context.tracker.log_dataset(key, dataset_of(context, parents))
        workers = context.execution.training
        context.feedback.event("train", f"{arm}: {experiment.training.epochs} epochs on {workers.shown} workers")
        with context.feedback.bar("train", experiment.training.epochs, "epochs") as advance:

            def on_progress(progress: Mapping[str, Any]) -> None:
                advance(progress.get("epoch", 0), short_metrics(progress))

            try:
                context.executor.train(job, workers, on_progress)
            except BaseException as error:
                context.tracker.end_run(key, *status_of(error))
                raise
        metrics: dict[str, float] = read_result(folder)["metrics"]
        context.tracker.end_run(key, "FINISHED")
        return {"epochs": experiment.training.epochs}, metrics

    context.make(planned, build)
    return planned


def parents_of(parents: Mapping[str, Plan], experiment: Experiment) -> dict[str, str]:
    """What a student depends on besides its settings: shards, embeddings, and the content of what it starts from."""
    found = {name: parents[name].identity for name in ("shard", "embed")}
    checkpoint = getattr(experiment.student, "checkpoint", None)
    if checkpoint is not None and Path(checkpoint).is_file():  # one that is missing is refused when it is loaded
        found["checkpoint"] = digest_file(Path(checkpoint))
    return found
