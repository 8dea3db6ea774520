"""New classes for an embedding student: their names from a file, their texts, and those in the student's space.

Reads text files, and the weights of a text encoder. Knows nothing of images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from safetensors.torch import load_file
from torch import Tensor

from orchestrator.captioners.texts.description_files import enriched
from orchestrator.captioners.texts.files import numbered_lines
from orchestrator.errors import ConfigError, DataError
from orchestrator.exporting.bundle import HEAD, ExportConfig
from orchestrator.exporting.use_student import layers
from orchestrator.teachers import TextEncoderSettings

FIELD = "{}"


@dataclass(frozen=True)
class NewClasses:
    """Names of classes, a text of each, and the settings of who embeds them."""

    names: tuple[str, ...]
    texts: tuple[str, ...]
    encoder: Any

    @classmethod
    def read(
        cls, config: ExportConfig, names: Path, sentences: Path | None, template: str, text_encoder: str | None
    ) -> "NewClasses":
        """From a file with a line `NAME`, or `NAME<tab>TEXT`, for each class.

        Args:
            sentences: one line for each class: the text is then "a photo of NAME . SENTENCE" (docs/texts.md).
            template: holds {}, for the name.
            text_encoder: `KIND:MODEL`; None: the text tower that the export names.

        Raises:
            ConfigError: the student cannot tell new classes, or nobody can embed their texts.
            DataError: lines that cannot be used.
        """
        if not config.embedding_dim:
            raise ConfigError(
                "--class-names: this student has a classifier of its own classes and no embedding",
                expected="a student with an embedding (student.embedding)",
            )
        if FIELD not in template:
            raise ConfigError(f"--template {template!r} does not hold {FIELD}, where the name stands")
        found, texts = _lines(names, sentences, template)
        return cls(found, texts, _encoder_of(config, text_encoder))

    def identity(self) -> dict[str, Any]:
        """What determines them."""
        return {"names": list(self.names), "texts": list(self.texts), "encoder": self.encoder.identity()}


def _lines(names: Path, sentences: Path | None, template: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    for path in (names, sentences):
        if path is not None and not path.is_file():
            raise DataError(f"{path}: no such file", expected="a text file with a line for each class")
    cells = [line.split("\t", 1) for _, line in numbered_lines(names)]
    found = [one[0].strip() for one in cells]
    problems = [f"{name!r} stands twice" for name in sorted({name for name in found if found.count(name) > 1})]
    problems += ["it is empty"] if not found else []
    said: Sequence[str | None] = [None] * len(found)
    if sentences is not None:
        said = [line for _, line in numbered_lines(sentences)]
        if len(said) != len(found):
            problems.append(f"{sentences.name} has {len(said)} sentences for {len(found)} classes")
    if problems:
        raise DataError(f"{names}: {'; '.join(problems)}", expected="each class once, NAME or NAME<tab>TEXT")
    texts = [
        enriched(name, sentence) if sentence else one[1].strip() if len(one) == 2 else template.replace(FIELD, name)
        for name, one, sentence in zip(found, cells, said, strict=True)
    ]
    return tuple(found), tuple(texts)


def _encoder_of(config: ExportConfig, text_encoder: str | None) -> Any:
    if text_encoder is not None:
        kind, _, model = text_encoder.partition(":")
        if not model:
            raise ConfigError(f"--text-encoder {text_encoder}", expected="KIND:MODEL, as open_clip:embedded:tiny_clip")
        width = {"dim": int(model)} if kind == "hashed" and model.isdigit() else {"model": model}
        try:
            return TypeAdapter(TextEncoderSettings).validate_python({"kind": kind, **width})
        except ValueError as error:
            raise ConfigError(f"--text-encoder {text_encoder}: {error}", expected="KIND:MODEL") from error
    if config.text_tower is None:
        raise ConfigError(
            "--class-names: the export does not name the text tower that embeds class texts",
            remedy="export it from its experiment's sheet, or name the teacher's with --text-encoder KIND:MODEL",
        )
    return TypeAdapter(TextEncoderSettings).validate_python(config.text_tower)


@torch.inference_mode()
def embed_new_classes(export: Path, config: ExportConfig, new: NewClasses) -> Tensor:
    """[C, E] unit embeddings of the new classes in the space of the student's.

    Raises:
        ConfigError: the encoder's embeddings have another width than the class texts that the student learnt from.
    """
    vectors = torch.from_numpy(new.encoder.build_text()(list(new.texts)))
    width = config.embedding_dim
    if "text_side" in config.heads:
        side = layers(config.heads["text_side"])
        prefix = "text_side."
        tensors = load_file(export / HEAD)
        side.load_state_dict({k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)})
        width = config.heads["text_side"][0]["in_features"]
        if vectors.shape[1] == width:
            return torch.nn.functional.normalize(side.eval()(vectors), dim=1)
    if vectors.shape[1] != width:
        raise ConfigError(
            f"the text encoder's embeddings have {vectors.shape[1]} numbers, and the student compares with {width}",
            expected="the text tower of its image teacher",
        )
    return vectors
