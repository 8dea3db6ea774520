"""The text of each training image from each text source, and the text of each class.

Reads tables it is given. Knows nothing of encoders or of stores.
"""

import random
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.captioners.texts import CaptionText, ClassNameText, OracleText, TextSettings
from orchestrator.errors import DataError


def texts_of(settings: TextSettings, train: pa.Table, classes: pa.Table, captions: pa.Table) -> Sequence[str | None]:
    """The text of each training image from one source; None where there is none (a quarantined caption).

    Raises:
        DataError: the data set has no true descriptions, or no class descriptions.
    """
    labels = train["label"].to_pylist()
    if isinstance(settings, CaptionText):
        chosen = captions.filter(pc.equal(captions["prompt"], settings.prompt))
        by_image = dict(zip(chosen["image_id"].to_pylist(), chosen["caption"].to_pylist(), strict=True))
        texts = [by_image.get(name) for name in train["image_id"].to_pylist()]
        return permuted(texts, labels, settings.permute, settings.permute_seed)
    if isinstance(settings, ClassNameText):
        names = classes["name"].to_pylist()
        return [settings.template.replace("{class}", names[label]) for label in labels]
    source = train["oracle_caption"] if isinstance(settings, OracleText) else classes["description"]
    if source.null_count:
        raise DataError(
            f"texts of kind {settings.kind}: the data set does not know them", expected="another kind of text"
        )
    return list(source.to_pylist()) if isinstance(settings, OracleText) else [source[label].as_py() for label in labels]


def permuted(texts: list[str | None], labels: list[int], permute: str, seed: int) -> list[str | None]:
    """The control arms: every image gets the caption of another, drawn over the whole set or within its class."""
    if permute == "none":
        return texts
    groups: dict[int, list[int]] = {}
    for row, label in enumerate(labels):
        groups.setdefault(label if permute == "within_class" else 0, []).append(row)
    generator = random.Random(seed)
    result = list(texts)
    for members in groups.values():
        shuffled = members.copy()
        generator.shuffle(shuffled)
        for target, origin in zip(members, shuffled, strict=True):
            result[target] = texts[origin]
    return result


def class_texts(classes: pa.Table) -> list[str]:
    """The text that stands for each class in the teacher's logits: its description, else its name in a template."""
    rows = zip(classes["name"].to_pylist(), classes["description"].to_pylist(), strict=True)
    return [description or f"a photo of a {name}." for name, description in rows]
