"""Stage `embed`: the embeddings of an experiment's texts and images, as a view over the content-addressed stores.

Reads index and captions; commits missing embeddings; writes memory-mappable arrays that training reads:
`text_vectors.npy` [T, e] of the unique texts, `text_rows.parquet` (one column of row numbers per text source),
`image_vectors.npy` [N, D] of the training images, `class_vectors.npy` [C, e]. Knows nothing of losses.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator import vocabulary
from orchestrator.artifacts.fingerprint import digest_bytes, fingerprint
from orchestrator.artifacts.storage import read_table, write_atomically, write_json, write_table
from orchestrator.artifacts.teacher_store import KEY, TeacherStore, row_key
from orchestrator.datasets.index import DatasetIndex, decode_rgb, read_image_bytes
from orchestrator.evaluation.shot_accuracy import shot_accuracy
from orchestrator.executors.protocol import TableFunction
from orchestrator.frozen import Frozen
from orchestrator.stages import caption, index
from orchestrator.stages.context import Context, Counts, Plan
from orchestrator.stages.texts import class_texts, texts_of
from orchestrator.teachers import EncoderSettings

Vectors = npt.NDArray[np.float32]


class TextEmbeddingWorker(Frozen):
    """Embeds a micro-batch of texts inside an actor and commits it."""

    encoder: EncoderSettings
    store: str

    def open(self) -> TableFunction:
        """Load the text tower; rows (key, text) -> receipts."""
        encode = self.encoder.build_text()
        return _embedding_function(self.store, lambda rows: encode(rows["text"].to_pylist()))


class ImageEmbeddingWorker(Frozen):
    """Embeds a micro-batch of images inside an actor and commits it."""

    encoder: EncoderSettings
    store: str

    def open(self) -> TableFunction:
        """Load the image tower; rows (key, path, offset, size) -> receipts."""
        encode = self.encoder.build_image()

        def embed(rows: pa.Table) -> Vectors:
            addresses = zip(*(rows[name].to_pylist() for name in ("path", "offset", "size")), strict=True)
            return encode([decode_rgb(read_image_bytes(*address)) for address in addresses])

        return _embedding_function(self.store, embed)


def _embedding_function(folder: str, embed: Callable[[pa.Table], Vectors]) -> TableFunction:
    store = TeacherStore(Path(folder))

    def apply(rows: pa.Table) -> pa.Table:
        vectors = embed(rows)
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
        store.commit(pa.table({KEY: rows[KEY], "vector": column}), model_rows=rows.num_rows)
        return pa.table({"done": [rows.num_rows]})

    return apply


def plan(context: Context, parents: Mapping[str, Plan]) -> Plan:
    """The view depends on index, captions, the text sources and the encoders' identities."""
    experiment = context.experiment
    teacher = experiment.image_teacher
    settings = {
        "texts": {name: text.model_dump(mode="json") for name, text in experiment.texts.items()},
        "text_encoder": experiment.text_encoder.identity(),
        "image_teacher": teacher and {**teacher.identity(), "logit_scale": teacher.logit_scale},
    }
    fingerprints = {name: parent.fingerprint for name, parent in parents.items()}
    return Plan("embed", context.folder / "embeddings", settings, fingerprints, is_view=True)


def make(context: Context, parents: Mapping[str, Plan]) -> Plan:
    """Make or reuse the embeddings; only texts and images missing from the stores go through a model."""
    planned = plan(context, parents)

    def build(folder: Path) -> tuple[Counts, Mapping[str, float]]:
        experiment = context.experiment
        data = index.load(context)
        train = data.images.filter(pc.equal(data.images["split"], vocabulary.SPLIT_TRAIN))
        captions = read_table(parents["caption"].folder / caption.CAPTIONS)
        sources = {name: texts_of(text, train, data.classes, captions) for name, text in experiment.texts.items()}
        unique = list(dict.fromkeys(text for texts in sources.values() for text in texts if text is not None))
        counts: Counts = {"texts": len(unique)}
        # With one encoder for both, one pool of actors embeds the class texts too.
        shared = experiment.image_teacher == experiment.text_encoder
        wanted = [*(unique or [""]), *(class_texts(data.classes) if shared else [])]
        vectors, counts["texts_embedded"] = _embed_texts(context, wanted)
        _save(folder / "text_vectors.npy", vectors[: len(unique or [""])])
        rows = {text: row for row, text in enumerate(unique)}
        columns = {name: [-1 if text is None else rows[text] for text in texts] for name, texts in sources.items()}
        write_table(folder / "text_rows.parquet", pa.table({"image_id": train["image_id"], **columns}))
        metrics: dict[str, float] = {}
        scale = 0.0
        if experiment.image_teacher is not None:
            scale = experiment.image_teacher.logit_scale
            images, counts["images_embedded"] = _embed_images(context, data.images)
            counts["images"] = data.images.num_rows
            class_vectors, _ = _embed_texts(context, class_texts(data.classes), encoder=experiment.image_teacher)
            in_train = np.array(data.images["split"].to_pylist()) == vocabulary.SPLIT_TRAIN
            _save(folder / "image_vectors.npy", images[in_train])
            _save(folder / "class_vectors.npy", class_vectors)
            metrics = _teacher_accuracy(data, images, class_vectors)
        write_json(folder / "embeddings.json", {"logit_scale": scale, "sources": list(sources)})
        return counts, metrics

    context.make(planned, build)
    return planned


def _embed_texts(context: Context, texts: Sequence[str], encoder: Any = None) -> tuple[Vectors, int]:
    """Vectors of the texts, in order, and how many of them a model had to embed."""
    encoder = encoder or context.experiment.text_encoder
    identity = fingerprint(encoder.identity())
    store = TeacherStore(context.root / "store" / "text-embeddings" / f"{encoder.label()}-{identity[:8]}")
    keys = [row_key(kind="text", text=digest_bytes(text.encode()), teacher=identity) for text in texts]
    rows = pa.table({KEY: keys, "text": list(texts)})
    worker = TextEmbeddingWorker(encoder=encoder, store=str(store.folder))
    return _embed(context, store, rows, worker, "texts")


def _embed_images(context: Context, images: pa.Table) -> tuple[Vectors, int]:
    encoder = context.experiment.image_teacher
    assert encoder is not None
    identity = fingerprint(encoder.identity())
    store = TeacherStore(context.root / "store" / "image-embeddings" / f"{encoder.label()}-{identity[:8]}")
    keys = [row_key(kind="image", image=content, teacher=identity) for content in images["content_hash"].to_pylist()]
    rows = images.select(["path", "offset", "size"]).append_column(KEY, pa.array(keys))
    return _embed(context, store, rows, ImageEmbeddingWorker(encoder=encoder, store=str(store.folder)), "images")


def _embed(context: Context, store: TeacherStore, rows: pa.Table, worker: Any, unit: str) -> tuple[Vectors, int]:
    keys = rows[KEY].to_pylist()
    missing = set(store.missing(keys))
    first = {key: row for row, key in reversed(list(enumerate(keys)))}
    todo = rows.take(pa.array(sorted(first[key] for key in missing), pa.int64()))
    if todo.num_rows:
        with context.feedback.bar("embed", todo.num_rows, unit) as advance:
            done = 0

            def on_receipt(receipt: pa.Table) -> None:
                nonlocal done
                done += pc.sum(receipt["done"]).as_py()
                advance(done)

            context.executor.map_table(todo, worker, context.execution.embedding, on_receipt)
    column = store.read(keys)["vector"].combine_chunks()
    flat = column.flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat, np.float32).reshape(len(keys), -1), todo.num_rows


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
