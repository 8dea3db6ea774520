"""What was measured of students besides accuracy, in groups, each value with what it means; and curves in groups.

Holds words and their order. Reads and writes nothing. Source of the meanings: docs/metrics.md.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.reporting.data import ArmResult

# pattern of a name without its split -> what it is; the first one that fits
MEANINGS: tuple[tuple[str, str], ...] = (
    (r"unseen_(all|.*top1)", "images of unseen classes, told among unseen classes"),
    (r"unseen_mean_per_class", "the same, mean over classes"),
    (r"seen_all", "images of seen classes (selection split), told among seen classes"),
    (r"seen_mean_per_class", "the same, mean over classes"),
    (r"start_few_shot_retrieval.*", "few-shot retrieval of the student that training began with"),
    (r"start_zero_shot", "the student that training began with, by class texts alone"),
    (r"few_shot_retrieval_as_code", "the same with the first image of a class alone"),
    (r"few_shot_retrieval", "unseen classes by the teacher's rows of their support images, without training"),
    (r"m_rel", "share of images nearest to their own teacher embedding; larger is better, falls with the images"),
    (r"m_rel_pairwise", "the same over pairs of images; larger is better"),
    (r"m_rel_correlation", "correlation of both models' cosines over pairs of images; larger is better"),
    (r"m_neigh", "share of an image's nearest images that both models agree on; larger is better"),
    (r"m_vlalign_per_text_inversions", "pairs of images ordered oppositely by a text; smaller is better"),
    (r"m_vlalign_per_text_normalised", "the same as a share of all pairs; smaller is better"),
    (r"m_vlalign_inversions", "pairs of classes ordered oppositely by an image; smaller is better"),
    (r"m_vlalign_normalised", "the same as a share of all pairs; smaller is better"),
    (r"vl_kl", "KL divergence from the teacher's distribution over texts; smaller is better"),
    (r"agreement", "share of images for which both choose the same text"),
    (r"teacher_correct", "share of images for which the teacher's text is the label's"),
    (r"mean_squared_distance", "of the unit embeddings, 0 to 4; smaller is better"),
    (r"num_images", "images that these were taken on"),
    (r"unseen_(effective_rank|participation_ratio|num_large_eigenvalues|mean_nearest_cosine)", "of the unseen's texts"),
    (r"effective_rank", "directions that the class texts use"),
    (r"participation_ratio", "the same by another count"),
    (r"num_large_eigenvalues", "eigenvalues above 1 % of the largest"),
    (r"mean_nearest_cosine", "of a class text to the nearest other one"),
    (r"ece", "expected calibration error, 15 bins; smaller is better"),
    (r"nll", "negative log-likelihood; smaller is better"),
    (r"brier", "Brier score; smaller is better"),
    (r"mean_confidence", "mean probability of the chosen class"),
    (r"knn_acc.*", "class accuracy of the frozen embedding by nearest training images"),
    (r"linear_probe_acc", "class accuracy of a logistic regression on the frozen embedding"),
    (r"linear_probe_.*", "of the linear probe"),
    (r"clean_acc", "accuracy without corruption"),
    (r"mean_corruption_acc", "mean accuracy over corruptions and severities"),
    (r"corruption_drop", "by how much corruptions lower the accuracy; smaller is better"),
    (r"\w+_[1-5]_acc", "accuracy under this corruption and severity (1 to 5)"),
    (r"\w+_acc", "mean accuracy under this corruption"),
    (r"in_batch_acc.*", "image and caption find each other within a batch"),
    (r".*recall.*", "an image's caption among the first of all, or the other way"),
    (r"adjusted_.*", "accuracy with logits less a log prior"),
    (r"tau_normalised_.*", "accuracy with weights of equal length, the power chosen on the selection split"),
    (r"shifted_.*", "accuracy with logits for another class distribution"),
    (r"model_size_mb", "parameters, in 2^20 bytes"),
    (r"num_parameters", "parameters"),
    (r"latency_spread_.*", "distance of the quartiles, ms"),
    (r"latency_ms_.*", "median of a forward pass, ms; b: batch, t: threads"),
    (r"images_per_s_.*", "at that latency"),
)  # fmt: skip
UNSEEN = re.compile(r"(^|/)(unseen_(all|mean_per_class)|seen_\w+|(start_)?few_shot\w*|start_zero_shot)$")
COHERENCE = re.compile(r"/(m_\w+|vl_kl|agreement|teacher_correct|mean_squared_distance|num_images)$")
COSTS = re.compile(r"^(model_size_mb|num_parameters|latency_\w+|images_per_s_\w+)$")
SPECTRUM = re.compile(r"^class_text/")
GROUPED = (UNSEEN, COHERENCE, COSTS, SPECTRUM)


@dataclass(frozen=True)
class MeasureRow:
    """One value of every arm (nan: not measured), and what it means."""

    name: str
    values: tuple[float, ...]
    meaning: str


@dataclass(frozen=True)
class MeasureGroup:
    """Measures that are told together, in words first."""

    rows: tuple[MeasureRow, ...]
    words: str = ""


@dataclass(frozen=True)
class CurveRow:
    """A metric over epochs: of each arm its first and last value."""

    name: str
    ends: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class CurveGroup:
    """Curves that are shown together."""

    title: str
    rows: tuple[CurveRow, ...]
    arms: tuple[str, ...] = field(default=())


def meaning(name: str) -> str:
    """What a measure is, in words; "" for one that nobody described."""
    bare = name.rpartition("/")[2]
    return next((words for pattern, words in MEANINGS if re.fullmatch(pattern, bare)), "")


def unseen_measures(arms: Sequence[ArmResult]) -> MeasureGroup:
    """Accuracies on seen and unseen classes and of few-shot retrieval, percent."""
    known = [{**arm.metrics, **{name: 100 * value for name, value in arm.measures.items()}} for arm in arms]
    rows = _rows(known, lambda name: bool(UNSEEN.search(name)))
    best = _best(arms, rows, "unseen_mean_per_class", larger=True)
    told = f" {best[0]} is best on unseen classes, {best[1]:.1f} % mean per class." if best else ""
    return MeasureGroup(
        rows, f"Classes that no training image shows are told by their texts, or by a few images.{told}"
    )


def coherence_measures(arms: Sequence[ArmResult]) -> MeasureGroup:
    """M_rel, M_neigh, M_vlalign and their companions."""
    rows = _rows([arm.measures for arm in arms], lambda name: bool(COHERENCE.search(name)))
    best = _best(arms, rows, "report/m_neigh", larger=True)
    told = (
        f" Of the finished students {best[0]} agrees most on neighbours, {best[1]:.3f} on the report split."
        if best
        else ""
    )
    return MeasureGroup(
        rows, f"How alike the student's space is to its image teacher's, over training and at its end.{told}"
    )


def cost_measures(arms: Sequence[ArmResult]) -> MeasureGroup:
    """Size and latency."""
    rows = _rows([arm.measures for arm in arms], lambda name: bool(COSTS.search(name)))
    sizes = {row.name: row for row in rows}.get("model_size_mb")
    told = ""
    if sizes is not None:
        finite = [value for value in sizes.values if math.isfinite(value)]
        low, high = min(finite, default=math.nan), max(finite, default=math.nan)
        told = f"A student takes {low:.4g} MB" if low == high else f"Students take {low:.4g} to {high:.4g} MB"
        told += " of parameters; at inference there is no text encoder beside it."
    return MeasureGroup(rows, told)


def other_measures(arms: Sequence[ArmResult]) -> MeasureGroup:
    """What no other group has."""
    rows = _rows([arm.measures for arm in arms], lambda name: not any(one.search(name) for one in GROUPED))
    best = _best(arms, rows, "report/ece", larger=False)
    told = f" {best[0]} is calibrated best (expected calibration error {best[1]:.3f})." if best else ""
    return MeasureGroup(rows, f"What the experiment asked to be measured of its finished students.{told}")


def _rows(known: Sequence[Mapping[str, float]], is_wanted: Callable[[str], bool]) -> tuple[MeasureRow, ...]:
    names = sorted({name for one in known for name in one if is_wanted(name)})
    return tuple(MeasureRow(name, tuple(one.get(name, math.nan) for one in known), meaning(name)) for name in names)


def _best(
    arms: Sequence[ArmResult], rows: Sequence[MeasureRow], name: str, *, larger: bool
) -> tuple[str, float] | None:
    """The arm with the best value and the value; None for fewer than two values, or equal ones."""
    row = next((one for one in rows if one.name == name), None)
    if row is None:
        return None
    values = [(value, arm.name) for value, arm in zip(row.values, arms, strict=True) if math.isfinite(value)]
    if len(values) < 2 or min(values)[0] == max(values)[0]:
        return None
    value, arm = max(values) if larger else min(values)
    return arm, value


CURVE_GROUPS = (  # title -> pattern of names; the first one that fits
    ("Coherence with the image teacher", re.compile(r"/m_(rel|neigh)$")),
    ("Accuracy", re.compile(r"^(select|ood\w*|id_val\w*)\W|accuracy$")),
    ("Speed", re.compile(r"^speed/")),
    ("What losses learn and keep", re.compile(r"^train/\w+\.")),
    ("Losses", re.compile(r"")),
)
COHERENCE_CURVES = CURVE_GROUPS[0][0]
CURVE_ORDER = ("Losses", "Accuracy", "What losses learn and keep", "Speed", COHERENCE_CURVES)


def curve_groups(arms: Sequence[ArmResult]) -> dict[str, CurveGroup]:
    """Every metric of which any arm wrote down a number, in groups by what it is; title -> group."""
    found: dict[str, list[CurveRow]] = {}
    for name in sorted({metric for arm in arms for metric in arm.curves if not metric.startswith("cost/")}):
        title = next(title for title, pattern in CURVE_GROUPS if pattern.search(name))
        ends = tuple(_ends(arm.curves.get(name, ())) for arm in arms)
        if any(math.isfinite(first) for first, _ in ends):
            found.setdefault(title, []).append(CurveRow(name, ends))
    names = tuple(arm.name for arm in arms)
    return {title: CurveGroup(title, tuple(found[title]), names) for title in CURVE_ORDER if title in found}


def _ends(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    finite = [value for _, value in points if math.isfinite(value)]
    return (finite[0], finite[-1]) if finite else (math.nan, math.nan)
