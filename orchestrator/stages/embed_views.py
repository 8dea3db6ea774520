"""Views of the training images through the image teacher: which rows they are in its store, and how one is made.

A row is keyed by the image's bytes, the encoder and the view's parameters, which are what determines it; parameters are
drawn by data seed, image id and view id (see docs/views.md). Reads and writes nothing. Knows nothing of what the rows
are for.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from orchestrator.artifacts.fingerprint import fingerprint
from orchestrator.artifacts.teacher_store import KEY, row_key, row_keys
from orchestrator.config.execution import ActorPoolSettings
from orchestrator.config.experiment import Experiment
from orchestrator.datasets.framing import Framing
from orchestrator.executors.pay_once import Row, TeacherFunction
from orchestrator.stages.context import Context
from orchestrator.stages.encoded import Encoded, EncodingFunction, ImageWorker, Items
from orchestrator.stages.image_rows import ADDRESS, by_image
from orchestrator.stages.teacher_rows import open_store
from orchestrator.teachers import BothTowers, ImageEncoderSettings, text_identity
from orchestrator.training.draws import image_keys
from orchestrator.training.teacher_views import parameters_of, render_for_teacher, teacher_frame
from orchestrator.training.view_settings import TeacherViews
from orchestrator.training.views import parameters_of_names
from orchestrator.vocabulary import SPLIT_TRAIN, SPLITS

RENDERER = 1  # raise it when the same parameters come to mean another picture
VIEW, VIEW_ID = "view", "view_id"
CHUNK_IMAGES = 1 << 14
ITEM_SCHEMA = pa.schema([*ADDRESS.items(), ("keys", pa.list_(pa.string())), (VIEW, pa.list_(pa.string()))])


def recipe_of(experiment: Experiment, data_seed: int | None = None) -> TeacherViews | None:
    """The views of the experiment's image teacher; None when there is none, or when it sees the images as they are.

    Args:
        data_seed: of trainings on other seeds than the experiment's own.
    """
    if experiment.image_teacher is None or experiment.image_teacher_views == 0:
        return None
    return TeacherViews(
        num_views=experiment.image_teacher_views,
        views=experiment.training.views,
        image_size=experiment.image_size,
        framing=experiment.framing,
        data_seed=experiment.training.data_seed if data_seed is None else data_seed,
    )


def shares_encoder(experiment: Experiment) -> bool:
    """Whether texts and images are embedded by one encoder, so that their cosine means something."""
    teacher = experiment.image_teacher
    if experiment.teacher_tuning is not None:
        return False  # its images have left the space of its texts
    return isinstance(teacher, BothTowers) and text_identity(teacher) == text_identity(experiment.text_encoder)


def splits_as_they_are(experiment: Experiment) -> list[str]:
    """Splits whose images the image teacher sees as they are.

    Of training images whose views it sees, only a caption's score by its image asks for the image itself.
    """
    left_out = recipe_of(experiment) is not None and not shares_encoder(experiment)
    return [split for split in SPLITS if not (left_out and split == SPLIT_TRAIN)]


def named(framing: Framing, parameters: str) -> str:
    """A view's name: what it is cut of, where that is not the usual crop, and its parameters."""
    return parameters if framing == "crop" else f"{framing}|{parameters}"


def framing_of(view: str) -> tuple[Framing, str]:
    """The inverse of `named`."""
    return ("stretch", view.removeprefix("stretch|")) if view.startswith("stretch|") else ("crop", view)


class ViewFunction:
    """See `TeacherFunction`: an item is an image, decoded once, with the views that are wanted of it.

    Args:
        images: the function that an image as it is goes through; here it is given the views, as pictures.
    """

    def __init__(self, images: TeacherFunction) -> None:
        self._images, self.usage = images, images.usage

    def prepare(self, row: Row) -> Any:
        """The frame of the decoded image."""
        return teacher_frame(self._images.prepare(row), framing_of(row[VIEW][0])[0])

    def compute(self, items: Sequence[tuple[Row, Any]]) -> list[list[Any]]:
        """The outputs of each view of each image, all in one forward pass."""
        views = [
            (row, render_for_teacher(frame, parameters_of_names([framing_of(row[VIEW][position])[1]])))
            for row, frame in items
            for position in row["positions"]
        ]
        values = (value for (value,) in self._images.compute(views))
        return [[next(values) for _ in row["positions"]] for row, _ in items]

    def columns(self, rows: Sequence[tuple[Row, int]], values: Sequence[Any]) -> dict[str, pa.Array]:
        """The same columns as of images as they are."""
        return self._images.columns(rows, values)


class ViewWorker(ImageWorker):
    """Encodes views of micro-batches of images inside an actor."""

    def function(self, of_images: EncodingFunction) -> TeacherFunction:
        """An item is an image with a key for each of its views."""
        return ViewFunction(of_images)


@dataclass(frozen=True)
class EncodedViews(Encoded):
    """The rows of views of images: see `Encoded`; `table` (view_id, image_id, key) has all images of view 0 first.

    Attributes:
        recipe: which views.
        images: the images' rows of an index.
    """

    recipe: TeacherViews
    images: pa.Table

    def worker(self) -> type[ViewWorker]:
        """See `Encoded`."""
        return ViewWorker

    def chunks(self) -> Iterator[pa.Table]:
        """See `Encoded`; an image's views side by side, so that it is decoded once."""
        return rows_of_views(self.recipe, fingerprint(self.encoder.identity()), self.images)

    def items(self) -> Items:
        """See `Encoded`: consecutive rows of one image are one item."""
        return ITEM_SCHEMA, by_image([VIEW])

    def pool(self, context: Context) -> ActorPoolSettings:
        """See `Encoded`; a micro-batch has about as many pictures as one of images as they are."""
        pool = super().pool(context)
        return pool.model_copy(update={"batch_size": max(1, pool.batch_size // self.recipe.num_views)})


def encoded_views(
    context: Context, encoder: ImageEncoderSettings, recipe: TeacherViews, images: pa.Table
) -> EncodedViews:
    """The rows of the views of an index's images, view by view."""
    identity = fingerprint(encoder.identity())
    store = open_store(context, "image-embeddings", f"{encoder.label()}-{identity[:8]}")
    chunks = [chunk.select([VIEW_ID, "image_id", KEY]) for chunk in rows_of_views(recipe, identity, images)]
    rows = pa.concat_tables(chunks) if chunks else pa.table({VIEW_ID: [], "image_id": [], KEY: []})
    by_view = np.arange(rows.num_rows).reshape(-1, recipe.num_views).T.ravel()
    return EncodedViews("view", encoder, rows.take(pa.array(by_view)), store, recipe, images)


def rows_of_views(recipe: TeacherViews, teacher: str, images: pa.Table) -> Iterator[pa.Table]:
    """Every (image, view), an image's views side by side: image_id, split, its address, view_id, view, key.

    Args:
        teacher: fingerprint of the encoder's identity.
        images: rows of an index.
    """
    seed = row_key(kind="view", renderer=RENDERER, teacher=teacher)
    count = recipe.num_views
    for start in range(0, images.num_rows, CHUNK_IMAGES):
        part = images.select(["image_id", "split", *ADDRESS]).slice(start, CHUNK_IMAGES)
        keys = image_keys(part["image_id"].to_pylist())
        by_view = [parameters_of(recipe, keys, view).names() for view in range(count)]
        views = [named(recipe.framing, name) for names in zip(*by_view, strict=True) for name in names]
        rows = part.take(pa.array(np.repeat(np.arange(part.num_rows), count)))
        found = row_keys(seed, rows["content_hash"].to_pylist(), views)
        yield (
            rows.append_column(VIEW_ID, pa.array(np.tile(np.arange(count, dtype=np.int32), part.num_rows)))
            .append_column(VIEW, pa.array(views, pa.string()))
            .append_column(KEY, pa.array(found, pa.string()))
        )
