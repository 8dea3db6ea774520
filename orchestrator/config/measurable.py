"""Which measures, and which objectives of a sweep, cannot be had of a student, told before anything is paid for.

Holds three functions: of the settings alone, of the sizes that are known once the data and the teachers' rows are
there, and of a sweep's objectives. Reads and writes nothing. What is computed is in evaluation/ and stages/measures.py.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.students.abilities import Abilities
from orchestrator.teachers import BothTowers
from orchestrator.vocabulary import SPLIT_REPORT, SPLIT_SELECT, UNSEEN_SELECTED_ALL, UNSEEN_SELECTED_MEAN

if TYPE_CHECKING:
    from orchestrator.config.experiment import Experiment

OF_CLASSES = ("neighbours", "linear_probe", "calibration", "post_hoc", "robustness", "few_shot_retrieval")
OF_TRAIN = ("neighbours", "linear_probe", "few_shot_retrieval")  # they compare with the training images
CLASS_TEXT_REMEDY = "set an image_teacher that encodes texts too (open_clip, transformers_clip), without teacher_tuning"
Problem = tuple[str, str]  # what is missing, what supplies it


@dataclass(frozen=True)
class Sizes:
    """What is known of an experiment's data and teachers before a student is trained.

    Attributes:
        num_classes: of the data set.
        num_images: by split.
        teacher_dim, text_dim: widths of the image teacher's and the text encoder's embeddings; 0: none, or not yet
            known.
    """

    num_classes: int
    num_images: dict[str, int]
    teacher_dim: int = 0
    text_dim: int = 0


def unmeasurable(experiment: "Experiment") -> list[str]:
    """Problems that the settings alone tell, each with the setting that supplies what is missing."""
    return [
        told
        for measure in experiment.evaluation.measures
        for told in _told(measure, _problems(measure, experiment, abilities_of(experiment)))
    ]


def unmeasurable_sizes(experiment: "Experiment", sizes: Sizes) -> list[str]:
    """Problems that the data set's and the embeddings' sizes tell."""
    prior = experiment.evaluation.test_prior
    given = None if prior is None else len(prior)
    return [
        told
        for measure in experiment.evaluation.measures
        for told in _told(measure, _size_problems(measure, abilities_of(experiment), sizes, given))
    ]


def unmeasurable_objectives(experiment: "Experiment", objectives: Iterable[str]) -> list[str]:
    """Objectives of a sweep that trainings of the experiment would not tell, each with what supplies them."""
    return [
        f"objectives: {name} needs {what}; {remedy}"
        for name in objectives
        if name in (UNSEEN_SELECTED_ALL, UNSEEN_SELECTED_MEAN)
        for what, remedy in _problems_with_validation_classes(experiment)
    ]


def abilities_of(experiment: "Experiment") -> Abilities:
    """What the experiment's student will be able to do."""
    return experiment.student.abilities(has_texts=bool(experiment.text_sources))


def _told(measure: str, problems: Iterator[Problem]) -> Sequence[str]:
    return [f"evaluation.measures: {measure} needs {what}; {remedy}, or leave it out" for what, remedy in problems]


def _problems_with_validation_classes(experiment: "Experiment") -> Iterator[Problem]:
    able, split = abilities_of(experiment), experiment.dataset.ood_split
    if split is None or not split.select_classes:
        yield "validation classes", "set dataset.ood_split.select_classes"
    if able.classifies:
        yield (
            "a student that tells classes apart by their texts, and this one has a classifier of trained ones",
            "set student.classifier: null and student.embedding",
        )
    elif not able.takes_class_texts:
        yield "a student that tells classes apart by their texts", "set student.embedding, or a student's text side"
    if not _has_class_text(experiment):
        yield "class texts in the image teacher's space", CLASS_TEXT_REMEDY


def _has_class_text(experiment: "Experiment") -> bool:
    return isinstance(experiment.image_teacher, BothTowers) and experiment.teacher_tuning is None


def _problems(measure: str, experiment: "Experiment", able: Abilities) -> Iterator[Problem]:
    teacher, split = experiment.image_teacher, experiment.dataset.ood_split
    shared = _one_encoder(experiment)
    has_class_text = _has_class_text(experiment)
    if measure in ("coherence", "text_spectrum", "few_shot_retrieval") and not has_class_text:
        yield "class texts in the image teacher's space", CLASS_TEXT_REMEDY
    if measure in ("coherence", "few_shot_retrieval"):
        if not able.embeds:
            yield "an embedding in the image teacher's space", "set student.embedding"
        elif able.has_text_side:
            yield (
                "an embedding in the image teacher's space, and this student's text side makes one of its own",
                ("set student.text_side: false with student.embedding_dim or student.embedding of the teacher's width"),
            )
    if measure in ("calibration", "robustness") and not able.classifies:
        if not able.takes_class_texts:
            yield "a student that chooses among classes", "set student.classifier, or a student with a text side"
        elif not has_class_text:
            yield (
                "a student that chooses among classes",
                ("set student.classifier, or an image_teacher that encodes texts too, without teacher_tuning"),
            )
    if measure == "post_hoc" and not able.classifies:
        yield "a classifier", "set student.classifier"
    if measure == "post_hoc" and split is not None and not split.shots:
        yield "training images of the report split's classes, which are unseen", "set dataset.ood_split.shots"
    if measure in ("robustness", "latency") and not able.reads_images:
        yield f"a student of images, and this one reads {able.reads} of a teacher", "set another student.kind"
    sees_train = experiment.image_teacher_views == 0 or shared
    reads_train_rows = measure == "few_shot_retrieval" or (measure in OF_TRAIN and not able.reads_images)
    if reads_train_rows and teacher is not None and not sees_train:
        yield (
            "the image teacher's rows of the training images as they are",
            ("set image_teacher_views: 0, or one encoder as image_teacher and text_encoder"),
        )
    if measure == "few_shot_retrieval" and (split is None or not split.shots):
        yield "support images of unseen classes", "set dataset.ood_split with shots"
    if measure in ("neighbours", "linear_probe") and split is not None and not split.shots:
        yield "training images of the report split's classes, which are unseen", "set dataset.ood_split.shots"
    if measure == "retrieval":
        if not experiment.text_sources:
            yield "texts of the images", "name one in text_sources"
        if SPLIT_REPORT not in experiment.caption_splits:
            yield "texts of the report split's images", "set caption_splits: [train, report]"
        if not able.embeds:
            yield "an embedding", "set student.embedding"


def _size_problems(measure: str, able: Abilities, sizes: Sizes, given: int | None) -> Iterator[Problem]:
    """`given`: the number of classes that evaluation.test_prior speaks of."""
    if measure in OF_CLASSES and sizes.num_classes < 2:
        yield f"classes, and the data set has {sizes.num_classes}", "set dataset.instances of coco_captions"
    if measure not in ("size", "latency", "text_spectrum", "coherence") and not sizes.num_images[SPLIT_REPORT]:
        yield "images of the report split", "give dataset one"
    if measure == "linear_probe" and not sizes.num_images[SPLIT_SELECT]:
        yield "images of the select split, on which its strength is chosen", "set dataset.select_fraction"
    if measure == "post_hoc" and given is not None and given != sizes.num_classes:
        yield (
            f"a share of each of {sizes.num_classes} classes, and there are {given}",
            "correct evaluation.test_prior",
        )
    dim = sizes.teacher_dim if able.embedding_dim is None else able.embedding_dim
    in_teacher_space = measure in ("coherence", "few_shot_retrieval")
    if sizes.teacher_dim and in_teacher_space and dim != sizes.teacher_dim:
        yield (
            f"an embedding as wide as the image teacher's {sizes.teacher_dim} numbers, and it has {dim}",
            ("set student.embedding (or student.embedding_dim) to that width"),
        )
    if sizes.text_dim and measure == "retrieval" and not able.has_text_side and dim != sizes.text_dim:
        yield (
            f"an embedding as wide as the texts' {sizes.text_dim} numbers, and it has {dim}",
            ("set student.embedding.dim to that width, or a student with a text side"),
        )
    by_text = measure in ("calibration", "robustness") and not able.classifies
    wanted = sizes.text_dim if able.has_text_side else dim
    if sizes.teacher_dim and by_text and wanted != sizes.teacher_dim:
        yield (
            f"class texts ({sizes.teacher_dim} numbers) that it can compare with its embedding ({wanted})",
            ("set text_encoder to the image teacher's text tower, or student.classifier"),
        )


def _one_encoder(experiment: "Experiment") -> bool:
    """Whether images and texts are embedded by one encoder; then the training images are seen as they are too."""
    teacher, other = experiment.image_teacher, {"logit_scale", "outputs"}
    if not isinstance(teacher, BothTowers) or experiment.teacher_tuning is not None:
        return False
    return teacher.model_dump(exclude=other) == experiment.text_encoder.model_dump(exclude=other)
