"""Stage `embed`: the embeddings of an experiment's texts and images, as a view over the content-addressed stores.

Reads index and captions; commits missing embeddings; writes memory-mappable arrays that training reads:
`text_vectors.npy` [T, e] of the unique texts (or groups of texts), `text_rows.parquet` (one column of row numbers per
text source), `image_vectors.npy` [N, D] of the training images, `class_vectors.npy` [C, e]. Knows nothing of losses.
"""

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator import vocabulary
from orchestrator.artifacts.fingerprint import fingerprint
from orchestrator.artifacts.storage import read_table, write_atomically, write_json, write_table
from orchestrator.artifacts.teacher_store import KEY, TeacherStore, row_key, row_keys
from orchestrator.captioners import Usage
from orchestrator.datasets.index import DatasetIndex
from orchestrator.errors import ArtifactError
from orchestrator.evaluation.shot_accuracy import shot_accuracy
from orchestrator.executors.pay_once import PayOnce, Row
from orchestrator.executors.protocol import TableFunction
from orchestrator.frozen import Frozen
from orchestrator.stages import caption, describe, index, text_thresholds
from orchestrator.stages.context import Context, Counts, Plan
from orchestrator.stages.image_rows import ADDRESS, fetch_images, image_of
from orchestrator.stages.teacher_rows import Job, chunked, make_rows, open_store
from orchestrator.stages.texts import class_texts, texts_in, texts_of, vectors_of_groups
from orchestrator.teachers import EncoderSettings

Vectors = npt.NDArray[np.float32]
CHUNK_ROWS = 1 << 16


class EmbeddingWorker(Frozen):
    """Embeds micro-batches of texts or of images inside an actor."""

    encoder: EncoderSettings
    of: Literal["text", "image"]
    store: str
    run: str
    known: tuple[str, ...]
    timeout_s: float

    def fetch(self, rows: pa.Table) -> pa.Table:
        """See `TableWorker`."""
        return fetch_images(rows) if self.of == "image" else rows

    def open(self, *, own_process: bool) -> TableFunction:
        """Load the tower; rows are items with one key each."""
        encode: Callable[[Sequence[Any]], Vectors] = (
            self.encoder.build_image() if self.of == "image" else self.encoder.build_text()
        )
        function = EmbeddingFunction(encode, image_of if self.of == "image" else itemgetter("text"))
        return PayOnce(
            TeacherStore(self.store), self.run, self.known, function, self.timeout_s if own_process else None
        )


class EmbeddingFunction:
    """See `TeacherFunction`: an item is a text or an image, with one key."""

    def __init__(self, encode: Callable[[Sequence[Any]], Vectors], prepare: Callable[[Row], Any]) -> None:
        self._encode, self._prepare, self.usage = encode, prepare, Usage()
        self._dim = 0

    def prepare(self, row: Row) -> Any:
        """The text, or the decoded image."""
        return self._prepare(row)

    def compute(self, items: Sequence[tuple[Row, Any]]) -> list[list[Any]]:
        """One vector each."""
        vectors = self._encode([prepared for _, prepared in items])
        self.usage.add(forwards=1)
        self._dim = vectors.shape[1]
        return [[vector] for vector in vectors]

    def columns(self, rows: Sequence[tuple[Row, int]], values: Sequence[Any]) -> dict[str, pa.Array]:
        """The vector; null where the item was refused."""
        if not self._dim:  # all were refused
            return {}
        zero = np.zeros(self._dim, np.float32)
        flat = np.concatenate([zero if value is None else value for value in values])
        mask = pa.array([value is None for value in values])
        return {"vector": pa.FixedSizeListArray.from_arrays(pa.array(flat), self._dim, mask=mask)}


def plan(context: Context, parents: Mapping[str, Plan]) -> Plan:
    """The view depends on index, captions, written descriptions, the text sources and the encoders' identities."""
    experiment = context.experiment
    teacher = experiment.image_teacher
    settings = {
        "texts": {name: text.identity() for name, text in experiment.texts.items()},
        "class_text": experiment.class_text and experiment.class_text.identity(),
        "text_encoder": experiment.text_encoder.identity(),
        "image_teacher": teacher and {**teacher.identity(), "logit_scale": teacher.logit_scale},
    }
    fingerprints = {name: parent.identity for name, parent in parents.items()}
    return Plan("embed", context.folder / "embeddings", settings, fingerprints, is_view=True)


def make(context: Context, parents: Mapping[str, Plan]) -> Plan:
    """Make or reuse the embeddings; only texts and images missing from the stores go through a model."""
    planned = plan(context, parents)

    def build(folder: Path) -> tuple[Counts, Mapping[str, float]]:
        experiment = context.experiment
        data = index.load(context)
        train = data.images.filter(pc.equal(data.images["split"], vocabulary.SPLIT_TRAIN))
        captions = read_table(parents["caption"].folder / caption.CAPTIONS)
        written = describe.load(parents)
        sources = {
            name: texts_of(text, train, data.classes, captions, written) for name, text in experiment.texts.items()
        }
        groups = list(dict.fromkeys(group for found in sources.values() for group in found if group is not None))
        of_classes = class_texts(data.classes, experiment.class_text, written)
        unique, class_unique = texts_in(groups), texts_in(of_classes)
        counts: Counts = {"texts": len(unique)}
        # With one encoder for both, one pool of actors embeds the class texts too.
        shared = experiment.image_teacher == experiment.text_encoder
        wanted = [*(unique or [""]), *(class_unique if shared else [])]
        vectors, counts["texts_embedded"] = _embed_texts(context, wanted)
        _save(folder / "text_vectors.npy", vectors_of_groups(groups or [("",)], wanted, vectors))
        rows = {group: row for row, group in enumerate(groups)}
        columns = {name: [-1 if group is None else rows[group] for group in found] for name, found in sources.items()}
        write_table(folder / "text_rows.parquet", pa.table({"image_id": train["image_id"], **columns}))
        metrics: dict[str, float] = {}
        scale = 0.0
        if experiment.image_teacher is not None:
            scale = experiment.image_teacher.logit_scale
            images, counts["images_embedded"] = _embed_images(context, data.images)
            counts["images"] = data.images.num_rows
            found, _ = _embed_texts(context, class_unique, encoder=experiment.image_teacher)
            class_vectors = vectors_of_groups(of_classes, class_unique, found)
            in_train = np.array(data.images["split"].to_pylist()) == vocabulary.SPLIT_TRAIN
            _save(folder / "image_vectors.npy", images[in_train])
            _save(folder / "class_vectors.npy", class_vectors)
            metrics = _teacher_accuracy(data, images, class_vectors)
        write_json(folder / "embeddings.json", {"logit_scale": scale, "sources": list(sources)})
        counts |= text_thresholds.apply(context, folder, data, captions)
        return counts, metrics

    context.make(planned, build)
    return planned


def _embed_texts(context: Context, texts: Sequence[str], encoder: Any = None) -> tuple[Vectors, int]:
    """Vectors of the texts, in order, and how many of them a model had to embed."""
    encoder = encoder or context.experiment.text_encoder
    identity = fingerprint(encoder.identity())
    keys = row_keys(row_key(kind="text", teacher=identity), list(texts))
    rows = pa.table({KEY: keys, "text": list(texts)})
    return _embed(context, encoder, "text", rows)


def _embed_images(context: Context, images: pa.Table) -> tuple[Vectors, int]:
    encoder = context.experiment.image_teacher
    assert encoder is not None
    identity = fingerprint(encoder.identity())
    keys = row_keys(row_key(kind="image", teacher=identity), images["content_hash"].to_pylist())
    return _embed(context, encoder, "image", images.select(list(ADDRESS)).append_column(KEY, pa.array(keys)))


def _embed(context: Context, encoder: Any, of: Literal["text", "image"], rows: pa.Table) -> tuple[Vectors, int]:
    identity = fingerprint(encoder.identity())
    store = open_store(context, f"{of}-embeddings", f"{encoder.label()}-{identity[:8]}")
    pool = context.execution.embedding
    columns = [("text", pa.string())] if of == "text" else list(ADDRESS.items())

    def to_items(missing: pa.Table) -> pa.Table:
        offsets = pa.array(range(missing.num_rows + 1), pa.int32())
        keys = pa.ListArray.from_arrays(offsets, missing[KEY].combine_chunks())
        return pa.table({**{name: missing[name] for name, _ in columns}, "keys": keys})

    def open_worker(run: str, known: tuple[str, ...]) -> EmbeddingWorker:
        return EmbeddingWorker(
            encoder=encoder, of=of, store=store.folder.uri, run=run, known=known, timeout_s=pool.timeout_s
        )

    schema = pa.schema([*columns, ("keys", pa.list_(pa.string()))])
    job = Job("embed", f"{of}s", store, lambda: chunked(rows, CHUNK_ROWS), to_items, schema, open_worker, pool)
    account, refused = make_rows(context, job, context.folder / "embeddings")
    if refused & set(rows[KEY].to_pylist()):
        told = store.refused(sorted(refused)).slice(0, 1).to_pylist()[0]
        raise ArtifactError(
            f"{account.quarantined} {of}s could not be embedded, first {told['path'] or ''} {told['error_message']}",
            expected="an embedding of each",
            remedy="make the index again with --rebuild index, so that damaged images are left out",
        )
    column = store.read(rows[KEY].combine_chunks(), ["vector"])["vector"].combine_chunks()
    flat = column.flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat, np.float32).reshape(rows.num_rows, -1), account.done


def _teacher_accuracy(data: DatasetIndex, images: Vectors, class_vectors: Vectors) -> dict[str, float]:
    """Zero-shot accuracy of the image teacher by the class texts, on the selection and the report split."""
    labels = data.images["label"].to_numpy()
    splits = np.array(data.images["split"].to_pylist())
    num_classes = data.classes.num_rows
    counts = np.bincount(labels[splits == vocabulary.SPLIT_TRAIN], minlength=num_classes)
    predicted = (images @ class_vectors.T).argmax(1)
    metrics: dict[str, float] = {}
    for split in (vocabulary.SPLIT_SELECT, vocabulary.SPLIT_REPORT):
        chosen = splits == split
        hits = np.bincount(labels[chosen & (predicted == labels)], minlength=num_classes)
        total = np.bincount(labels[chosen], minlength=num_classes)
        metrics |= {f"{split}/{name}": value for name, value in shot_accuracy(hits, total, counts).items()}
    return metrics


def _save(path: Path, vectors: Vectors) -> None:
    def write(temporary: Path) -> None:
        with temporary.open("wb") as stream:
            np.save(stream, vectors, allow_pickle=False)

    write_atomically(path, write)
