"""The best student of a run, exported and given to tracking, which registers it as a model with an alias.

Reads finished students; writes an export, where there is none of this very student. Knows nothing of MLflow.
"""

from collections.abc import Mapping

from orchestrator.artifacts.manifest import read_manifest
from orchestrator.config.load import arm_experiment
from orchestrator.exporting.bundle import read_config
from orchestrator.stages import export, train
from orchestrator.stages.context import Context, Plan
from orchestrator.stages.export import ExportSettings
from orchestrator.stages.finished_student import Source
from orchestrator.stages.report_costs import EXPORTS, exported
from orchestrator.students.networks.student import IMAGE
from orchestrator.tracking import BEST_ALIAS
from orchestrator.training.student_file import STUDENT

DECIDES = "select/all"


def register(context: Context, plans: Mapping[str, Plan]) -> None:
    """Tell tracking of the best arm by the selection split; nothing where its settings say so, or no arm classifies.

    An export that the user made of the same student is taken as it is.
    """
    tracking = context.execution.tracking
    if tracking.kind == "none" or not tracking.register_best:
        return
    manifests = {arm: read_manifest(plans[f"train/{arm}"].folder) for arm in context.experiment.arms}
    reached = {
        arm: one.metrics[DECIDES] for arm, one in manifests.items() if one is not None and DECIDES in one.metrics
    }
    if not reached:
        return
    arm = max(reached, key=lambda name: reached[name])
    folder = context.folder / EXPORTS / arm
    fingerprint, word = exported(context, plans).get(arm), "reused"
    if fingerprint is None:
        source = Source(plans[f"train/{arm}"].folder / STUDENT, arm_experiment(context.experiment, arm))
        manifest, made = export.make(source, folder, ExportSettings(speed=False), {})
        fingerprint, word = manifest.fingerprint, "made" if made else "reused"
    config = read_config(folder)
    if config.reads != IMAGE or config.output == "embedding":
        context.feedback.event("export", f"{arm} is not registered: it tells no classes of images")
        return
    name = context.experiment.name
    context.feedback.event("export", f"{word} {folder.relative_to(context.root)}: models:/{name}@{BEST_ALIAS}")
    context.tracker.log_model(train.run_key(context, arm), folder, name=name, alias=BEST_ALIAS, export=fingerprint)
