"""What a student's training reads: pixels (kept, or decoded when read), labels, and the teacher's rows by image.

Reads the `shards` and `embeddings` artifacts. Knows nothing of how they were made.
"""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from orchestrator import vocabulary
from orchestrator.artifacts.embeddings import TEXT_ROWS, ArraysOnDemand, Embeddings, text_rows_name
from orchestrator.artifacts.storage import read_table
from orchestrator.teachers.encoder import EMBEDDING, FEATURE, LOGITS, TOKENS
from orchestrator.training.draws import image_keys, uniform_draws
from orchestrator.training.encoded_pixels import EncodedPixels
from orchestrator.training.teacher_views import LiveTeacher
from orchestrator.training.text_choices import TextChoices
from orchestrator.training.view_settings import TeacherViews

Vectors = npt.NDArray[Any]
OUTPUT_OF = {  # what a batch may hold of the image teacher -> the output that it is made of
    vocabulary.TEACHER_IMAGE: EMBEDDING,
    vocabulary.TEACHER_LOGITS: LOGITS,
    vocabulary.TEACHER_FEATURE: FEATURE,
    vocabulary.TEACHER_MAP: TOKENS,
}
NUM_READERS = 4  # threads that decode images for an evaluation, which no loader processes serve
TEXT_DRAW = 1 << 20  # numbers of draws from here on choose texts; those of views are far below


@dataclass(frozen=True)
class SplitData:
    """Images and labels of one split.

    Attributes:
        open_pixels: gives `pixels`, when they are first read: a student of teachers' rows alone needs none.
        labels: [N].
        keys: [N] of the images (see `image_keys`).
    """

    open_pixels: Callable[[], npt.NDArray[np.uint8] | EncodedPixels]
    labels: npt.NDArray[np.int64]
    image_ids: Sequence[str]
    keys: npt.NDArray[np.uint64]

    @cached_property
    def pixels(self) -> npt.NDArray[np.uint8] | EncodedPixels:
        """[N, S, S, 3] uint8: mapped, or decoded when read."""
        return self.open_pixels()


def load_split(shards: Path, split: str, images: Literal["pixels", "encoded"] | None = None) -> SplitData:
    """One split of a `shards` artifact.

    Args:
        images: which of the two ways to read images; None: pixels where they are kept. The bits are the same.
    """
    rows = read_table(shards / f"{split}.parquet")
    ids = rows["image_id"].to_pylist()
    kept = shards / f"{split}.npy"
    open_pixels: Callable[[], npt.NDArray[np.uint8] | EncodedPixels]
    if images == "encoded" or (images is None and not kept.is_file()):
        num_threads = 1 if split == vocabulary.SPLIT_TRAIN else NUM_READERS
        open_pixels = partial(EncodedPixels, shards / f"{split}.arrow", num_threads)
    else:
        open_pixels = partial(np.load, kept, mmap_mode="r", allow_pickle=False)
    return SplitData(open_pixels, rows["label"].to_numpy().astype(np.int64), ids, image_keys(ids))


@dataclass(frozen=True)
class TeacherData:
    """Teacher rows of the training split, joined by image.

    Attributes:
        text_vectors: [T, e] unit embeddings of the unique texts.
        text_ids: [N, Q] row of each image's text for each text source, -1 = missing.
        image_vectors: unit teacher image embeddings: [N, D] of the images as they are, or, with `views`, [V * N, D] of
            V views of them (row `view * N + image`); or None.
        class_vectors: [C, e] unit embeddings of the class texts that make the teacher's class logits, or None.
        domain_vectors: [C, K, e] embeddings of each class in K domains, or None.
        logit_scale: scale of cosines in the teacher's class logits.
        image_outputs: every output of the image teacher by name: rows of the images, or of views, in the same order;
            opened when read.
        widths: last size of those outputs by name, so that nothing need be opened to know it.
        text_choices: of the q-th texts that are drawn anew in each pass, what there is to draw from.
        keys: [N] keys of the images, where texts are drawn.
        num_classes: of the data set; a teacher's own classifier is its class logits where it has so many classes.
        grid: rows and columns of the image teacher's tokens, where they lie on a grid.
        views: what the views are that the teacher has seen; None: it saw the images as they are.
        live: looks at a view now, instead of reading what was kept; with `hybrid` only at views that were not kept.
    """

    text_vectors: Vectors
    text_ids: npt.NDArray[np.int64]
    image_vectors: Vectors | None
    class_vectors: Vectors | None
    logit_scale: float
    domain_vectors: Vectors | None = None
    grid: tuple[int, int] | None = None
    image_outputs: Mapping[str, Vectors] = field(default_factory=dict)
    widths: Mapping[str, int] = field(default_factory=dict)
    text_choices: Mapping[int, TextChoices] = field(default_factory=dict)
    keys: npt.NDArray[np.uint64] | None = None
    num_classes: int | None = None
    views: TeacherViews | None = None
    live: LiveTeacher | None = None
    hybrid: bool = False

    def looks_at(self, view: int) -> bool:
        """Whether the teacher looks at this view itself, so that nothing is read."""
        kept = self.views.num_views if self.views is not None and self.hybrid else 0
        return self.live is not None and view >= kept

    @property
    def num_views(self) -> int:
        """Views that are replayed: the view id is taken modulo it; 0: each epoch shows a new one."""
        return self.views.num_views if self.views is not None and self.live is None else 0

    def texts_only(self) -> "TeacherData":
        """The same without the image teacher, for losses that do not read it."""
        return replace(self, image_vectors=None, image_outputs={}, views=None, live=None)

    def image_rows(self, rows: npt.NDArray[np.int64], view: int) -> Mapping[str, Vectors]:
        """The image teacher's outputs of view `view` of these images that were kept, those that a batch is made of."""
        at = rows if self.views is None else rows + view * len(self.text_ids)
        found = {} if self.image_vectors is None else {EMBEDDING: self.image_vectors[at]}
        for name in (LOGITS, FEATURE, TOKENS):
            if name in self.image_outputs and not (name == LOGITS and self.class_vectors is not None):
                found[name] = self.image_outputs[name][at]
        return found

    def only(self, wanted: Set[str]) -> "TeacherData":
        """The same with those outputs alone that a loss or the student reads; only they are opened."""
        read = {output for name, output in OUTPUT_OF.items() if name in wanted}
        kept = {name: self.image_outputs[name] for name in self.image_outputs if name in read}
        return replace(self, image_outputs=kept)

    @property
    def dims(self) -> dict[str, int]:
        """Widths by the names of the contexts' attributes; 0 for what is not there."""
        return {
            "text_dim": self.text_vectors.shape[1] if self.text_ids.shape[1] else 0,
            "teacher_dim": 0 if self.image_vectors is None else self.image_vectors.shape[1],
            "teacher_feature_dim": self._width(FEATURE),
            "teacher_map_dim": 0 if self.grid is None else self._width(TOKENS),
        }

    def _width(self, output: str) -> int:
        if output not in self.image_outputs:
            return 0
        return self.widths[output] if output in self.widths else self.image_outputs[output].shape[-1]

    def inputs(
        self, rows: npt.NDArray[np.int64], view: int, *, data_seed: int = 0, pass_index: int = 0
    ) -> dict[str, torch.Tensor]:
        """The teacher's part of a batch of view `view` of these images, by vocabulary name; of texts alone where the
        image teacher is yet to look at the view (see `looks_at`).

        Texts that are drawn are a function of (data seed, image, pass).
        """
        ids = self.text_ids[rows]
        for q, choices in self.text_choices.items():
            assert self.keys is not None
            ids[:, q] = choices.draw(rows, uniform_draws(self.keys[rows], data_seed, pass_index, TEXT_DRAW + q))
        batch: dict[str, torch.Tensor] = {}
        if ids.shape[1]:
            text = self.text_vectors[np.maximum(ids, 0)].astype(np.float32)
            text[ids < 0] = 0.0
            batch[vocabulary.TEXT] = torch.from_numpy(text)
            batch[vocabulary.TEXT_ID] = torch.from_numpy(ids)
        return batch if self.looks_at(view) else batch | self.of_outputs(self.image_rows(rows, view))

    def of_outputs(self, outputs: Mapping[str, Vectors]) -> dict[str, torch.Tensor]:
        """The image teacher's part of a batch, made of its outputs."""
        batch: dict[str, torch.Tensor] = {}
        if EMBEDDING in outputs:
            image = torch.from_numpy(outputs[EMBEDDING].astype(np.float32))
            batch[vocabulary.TEACHER_IMAGE] = image
            if self.class_vectors is not None:
                classes = torch.from_numpy(np.array(self.class_vectors, np.float32))
                batch[vocabulary.TEACHER_LOGITS] = self.logit_scale * image @ classes.T
            elif (logits := outputs.get(LOGITS)) is not None and logits.shape[1] == self.num_classes:
                batch[vocabulary.TEACHER_LOGITS] = torch.from_numpy(logits.astype(np.float32))
        if FEATURE in outputs:
            batch[vocabulary.TEACHER_FEATURE] = torch.from_numpy(outputs[FEATURE].astype(np.float32))
        if TOKENS in outputs and self.grid is not None:
            on_grid = torch.from_numpy(outputs[TOKENS][:, -self.grid[0] * self.grid[1] :].astype(np.float32))
            batch[vocabulary.TEACHER_MAP] = on_grid.transpose(1, 2).unflatten(2, self.grid)
        return batch

    def constants(self, num_trained: int) -> dict[str, torch.Tensor]:
        """What the run supplies whatever the images are: class and domain texts of the first `num_trained` classes."""
        found = {vocabulary.CLASS_TEXT: self.class_vectors, vocabulary.DOMAIN_TEXT: self.domain_vectors}
        return {
            name: torch.from_numpy(np.array(vectors[:num_trained], np.float32))
            for name, vectors in found.items()
            if vectors is not None
        }


def load_split_rows(
    embeddings: Embeddings, split: str, texts: Sequence[str], num_images: int, wanted: Set[str]
) -> Callable[[npt.NDArray[np.int64]], dict[str, torch.Tensor]]:
    """Rows of a split -> what the teachers say of its images as they are, by vocabulary name.

    Texts are there for splits that are captioned (`caption_splits`).

    Args:
        num_images: of the split.
        wanted: vocabulary names; of the image teacher only what they need is opened.
    """
    outputs = ArraysOnDemand(embeddings, f"images/{split}/")
    path = embeddings.folder / text_rows_name(split)
    rows = read_table(path) if path.is_file() and texts else None
    columns = [] if rows is None else [_first_of(rows[name]) for name in texts]
    vectors = embeddings.vectors("texts")
    assert vectors is not None, "the embed stage always makes texts"
    data = TeacherData(
        text_vectors=vectors,
        text_ids=np.stack(columns, axis=1) if columns else np.zeros((num_images, 0), np.int64),
        image_vectors=outputs[EMBEDDING] if vocabulary.TEACHER_IMAGE in wanted and EMBEDDING in outputs else None,
        class_vectors=None,
        logit_scale=0.0,
        grid=_grid_of(embeddings),
        image_outputs=outputs,
    ).only(wanted)
    return lambda chosen: data.inputs(chosen, 0)


def _first_of(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """Rows of texts; of several the first."""
    drawn = pa.types.is_list(column.type)
    found: npt.NDArray[np.int64] = TextChoices.of(column).first() if drawn else column.to_numpy().astype(np.int64)
    return found


def _grid_of(embeddings: Embeddings) -> tuple[int, int] | None:
    grid = embeddings.header.encoders.get("image_teacher", {}).get("grid")
    return None if grid is None else (int(grid[0]), int(grid[1]))


def load_teacher(
    folder: Path, texts: Sequence[str], hot_copies: Path | None = None, num_classes: int | None = None
) -> TeacherData:
    """The `embeddings` artifact for the training split, with the named text sources in this order.

    The arrays are hot copies, mapped and not read; one that is missing on this node is built from its store. Of the
    image teacher's outputs only the embedding is opened at once (see `TeacherData.only`).
    """
    embeddings = Embeddings(folder, hot_copies)
    rows = read_table(folder / TEXT_ROWS)
    drawn = {q: TextChoices.of(rows[name]) for q, name in enumerate(texts) if pa.types.is_list(rows[name].type)}
    ids = np.zeros((rows.num_rows, len(texts)), np.int64)
    for q, name in enumerate(texts):
        ids[:, q] = drawn[q].first() if q in drawn else rows[name].to_numpy()
    prefix = f"images/{vocabulary.SPLIT_TRAIN}/" if embeddings.header.views is None else "views/"
    outputs = ArraysOnDemand(embeddings, prefix)
    dims = embeddings.header.encoders.get("image_teacher", {}).get("dims", {})
    domains = embeddings.vectors("domains")
    text_vectors = embeddings.vectors("texts")
    assert text_vectors is not None, "the embed stage always makes texts"
    return TeacherData(
        text_vectors=text_vectors,
        text_ids=ids,
        text_choices=drawn,
        keys=image_keys(rows["image_id"].to_pylist()) if drawn else None,
        image_vectors=outputs.get(EMBEDDING),
        widths={name: int(shape[-1]) for name, shape in dims.items()},
        class_vectors=embeddings.vectors("classes"),
        logit_scale=embeddings.header.logit_scale,
        domain_vectors=None if domains is None else domains.reshape(num_classes or 1, -1, domains.shape[1]),
        grid=_grid_of(embeddings),
        image_outputs=outputs,
        num_classes=num_classes,
        views=None if embeddings.header.views is None else TeacherViews.model_validate(embeddings.header.views),
    )
