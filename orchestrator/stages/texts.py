"""The texts of each training image from each source, the texts of each class, and the embeddings of groups of texts.

Reads tables it is given. Knows nothing of encoders or of stores.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from orchestrator.artifacts.fingerprint import digest_bytes
from orchestrator.captioners.prompts import inject_class
from orchestrator.captioners.texts import ClassTextSource, DrawnVector, Group, TextMaterial, TextSource
from orchestrator.captioners.texts.caption import permuted
from orchestrator.errors import ConfigError

__all__ = ["class_texts", "permuted", "texts_in", "texts_of", "vectors_of_groups"]

Vectors = npt.NDArray[np.float32]
_BLOCK = 1024  # groups averaged at once: with 80 texts of 768 numbers each, half a GiB


def texts_of(
    settings: TextSource, train: pa.Table, classes: pa.Table, captions: pa.Table, descriptions: pa.Table | None = None
) -> Sequence[Group | None]:
    """The group of texts of each training image from one source; None where there is none (a quarantined caption).

    Raises:
        DataError: the data set, or a file that the source names, does not hold what the source is made of.
    """
    return settings.texts_of_images(TextMaterial(train, classes, captions, descriptions))


def class_texts(
    classes: pa.Table, settings: ClassTextSource | None = None, descriptions: pa.Table | None = None
) -> list[Group]:
    """The texts that stand for each class in the teacher's logits; by default its description, else its name.

    Raises:
        DataError: see `texts_of`.
    """
    if settings is not None:
        return settings.texts_of_classes(classes, descriptions)
    rows = zip(classes["name"].to_pylist(), classes["description"].to_pylist(), strict=True)
    return [(description or f"a photo of a {name}.",) for name, description in rows]


def class_prompts(
    classes: pa.Table, settings: ClassTextSource | None, descriptions: pa.Table | None, *, with_text: bool
) -> list[str]:
    """The own words of each class's prompt, which follow the learnt context: "name.", or "name . sentence."

    Raises:
        ConfigError: a class has not one sentence but several.
    """
    names = classes["name"].to_pylist()
    if not with_text:
        return [f"{name}." for name in names]
    groups = class_texts(classes, settings, descriptions)
    if any(isinstance(group, DrawnVector) or len(group) != 1 for group in groups):
        raise ConfigError(
            "class_prompt.with_class_text: class_text has several texts for a class",
            expected="one sentence for each class",
            remedy="set class_prompt.with_class_text: false, or name another class_text",
        )
    sentences = [group[0] for group in groups if not isinstance(group, DrawnVector)]
    return [f"{name} . {text.strip().rstrip('.')}." for name, text in zip(names, sentences, strict=True)]


def domain_texts(classes: pa.Table, templates: Sequence[str]) -> list[Group]:
    """Each class's name in each template, a class's side by side: C * K groups of one text (RISE; methods 4)."""
    return [(inject_class(template, name),) for name in classes["name"].to_pylist() for template in templates]


def texts_in(groups: Iterable[Group | None]) -> list[str]:
    """Every text of the groups once, in order of first appearance."""
    named = (group for group in groups if isinstance(group, tuple))
    return list(dict.fromkeys(text for group in named for text in group))


def vectors_of_groups(groups: Sequence[Group], texts: Sequence[str], vectors: Vectors) -> Vectors:
    """One unit vector for each group [G, e]: its only text's, bit for bit, or the mean of its texts' made unit again.

    Args:
        texts: every text of the groups.
        vectors: [T, e] their unit embeddings, in the same order; at least one row, which tells e.

    Drawn vectors are uniform on the sphere. A mean of length zero stays zero (methods 0.1).
    """
    row = {text: position for position, text in enumerate(texts)}
    result = np.zeros((len(groups), vectors.shape[1]), np.float32)
    several: list[tuple[int, list[int]]] = []
    for position, group in enumerate(groups):
        if isinstance(group, DrawnVector):
            name = int(digest_bytes(group.name.encode()), 16)
            result[position] = _unit(np.random.default_rng([group.seed, name]).standard_normal((vectors.shape[1],)))
        elif len(group) == 1:
            result[position] = vectors[row[group[0]]]
        else:
            several.append((position, [row[text] for text in group]))
    for start in range(0, len(several), _BLOCK):
        positions, members = zip(*several[start : start + _BLOCK], strict=True)
        starts = np.cumsum([0, *map(len, members[:-1])])
        gathered = vectors[np.concatenate(members)].astype(np.float64)
        result[list(positions)] = _unit(np.add.reduceat(gathered, starts, axis=0))  # the sum points where the mean does
    return result


def _unit(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12))
