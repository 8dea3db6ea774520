"""Small tables of images, classes and captions for tests of text sources."""

import pyarrow as pa

from orchestrator.captioners.texts import TextMaterial

NAMES = ("sand_piper", "crane", "red fox")
IMAGES = (("a/1.jpg", 1), ("a/2.jpg", 0), ("b/3.jpg", 1), ("b/4.jpg", 2))


def class_table(names: tuple[str, ...] = NAMES, described: bool = True) -> pa.Table:
    """Classes by label; each description says its name."""
    texts = [f"a bird called {name}" if described else None for name in names]
    return pa.table({"label": pa.array(range(len(names)), pa.int32()), "name": list(names),
                     "description": pa.array(texts, pa.string())})  # fmt: skip


def material(answers: dict[tuple[str, str], str] | None = None, names: tuple[str, ...] = NAMES) -> TextMaterial:
    """Four images of three classes and the captions given as {(image_id, prompt): caption}."""
    rows = [{"image_id": image, "prompt": prompt, "caption": text} for (image, prompt), text in (answers or {}).items()]
    schema = pa.schema([("image_id", pa.string()), ("prompt", pa.string()), ("caption", pa.string())])
    train = pa.table({"image_id": [name for name, _ in IMAGES], "label": [label for _, label in IMAGES],
                      "oracle_caption": [f"truth of {name}" for name, _ in IMAGES]})  # fmt: skip
    return TextMaterial(train, class_table(names), pa.Table.from_pylist(rows, schema=schema))
