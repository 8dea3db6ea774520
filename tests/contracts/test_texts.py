"""What every source of texts must keep, run on each member of its union."""

import json
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pytest

from orchestrator.captioners.texts import (
    CaptionText,
    ClassTextSettings,
    ClassTextSource,
    DescriptionFilesText,
    DrawnVector,
    HumanCaptionsText,
    SentencesText,
    TextMaterial,
    TextSettings,
)
from tests.unit.captioners.text_tables import IMAGES, NAMES, material

MEMBERS = get_args(get_args(TextSettings)[0])
each_source = pytest.mark.parametrize("kind", MEMBERS, ids=lambda kind: kind.__name__)


def built(kind: Any, folder: Path) -> Any:
    """A member with sample settings; the files it reads lie in `folder`."""
    labels, said, captions = folder / "labels.txt", folder / "said.txt", folder / "captions.json"
    labels.write_text("".join(f"d{n} {n} {name.replace(' ', '_')}\n" for n, name in enumerate(NAMES, start=1)))
    said.write_text("".join(f"{name}\tIt is one.\n{name}\tIt is {name}.\n" for name in NAMES))
    rows = [{"id": number, "file_name": name} for number, (name, _) in enumerate(IMAGES)]
    notes = [{"id": row["id"], "image_id": row["id"], "caption": f"See {row['file_name']}."} for row in rows]
    captions.write_text(json.dumps({"images": rows, "annotations": notes}))
    samples: dict[type, dict[str, Any]] = {
        CaptionText: {"prompt": "general"},
        DescriptionFilesText: {"labels": str(labels)},
        SentencesText: {"file": str(said)},
        HumanCaptionsText: {"files": (str(captions),)},
    }
    return kind(**samples.get(kind, {}))


@pytest.fixture
def tables() -> TextMaterial:
    """Images, classes, one caption of each image, and a short description of each class."""
    found = material({(name, "general"): f"A caption of {name}." for name, _ in IMAGES})
    written = {"label": [0, 1, 2], "level": ["short"] * 3, "description": [f"It is {name}." for name in NAMES]}
    return TextMaterial(found.train, found.classes, found.captions, pa.table(written))


@each_source
def test_a_source_has_a_group_of_texts_for_each_image_whatever_the_order_of_the_images(
    kind: Any, tmp_path: Path, tables: TextMaterial
) -> None:
    source = built(kind, tmp_path)
    groups = list(source.texts_of_images(tables))
    assert len(groups) == len(IMAGES)
    for group in groups:
        assert isinstance(group, DrawnVector) or (group and all(text and text == text.strip() for text in group))
    backwards = TextMaterial(tables.train.take([3, 2, 1, 0]), tables.classes, tables.captions, tables.descriptions)
    assert list(source.texts_of_images(backwards)) == groups[::-1]


@each_source
def test_a_source_gives_the_classes_of_the_images_their_texts_or_is_refused_as_a_class_text(
    kind: Any, tmp_path: Path, tables: TextMaterial
) -> None:
    source = built(kind, tmp_path)
    assert isinstance(source, ClassTextSource) == (kind in get_args(get_args(ClassTextSettings)[0]))
    if isinstance(source, ClassTextSource):
        groups = source.texts_of_classes(tables.classes, tables.descriptions)
        assert len(groups) == len(set(groups)) == len(NAMES)
        assert list(source.texts_of_images(tables)) == [groups[label] for _, label in IMAGES]


@each_source
def test_a_sources_identity_is_plain_json_names_its_kind_and_no_place(kind: Any, tmp_path: Path) -> None:
    identity = built(kind, tmp_path).identity()
    assert json.loads(json.dumps(identity)) == identity
    assert identity["kind"] == kind.model_fields["kind"].default
    assert built(kind, tmp_path).identity() == identity
    assert str(tmp_path) not in json.dumps(identity)
