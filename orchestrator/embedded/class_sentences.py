"""Descriptions of the embedded world's classes at three levels of detail, written from its grammar.

Writes `labels.txt` and `short.txt`, `medium.txt`, `long.txt` in the format of the text source `description_files`. Each
level is true of every image of the class; a longer one says more, and names what a class leaves free. Reads nothing.
"""

from pathlib import Path

from orchestrator.datasets.shapes import ShapesSettings
from orchestrator.datasets.shapes_classes import ClassDefinition
from orchestrator.datasets.shapes_grammar import CLASS_NAMES, PART_PHRASES

LABELS, LEVELS = "labels.txt", ("short", "medium", "long")
OUTLINES = {
    "disc": "a filled circle without corners",
    "square": "four equal sides and four right corners",
    "triangle": "three sides that meet in three corners",
    "star": "points that stick out all around",
    "cross": "two bars that meet in the middle",
    "ring": "a circle with a hole in it",
    "crescent": "a curved moon with two tips",
    "heart": "two round lobes above one tip",
}
SURFACES = {
    "plain": "its surface is of one even tone",
    "striped": "stripes run over its surface",
    "dotted": "dots are spread over its surface",
    "checked": "small squares of two tones cover its surface",
}


def sentences(definition: ClassDefinition) -> dict[str, str]:
    """A text of each level for one class."""
    d = definition
    short = f"{d.describe()}."
    outline = f"a {d.shape} has {OUTLINES[d.shape]}."
    told = [f"it is {d.colour} whatever is drawn on it."] if d.colour is not None else []
    told += [f"{SURFACES[d.texture]}."] if d.texture is not None else []
    told += [f"it comes {PART_PHRASES[d.part]}."] if d.part is not None else []
    free = [name for name, value in (("colour", d.colour), ("texture", d.texture), ("part", d.part)) if value is None]
    left = f"its {' and its '.join(free)} may be any."
    where = "it lies at any place and on any ground, with a small thing beside it."
    return {
        "short": short,
        "medium": " ".join([f"the object is {d.describe()}.", *told]),
        "long": " ".join([short, outline, *told, left, where]),
    }


def write_sentences(folder: Path, dataset: ShapesSettings) -> None:
    """The four files for the classes of a data set, in the order of its labels."""
    folder.mkdir(parents=True, exist_ok=True)
    definitions = dataset.definitions()
    names = CLASS_NAMES[: len(definitions)]
    lines = [f"{name} {number} {name}" for number, name in enumerate(names, start=1)]
    (folder / LABELS).write_text("\n".join(lines) + "\n", encoding="utf-8")
    for level in LEVELS:
        texts = [sentences(definition)[level] for definition in definitions]
        (folder / f"{level}.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
