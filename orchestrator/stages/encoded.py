"""Rows of texts and images that an encoder is wanted for: their keys in its store, and the worker that fills it.

Reads images; commits to the stores through the engine. Knows nothing of what the rows are for.
"""

import itertools
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from orchestrator.artifacts.embeddings import ArrayOf
from orchestrator.artifacts.fingerprint import fingerprint
from orchestrator.artifacts.store_arrays import read_rows, to_column
from orchestrator.artifacts.teacher_store import KEY, TeacherStore, row_key, row_keys
from orchestrator.captioners import Usage
from orchestrator.config.execution import ActorPoolSettings
from orchestrator.errors import ArtifactError
from orchestrator.executors.pay_once import Row, TeacherFunction
from orchestrator.stages.context import Context
from orchestrator.stages.image_rows import ADDRESS, fetch_images, image_of
from orchestrator.stages.paying_worker import PayingWorker
from orchestrator.stages.teacher_rows import Job, chunked, make_rows, open_store
from orchestrator.teachers import ImageEncoderSettings, TextEncoderSettings, text_identity
from orchestrator.teachers.encoder import EMBEDDING, over_length

ENCODER = "encoder.json"  # in a store's folder: what its encoder told of itself
NUM_TOKENS = "num_tokens"
CHUNK_ROWS = 1 << 16

Rows = Mapping[str, npt.NDArray[Any]]
Items = tuple[pa.Schema, Callable[[pa.Table], pa.Table]]


class _EncodingWorker(PayingWorker):
    """What workers of texts and images share."""

    def told(self, info: Mapping[str, Any], function: TeacherFunction) -> TeacherFunction:
        """Leave in the store's folder what the encoder tells of itself; the function that fills the store."""
        TeacherStore(self.store).folder.write(ENCODER, json.dumps(info, indent=2, sort_keys=True).encode())
        return function


class TextWorker(_EncodingWorker):
    """Embeds micro-batches of texts inside an actor; rows are items with one key each."""

    encoder: TextEncoderSettings

    def load(self) -> TeacherFunction:
        """See `PayingWorker`: the text tower."""
        encoder = self.encoder.build_text()

        def encode(texts: Sequence[Any]) -> Rows:
            return {EMBEDDING: encoder(texts), NUM_TOKENS: np.array(encoder.num_tokens(texts), np.int32)}

        return self.told(encoder.info, EncodingFunction(encode, itemgetter("text"), self.encoder.store_dtype))


class ImageWorker(_EncodingWorker):
    """Encodes micro-batches of images inside an actor; rows are items with one key each."""

    encoder: ImageEncoderSettings

    def fetch(self, rows: pa.Table) -> pa.Table:
        """See `TableWorker`: the images' bytes."""
        return fetch_images(rows)

    def load(self) -> TeacherFunction:
        """See `PayingWorker`: the image tower."""
        encoder = self.encoder.build_image()
        return self.told(encoder.info, self.function(EncodingFunction(encoder, image_of, self.encoder.store_dtype)))

    def function(self, of_images: "EncodingFunction") -> TeacherFunction:
        """What an item goes through, given what a decoded image goes through."""
        return of_images


class EncodingFunction:
    """See `TeacherFunction`: an item is a text or an image, with one key; each output is a column.

    Args:
        encode: prepared items -> output name -> rows.
        prepare: row of an item -> the text, or the decoded image.
        store_dtype: number format in which outputs that are no whole numbers are kept.
    """

    def __init__(
        self, encode: Callable[[Sequence[Any]], Rows], prepare: Callable[[Row], Any], store_dtype: str
    ) -> None:
        self._encode, self._prepare, self._store_dtype, self.usage = encode, prepare, store_dtype, Usage()

    def prepare(self, row: Row) -> Any:
        """The text, or the decoded image."""
        return self._prepare(row)

    def compute(self, items: Sequence[tuple[Row, Any]]) -> list[list[Any]]:
        """One row of each output for each item."""
        found = {
            name: rows.astype(self._store_dtype) if rows.dtype.kind == "f" else rows
            for name, rows in self._encode([prepared for _, prepared in items]).items()
        }
        self.usage.add(forwards=1)
        return [[{name: rows[at] for name, rows in found.items()}] for at in range(len(items))]

    def columns(self, rows: Sequence[tuple[Row, int]], values: Sequence[Any]) -> dict[str, pa.Array]:
        """The outputs; null where the item was refused."""
        names = next((list(value) for value in values if value is not None), [])  # none when all were refused
        return {name: to_column([None if value is None else value[name] for value in values]) for name in names}


@dataclass(frozen=True)
class Encoded:
    """Rows that an encoder is wanted for.

    Attributes:
        table: `key`, what the encoder reads, and what the caller wants to keep beside it.
    """

    of: Literal["text", "image", "view"]
    encoder: TextEncoderSettings | ImageEncoderSettings
    table: pa.Table
    store: TeacherStore

    @property
    def keys(self) -> list[str]:
        """The key of each row; equal inputs have equal keys."""
        return list(self.table[KEY].to_pylist())

    @property
    def info(self) -> dict[str, Any]:
        """Label of the encoder, and what it told of itself when it last filled the store."""
        told = json.loads(self.store.folder.read(ENCODER)) if ENCODER in self.store.folder.names() else {}
        return {"label": self.encoder.label(), **told}

    def worker(self) -> type[TextWorker] | type[ImageWorker]:
        """Which worker makes the rows."""
        return TextWorker if self.of == "text" else ImageWorker

    def chunks(self) -> Iterable[pa.Table]:
        """The rows with what the encoder reads, in pieces."""
        return chunked(self.table, CHUNK_ROWS)

    def items(self) -> Items:
        """The schema of what the worker is given, and how rows become that: here, an item has one key."""
        columns = {"text": pa.string()} if self.of == "text" else ADDRESS

        def to_items(missing: pa.Table) -> pa.Table:
            offsets = pa.array(range(missing.num_rows + 1), pa.int32())
            keys = pa.ListArray.from_arrays(offsets, missing[KEY].combine_chunks())
            return pa.table({**{name: missing[name] for name in columns}, "keys": keys})

        return pa.schema([*columns.items(), ("keys", pa.list_(pa.string()))]), to_items

    def pool(self, context: Context) -> ActorPoolSettings:
        """The actors that make the rows."""
        return context.execution.embedding

    def job(self, context: Context, also: "Encoded | None" = None) -> Job:
        """These rows as a job for the engine; `also` shares the pool of actors."""
        pool, store = self.pool(context), self.store
        schema, to_items = self.items()

        worker = self.worker().model_validate(
            {"encoder": self.encoder, "store": store.folder.uri, "timeout_s": pool.timeout_s}
        )

        def chunks() -> Iterable[pa.Table]:
            return itertools.chain(self.chunks(), also.chunks() if also is not None else ())

        return Job("embed", f"{self.of}s", store, chunks, to_items, schema, worker, pool)

    def make_missing(self, context: Context, also: "Encoded | None" = None, folder: Path | None = None) -> int:
        """Put the rows that the store lacks through the model, each input once.

        `also` shares the pool of actors. The engine's plan lies in `folder` meanwhile, by default that of the
        embeddings. Returns how many went through the model.

        Raises:
            ArtifactError: an input could not be encoded.
        """
        account, refused = make_rows(context, self.job(context, also), folder or context.texts_folder / "embeddings")
        keys = {*self.keys, *(also.keys if also is not None else ())}
        if refused & keys:
            told = self.store.refused(sorted(refused)).slice(0, 1).to_pylist()[0]
            raise ArtifactError(
                f"{account.quarantined} {self.of}s could not be embedded, first {told['path'] or ''} "
                f"{told['error_message']}",
                expected="an embedding of each",
                remedy="make the index again with --rebuild index, so that damaged images are left out",
            )
        return account.done

    def num_over_length(self) -> int:
        """How many of these (embedded) texts exceed the encoder's context length and were cut."""
        return over_length(self.info, read_rows(self.store, self.keys, NUM_TOKENS).tolist())

    def array(self, folder: Path, table: str, column: str, split: str | None = None) -> ArrayOf:
        """These rows' entry in the artifact in `folder`."""
        local = self.store.folder.local
        store = self.store.folder.uri if local is None else os.path.relpath(local, folder)
        return ArrayOf(table=table, split=split, store=store, column=column, dtype=self.encoder.store_dtype)


def encoded_texts(context: Context, encoder: TextEncoderSettings, texts: Sequence[str]) -> Encoded:
    """The rows of these texts, in order."""
    identity = fingerprint(text_identity(encoder))
    store = open_store(context, "text-embeddings", f"{encoder.label()}-{identity[:8]}")
    keys = row_keys(row_key(kind="text", teacher=identity), list(texts))
    return Encoded("text", encoder, pa.table({KEY: pa.array(keys, pa.string()), "text": list(texts)}), store)


def encoded_images(context: Context, encoder: ImageEncoderSettings, images: pa.Table) -> Encoded:
    """The rows of an index's images, in order, keyed by their content."""
    identity = fingerprint(encoder.identity())
    store = open_store(context, "image-embeddings", f"{encoder.label()}-{identity[:8]}")
    keys = row_keys(row_key(kind="image", teacher=identity), images["content_hash"].to_pylist())
    table = images.select(["image_id", "split", *ADDRESS]).append_column(KEY, pa.array(keys, pa.string()))
    return Encoded("image", encoder, table, store)
