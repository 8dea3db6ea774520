"""`orchestrator export` and `orchestrator predict` from their arguments to what is printed.

Knows nothing of the terminal's parser. Reads sheets; the stages do the rest.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.artifacts.manifest import Status
from orchestrator.artifacts.storage import read_json
from orchestrator.config.load import arm_experiment
from orchestrator.errors import ArtifactError, ConfigError
from orchestrator.exporting.bundle import read_config
from orchestrator.exporting.onnx_model import INT8, ONNX
from orchestrator.stages import export, line
from orchestrator.stages.command import Request
from orchestrator.stages.export import MEASURED, ExportSettings
from orchestrator.stages.feedback import Feedback
from orchestrator.stages.finished_student import Source, best_arm, find_source
from orchestrator.tracking import TrackingSettings, resolve_uri
from orchestrator.tracking.registry import RegisteredName, register

SHEETS = (".yaml", ".yml")


@dataclass(frozen=True)
class ExportRequest:
    """What `orchestrator export` was asked for.

    Attributes:
        request: the sheets; its `experiment` may also be a folder or a student's file.
        licences: MODEL=LICENCE statements.
        register: a name in MLflow's registry; alias: to give the new version.
    """

    request: Request
    arm: str | None
    output: Path | None
    settings: ExportSettings
    licences: Sequence[str] = ()
    register: str | None = None
    alias: str | None = None


def export_command(asked: ExportRequest) -> dict[str, Any]:
    """Export a finished student and tell where it is; returns that for scripts."""
    feedback = Feedback(quiet=asked.request.quiet)
    if asked.alias is not None and asked.register is None:
        raise ConfigError("--alias names a registered version, and --register is not given", remedy="add --register")
    source, tracking = _source(asked)
    licences = _licences(asked.licences)
    output = asked.output or _default_output(source)
    if asked.request.dry_run:
        planned = export.plan(source, asked.settings, licences)
        found = export.status(output, planned)
        feedback.console.print(f"{source.file} -> {output}: {found}", markup=False)
        return {"dry_run": True, "student": str(source.file), "export": str(output), "would_be": str(found)}
    path = asked.request.experiment
    of_many = path.suffix in SHEETS or (source.home is not None and path.resolve() == source.home.resolve())
    chosen = ", the best on the selection split; --arm chooses another" if of_many and asked.arm is None else ""
    feedback.event("export", f"{source.arm}{chosen} ({source.file})")
    manifest, made = export.make(source, output, asked.settings, licences)
    feedback.event("export", f"{'made' if made else 'reused'} {output}: {', '.join(manifest.files)}")
    told: dict[str, Any] = {"student": str(source.file), "export": str(output), "files": list(manifest.files)}
    config, measured = read_config(output), read_json(output / MEASURED)
    if config.compared_on:
        difference = f"{config.max_abs_difference:.3g}, on {config.compared_on}"
        feedback.event("export", f"outputs differ from the trained model's by {difference}")
    for name, differences in ((ONNX, measured["onnx"]), (INT8, measured["int8"])):
        if differences:
            shown = ", ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in differences.items())
            feedback.event("export", f"{name}: {shown}")
    if asked.register is not None:
        settings, root = tracking
        wanted = RegisteredName(asked.register, asked.alias)
        key = "" if source.home is None else f"{source.home.name}/arm/{source.arm}"
        uri = resolve_uri(settings, root)
        version, is_new = register(uri, output, wanted, run_key=key, export=manifest.fingerprint)
        word = "registered as" if is_new else "was registered as"
        feedback.event("export", f"{word} models:/{asked.register}/{version} in {uri}")
        told["registered"] = f"models:/{asked.register}/{version}"
    feedback.console.print(f"export: {output}", markup=False)
    return told


def _source(asked: ExportRequest) -> tuple[Source, tuple[TrackingSettings, Path]]:
    """The student, and where its runs are reported."""
    path = asked.request.experiment
    if path.suffix not in SHEETS:
        if asked.request.overrides:
            raise ConfigError(f"{path} is no sheet, so nothing in it can be overridden")
        if not path.exists():
            raise ArtifactError(f"{path} does not exist", expected="an experiment's sheet, its folder, or a student")
        source = find_source(path, asked.arm)
        root = source.file.parent if source.home is None else source.home.parent
        return source, (TrackingSettings(), root)
    context = asked.request.context()
    experiment = context.experiment
    if asked.arm is not None and asked.arm not in experiment.arms:
        raise ConfigError(f"--arm {asked.arm}", expected=f"one of {', '.join(experiment.arms)}")
    arm = asked.arm or best_arm(context.folder)
    stale = [
        (stage, folder, what)
        for stage, folder, what in line.forecast(context, "train")
        if what != Status.REUSE.value and (stage != "train" or Path(folder).name == arm)
    ]
    if stale:
        stage, folder, what = stale[0]
        raise ArtifactError(
            f"the student of {arm} is not the one that this sheet describes: {stage} {folder} would be: {what}",
            remedy="run it first (orchestrator run), or name the arm's folder to export it as it is",
        )
    source = find_source(context.folder, arm, arm_experiment(experiment, arm))
    return source, (context.execution.tracking, context.root)


def _default_output(source: Source) -> Path:
    return source.file.with_suffix("") if source.home is None else source.home / "exports" / source.arm


def _licences(statements: Sequence[str]) -> Mapping[str, str]:
    wrong = [one for one in statements if not all(part.strip() for part in one.partition("="))]
    if wrong:
        raise ConfigError(f"--licence {', '.join(wrong)}", expected="MODEL=LICENCE, for example openai/clip=MIT")
    return {one.partition("=")[0]: one.partition("=")[2] for one in statements}
