"""The measures of a finished student: what each of them needs of the artifacts, joined and handed to evaluation/.

Reads shards and embeddings. Knows nothing of training.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from orchestrator import vocabulary as v
from orchestrator.artifacts.embeddings import Embeddings
from orchestrator.datasets.class_groups import ClassGroups
from orchestrator.errors import ConfigError
from orchestrator.evaluation import calibration as calibrated
from orchestrator.evaluation import coherence as coherent
from orchestrator.evaluation import few_shot, probes
from orchestrator.evaluation import retrieval as retrieved
from orchestrator.evaluation import robustness as robust
from orchestrator.evaluation.latency import inference_latency
from orchestrator.evaluation.model_size import model_size_mb, num_parameters
from orchestrator.evaluation.predict import COSINE_TEMPERATURE, Supply, embed, images_of
from orchestrator.evaluation.settings import EvaluationSettings, Measure
from orchestrator.evaluation.text_spectrum import text_spectrum
from orchestrator.evaluation.zero_shot import zero_shot_accuracy
from orchestrator.stages.post_hoc import post_hoc
from orchestrator.students.networks.student import IMAGE, Student
from orchestrator.teachers.encoder import EMBEDDING
from orchestrator.training.data import SplitData, load_split, load_split_rows
from orchestrator.training.judge import supply_of
from orchestrator.training.student_file import load_student

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Subject:
    """A finished student with everything that is known of its images.

    Attributes:
        groups: which classes are seen in training, and which are the report's unseen ones.
        text_sources: of the experiment, in order; the first one's texts are an image's captions.
        learnt_class_text: [C, D] of all classes, where they were learnt with the student.
        start: the file of the student that this one's training began with; None: fresh or foreign weights.
        support_copies: [M, A, D] the teacher's of augmented copies of the training images of unseen classes, in order.
    """

    student: Student
    shards: Path
    embeddings: Embeddings
    image_size: int
    groups: ClassGroups
    text_sources: tuple[str, ...]
    settings: EvaluationSettings
    learnt_class_text: Tensor | None = None
    start: Path | None = None
    support_copies: Vectors | None = None

    def data(self, split: str) -> SplitData:
        """Images and labels of a split."""
        return load_split(self.shards, split)

    def supply(self, split: str) -> Supply:
        """What the student reads of a split's images."""
        return supply_of(self.student, self.data(split), self.embeddings, split, self.image_size, self.text_sources)

    def made(self, split: str, output: str) -> Vectors:
        """One output of the student on a whole split."""
        return embed(self.student, self.supply(split), len(self.data(split).labels), output)

    def embedding(self, split: str) -> Vectors:
        """The student's embedding, or its feature where it has none."""
        return self.made(
            split, v.STUDENT_EMBEDDING if v.STUDENT_EMBEDDING in self.student.makes() else v.STUDENT_FEATURE
        )

    def teacher(self, split: str) -> Vectors | None:
        """The image teacher's embeddings of a split's images as they are; None where it has not seen them."""
        copy = self.embeddings.get(f"images/{split}/{EMBEDDING}")
        return None if copy is None else np.array(copy.array, np.float32)

    @cached_property
    def class_text(self) -> Vectors | None:
        """Unit embeddings of all classes, [C, D]; those learnt with the student where there are such."""
        if self.learnt_class_text is not None:
            return np.asarray(self.learnt_class_text.numpy(), np.float32)
        vectors = self.embeddings.vectors("classes")
        return None if vectors is None else np.array(vectors, np.float32)

    def label_set(self, split: str) -> tuple[int, int]:
        """The classes [first, last) among which a split's images are told apart."""
        among = self.groups.told_apart(split)
        return among.start, among.stop

    def needs(self, thing: Any, measure: Measure, what: str) -> Any:
        """`thing`, or an error when there is none; an experiment that lacks it was refused before (`measure_check`)."""
        if thing is None:
            raise ConfigError(
                f"evaluation.measures: {measure} cannot be taken of this student: there is no {what}",
                remedy="leave it out",
            )
        return thing

    @property
    def reads_images(self) -> bool:
        """Whether the student looks at images (a text side beside them may be left out)."""
        return self.student.reads[0] == IMAGE


def coherence(subject: Subject) -> dict[str, float]:
    """`SPLIT/m_rel` and so on, on at most `max_images` of each split the image teacher has seen (methods 1.10)."""
    text = subject.needs(subject.class_text, "coherence", "class text in the image teacher's space")
    subject.needs(subject.student.embedding_dim or None, "coherence", "embedding")
    found: dict[str, float] = {}
    for split in v.SPLITS:
        teacher = subject.teacher(split)
        labels = subject.data(split).labels
        first, last = subject.label_set(split)
        fits = (labels >= first) & (labels < last)
        if teacher is None or fits.sum() < 2:
            continue
        rows = np.flatnonzero(fits)
        rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), subject.settings.max_images)).round().astype(int)]
        made = embed(subject.student, subject.supply(split), len(labels), v.STUDENT_EMBEDDING)[rows]
        values = coherent.coherence(
            made, teacher[rows], text[first:last], labels[rows] - first,
            num_neighbours=subject.settings.num_neighbours,
        )  # fmt: skip
        found |= {f"{split}/{name}": value for name, value in values.items()}
    return found


def spectrum(subject: Subject) -> dict[str, float]:
    """Of the class texts: `class_text/...` of all, and of unseen classes alone where there are such."""
    text = subject.needs(subject.class_text, "text_spectrum", "class text in the image teacher's space")
    found = {f"class_text/{name}": value for name, value in text_spectrum(text).values().items()}
    if unseen_classes := subject.groups.unseen:
        unseen = text_spectrum(text[unseen_classes.start : unseen_classes.stop]).values()
        found |= {f"class_text/unseen_{name}": value for name, value in unseen.items()}
    return found


def neighbours(subject: Subject) -> dict[str, float]:
    """Class accuracy by the nearest training images."""
    train, report = subject.data(v.SPLIT_TRAIN).labels, subject.data(v.SPLIT_REPORT).labels
    bank, shown = subject.embedding(v.SPLIT_TRAIN), subject.embedding(v.SPLIT_REPORT)
    found = probes.neighbour_accuracy(bank, train, shown, report)
    return {f"report/{name}": value for name, value in found.items()}


def linear_probe(subject: Subject) -> dict[str, float]:
    """Class accuracy of a logistic regression on the frozen embedding; its strength is chosen on the select split."""
    parts: list[Any] = []
    for split in (v.SPLIT_TRAIN, v.SPLIT_SELECT, v.SPLIT_REPORT):
        parts += [subject.embedding(split), subject.data(split).labels]
    return {f"report/{name}": value for name, value in probes.linear_probe(*parts).items()}


def retrieval(subject: Subject) -> dict[str, float]:
    """Images against their own captions, the first source's, on the report split (methods 6.4)."""
    count = len(subject.data(v.SPLIT_REPORT).labels)
    rows = load_split_rows(subject.embeddings, v.SPLIT_REPORT, subject.text_sources[:1], count, {v.TEXT})
    given = rows(np.arange(count))
    subject.needs(given.get(v.TEXT), "retrieval", "text of the report split's images")
    has_text = (given[v.TEXT_ID][:, 0] >= 0).numpy()
    subject.needs(True if has_text.any() else None, "retrieval", "image of the report split with a text")
    text = given[v.TEXT][:, 0].numpy()
    if v.STUDENT_TEXT in subject.student.makes():
        text = subject.made(v.SPLIT_REPORT, v.STUDENT_TEXT)
        text = text[:, 0] if text.ndim == 3 else text  # of a side that embeds all texts, the first
    image = subject.embedding(v.SPLIT_REPORT)
    subject.needs(True if image.shape[1] == text.shape[1] else None, "retrieval", "space of both images and texts")
    image, text = image[has_text], text[has_text]
    found = retrieved.in_batch_accuracy(image, text, subject.settings.batch_size) | retrieved.recall(image, text)
    return {f"report/{name}": value for name, value in found.items()}


def self_match(subject: Subject) -> dict[str, float]:
    """The degenerate score of methods 6.4, under its label."""
    found = retrieved.self_match_accuracy(subject.embedding(v.SPLIT_REPORT), subject.settings.batch_size)
    return {f"report/{name}": value for name, value in found.items()}


def few_shot_retrieval(subject: Subject) -> dict[str, float]:
    """Unseen classes by the teacher's embeddings of their support images (methods 1.12), and as the code does it.

    Training-free, so it is told for the student that training began with too, as `start_...`, beside its accuracy by
    the texts alone, `start_zero_shot`: all on the same images. Stored are the support images as they are and their
    augmented copies.
    """
    text = subject.needs(subject.class_text, "few_shot_retrieval", "class text in the image teacher's space")
    teacher = subject.needs(
        subject.teacher(v.SPLIT_TRAIN), "few_shot_retrieval", "teacher's row of training images as they are"
    )
    labels, truth = subject.data(v.SPLIT_TRAIN).labels, subject.data(v.SPLIT_REPORT).labels
    unseen = subject.groups.unseen
    support = np.flatnonzero((labels >= unseen.start) & (labels < unseen.stop))
    subject.needs(len(support) or None, "few_shot_retrieval", "support image of an unseen class")
    stored = teacher[support][:, None]
    if subject.support_copies is not None:
        stored = np.concatenate([stored, subject.support_copies], axis=1)
    students = {"": subject}
    if subject.start is not None:
        students["start_"] = replace(subject, student=load_student(subject.start), start=None)
    found: dict[str, float] = {}
    for prefix, each in students.items():
        each.needs(each.student.embedding_dim or None, "few_shot_retrieval", "embedding")
        shown = each.made(v.SPLIT_REPORT, v.STUDENT_EMBEDDING)
        for name, as_code in (("few_shot_retrieval", False), ("few_shot_retrieval_as_code", True)):
            values = few_shot.retrieval_accuracy(shown, text, truth, stored, labels[support], unseen, as_code=as_code)
            found[f"report/{prefix}{name}"] = values["mean_per_class"]
        if prefix:
            found[f"report/{prefix}zero_shot"] = zero_shot_accuracy(shown, text, truth, unseen)["mean_per_class"]
    return found


def scores(subject: Subject, supply: Supply, count: int, measure: Measure) -> Tensor:
    """[N, C'] logits among the report split's label set; of an embedding student cosines over 0.07."""
    first, last = subject.label_set(v.SPLIT_REPORT)
    if v.STUDENT_LOGITS in subject.student.makes():
        return torch.from_numpy(embed(subject.student, supply, count, v.STUDENT_LOGITS)[:, first:last])
    text = torch.from_numpy(subject.needs(subject.class_text, measure, "classifier and no class text")[first:last])
    made = torch.from_numpy(embed(subject.student, supply, count, v.STUDENT_EMBEDDING))
    with torch.inference_mode():
        classes = subject.student.class_embeddings(text)
    wanted = subject.needs(classes, measure, "class text in the space of its embedding")
    return torch.nn.functional.normalize(made, dim=1) @ wanted.T / COSINE_TEMPERATURE


def calibration(subject: Subject) -> dict[str, float]:
    """Expected calibration error and its companions."""
    labels, (first, _) = subject.data(v.SPLIT_REPORT).labels, subject.label_set(v.SPLIT_REPORT)
    logits = scores(subject, subject.supply(v.SPLIT_REPORT), len(labels), "calibration")
    found = calibrated.calibration(logits, torch.from_numpy(labels - first))
    return {f"report/{name}": value for name, value in found.items()}


def robustness(subject: Subject) -> dict[str, float]:
    """Accuracy under corruptions."""
    subject.needs(True if subject.reads_images else None, "robustness", "image that the student reads")
    data, (first, _) = subject.data(v.SPLIT_REPORT), subject.label_set(v.SPLIT_REPORT)

    def predict(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
        supply = images_of(pixels, subject.image_size)
        return scores(subject, supply, len(pixels), "robustness").argmax(1).numpy() + first

    found = robust.robustness(predict, data.pixels, data.labels, data.image_ids)
    return {f"report/{name}": value for name, value in found.items()}


def size(subject: Subject) -> dict[str, float]:
    """Megabytes (2^20 bytes of parameters) and number of parameters, of the student alone (methods 6.4)."""
    return {"model_size_mb": model_size_mb(subject.student), "num_parameters": float(num_parameters(subject.student))}


def latency(subject: Subject) -> dict[str, float]:
    """Milliseconds of a forward pass on this machine."""
    subject.needs(True if subject.reads_images else None, "latency", "image that the student reads")
    sizes, threads = subject.settings.latency_batch_sizes, subject.settings.latency_threads
    return inference_latency(subject.student, subject.image_size, batch_sizes=sizes, threads=threads)


MEASURES: Mapping[Measure, Callable[[Subject], dict[str, float]]] = {
    "coherence": coherence,
    "text_spectrum": spectrum,
    "neighbours": neighbours,
    "linear_probe": linear_probe,
    "retrieval": retrieval,
    "self_match": self_match,
    "few_shot_retrieval": few_shot_retrieval,
    "calibration": calibration,
    "post_hoc": post_hoc,
    "robustness": robustness,
    "size": size,
    "latency": latency,
}


def measure(subject: Subject) -> dict[str, float]:
    """All measures that the settings name."""
    found: dict[str, float] = {}
    for name in subject.settings.measures:
        found |= MEASURES[name](subject)
    return found
