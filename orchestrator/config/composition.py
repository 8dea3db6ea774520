"""Whether student and losses fit what an experiment supplies, from its settings alone.

Puts every arm's model together without weights, as training would, and checks what it reads, so that a loss whose input
nobody supplies is told before captions are paid for. Widths that only the teachers' weights tell are taken to fit; the
training checks them again. Reads and writes nothing.
"""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from orchestrator import vocabulary as v
from orchestrator.config.experiment import DEFAULT_OUTPUTS, Experiment
from orchestrator.config.load import arm_experiment
from orchestrator.errors import ConfigError
from orchestrator.teachers import BothTowers, TunedEncoderSettings
from orchestrator.teachers.encoder import FEATURE, LOGITS, TOKENS

if TYPE_CHECKING:
    from orchestrator.training.model import DistillationModel
    from orchestrator.training.run import TrainingJob

WIDTH = 768  # stands for a width that nobody knows before the weights are there; whole multiples of 8, 12 and 16 heads
COUNTS = (1000, 500, 100, 60, 30, 20, 10, 5)  # stand for the class counts, which nobody knows before the index
CLASSES_FIT = "an image teacher that encodes texts too"


def check_composition(experiment: Experiment, arms: Sequence[str] | None = None) -> None:
    """Refuse an experiment whose students could not be trained as it says.

    Args:
        arms: their names; None: all of them.

    Raises:
        ConfigError: every problem of every arm; what is missing, who reads it and which setting supplies it.
    """
    found: dict[str, list[str]] = {}
    for arm in experiment.arms if arms is None else arms:
        for problem in problems_of(arm_experiment(experiment, arm)):
            found.setdefault(problem, []).append(arm)
    if found:
        lines = [f"  {problem} ({_of_arms(names)})" for problem, names in found.items()]
        raise ConfigError("\n".join(["the experiment asks for what nothing supplies", *lines]),
                          remedy="set what supplies it, or remove who reads it (losses.NAME: null)")  # fmt: skip


def _of_arms(names: Sequence[str]) -> str:
    return f"arm{'s' if len(names) > 1 else ''} {', '.join(names)}"


def supplied(experiment: Experiment) -> set[str]:
    """The vocabulary names that a batch of this experiment has, besides what the student makes."""
    teacher = experiment.image_teacher
    outputs: Sequence[str] = () if teacher is None else getattr(teacher, "outputs", DEFAULT_OUTPUTS)
    is_tuned = experiment.teacher_tuning is not None or isinstance(teacher, TunedEncoderSettings)
    encodes_texts = isinstance(teacher, BothTowers) and not is_tuned  # a tuned encoder has its head in their place
    found = {v.LABEL, v.IMAGE_ROW}
    there = {
        v.TEXT: bool(experiment.text_sources),
        v.TEXT_ID: bool(experiment.text_sources),
        v.TEACHER_IMAGE: teacher is not None,
        v.TEACHER_LOGITS: encodes_texts or (teacher is not None and is_tuned) or LOGITS in outputs,
        v.TEACHER_FEATURE: FEATURE in outputs,
        v.TEACHER_MAP: TOKENS in outputs,
        v.CLASS_TEXT: encodes_texts,
        v.DOMAIN_TEXT: encodes_texts and bool(experiment.domain_texts),
        v.TARGET: experiment.training.mixing is not None,
        v.MIX_ROW: experiment.training.mixing is not None,
        v.MIX_WEIGHT: experiment.training.mixing is not None,
    }
    return found | {name for name, is_there in there.items() if is_there}


def problems_of(experiment: Experiment) -> list[str]:
    """What is missing or does not fit in one arm, in the order in which training would find it."""
    from orchestrator.training.mixing import check_mixing
    from orchestrator.training.model import check_inputs
    from orchestrator.training.optimizer import build_optimizer

    there = supplied(experiment)
    try:
        model = blueprint(experiment, there)
    except ConfigError as error:
        return [_on_one_line(error)]
    problems = []
    for check in (
        lambda: check_inputs(model, there, with_views=bool(experiment.training.more_views)),
        lambda: check_mixing(model, experiment.training, live=experiment.image_teacher_mode == "live"),
        lambda: build_optimizer(experiment.training.optimizer, model),
        lambda: _check_start(experiment, model, there),
        lambda: model.student.check_pass(experiment.image_size),
    ):
        try:
            check()
        except ConfigError as error:
            problems.append(_on_one_line(error))
    return problems


def blueprint(experiment: Experiment, there: set[str]) -> "DistillationModel":
    """The model of an experiment without memory for its weights; ConfigError where it cannot be built."""
    import torch

    from orchestrator.training.assembly import build_model

    job = _job(experiment)
    width = _joint_width(experiment)
    dims = {
        "text_dim": width if v.TEXT in there else 0,
        "teacher_dim": width if v.TEACHER_IMAGE in there else 0,
        "teacher_feature_dim": WIDTH if v.TEACHER_FEATURE in there else 0,
        "teacher_map_dim": WIDTH if v.TEACHER_MAP in there else 0,
    }
    domains = len(experiment.domain_texts) if v.DOMAIN_TEXT in there else 0
    counts = _class_counts(experiment)
    with torch.device("meta"), torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Initializing zero-element tensors")  # widths of 0 are what is asked about
        return build_model(job, counts, dims, num_images=max(2, sum(counts)), num_domains=domains)


def _job(experiment: Experiment) -> "TrainingJob":
    from orchestrator.training.run import TrainingJob

    student = experiment.student
    fresh = {name: value for name, value in (("pretrained", False), ("checkpoint", None)) if hasattr(student, name)}
    counts = _class_counts(experiment)
    return TrainingJob(
        run_key="", folder="", shards="", embeddings="", parents={}, num_classes=len(counts),
        image_size=experiment.image_size, text_sources=experiment.text_sources,
        student=student.model_copy(update=fresh), adaptor=experiment.adaptor,
        losses=experiment.losses, training=experiment.training,
    )  # fmt: skip


def _class_counts(experiment: Experiment) -> tuple[int, ...]:
    """Training images of each class; unseen classes have the few-shot support's, or none."""
    split = experiment.dataset.ood_split
    return COUNTS if split is None else COUNTS + (split.shots,) * len(COUNTS)


def _joint_width(experiment: Experiment) -> int:
    """Width of the teachers' space: what the settings say of it, else one that stands for it."""
    embedding = getattr(experiment.student, "embedding", None)
    told = [
        getattr(embedding, "dim", None) or getattr(experiment.student, "embedding_dim", None) or 0,
        *(sum(getattr(loss, "teacher_dims", ())) for loss in experiment.losses.values()),
    ]
    return next((width for width in reversed(told) if width), WIDTH)


def _check_start(experiment: Experiment, model: "DistillationModel", there: set[str]) -> None:
    if getattr(model.student, "classifier_start", "random") == "class_texts" and v.CLASS_TEXT not in there:
        raise ConfigError("student.classifier.start is class_texts, and there are none", remedy=f"set {CLASSES_FIT}")


def _on_one_line(error: Any) -> str:
    return "; ".join(" ".join(line.split()) for line in str(error).splitlines())
