"""Stage `caption`: the captions of an experiment as a view over the content-addressed caption store.

Reads the index; lets the engine commit missing captions to the store; writes `captions.parquet` and the rows that have
none to `quarantine.parquet`. Knows nothing of how the engine runs its workers.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestrator.artifacts.fingerprint import fingerprint
from orchestrator.artifacts.storage import read_table, write_atomically, write_table
from orchestrator.artifacts.teacher_store import ERROR_CLASS, ERROR_MESSAGE, KEY, TeacherStore, row_key, row_keys
from orchestrator.captioners import Captioner, CaptionerSettings, Refusal, Visit, share_limits
from orchestrator.captioners.prompts import CLASS_FIELD, inject_class
from orchestrator.errors import ArtifactError
from orchestrator.executors.pay_once import Row
from orchestrator.stages.context import QUARANTINE_NAME, Context, Counts, Plan
from orchestrator.stages.image_rows import ADDRESS, by_image, fetch_images, image_of
from orchestrator.stages.paying_worker import PayingWorker
from orchestrator.stages.teacher_rows import Job, make_rows, open_store

CAPTIONS, QUARANTINE = "captions.parquet", QUARANTINE_NAME
CHUNK_IMAGES = 1 << 16
VIEW_SCHEMA = pa.schema(
    [(name, pa.string()) for name in (KEY, "image_id", "split", "prompt", "prompt_text", "caption")]
)
QUARANTINE_SCHEMA = pa.schema(
    [(name, pa.string()) for name in (KEY, "image_id", "split", "prompt", "path", ERROR_CLASS, ERROR_MESSAGE)]
)
ITEM_SCHEMA = pa.schema([*ADDRESS.items(), ("keys", pa.list_(pa.string())), ("prompt_text", pa.list_(pa.string()))])


class CaptionWorker(PayingWorker):
    """Captions micro-batches of image visits inside an actor; rows are ITEM_SCHEMA's with the fetched bytes."""

    captioner: CaptionerSettings

    def fetch(self, rows: pa.Table) -> pa.Table:
        """See `TableWorker`."""
        return fetch_images(rows)

    def load(self) -> "CaptionFunction":
        """See `PayingWorker`."""
        return CaptionFunction(self.captioner.build())


class CaptionFunction:
    """See `TeacherFunction`: an item is an image with its prompts."""

    def __init__(self, captioner: Captioner) -> None:
        self._captioner, self.usage = captioner, captioner.usage

    def prepare(self, row: Row) -> Any:
        """Decode the image."""
        return image_of(row)

    def compute(self, items: Sequence[tuple[Row, Any]]) -> list[list[Any]]:
        """Captions; an empty one is a refusal."""
        visits = [Visit(image, tuple(row["prompt_text"][p] for p in row["positions"])) for row, image in items]
        empty = Refusal("EmptyCaption", "the captioner answered nothing")
        return [[answer or empty for answer in answers] for answers in self._captioner.caption(visits)]

    def columns(self, rows: Sequence[tuple[Row, int]], values: Sequence[Any]) -> dict[str, pa.Array]:
        """Content hash, prompt text and caption."""
        return {
            "content_hash": pa.array([row["content_hash"] for row, _ in rows], pa.string()),
            "prompt_text": pa.array([row["prompt_text"][position] for row, position in rows], pa.string()),
            "caption": pa.array(values, pa.string()),
        }


def plan(context: Context, parent: Plan) -> Plan:
    """The view depends on the index, the captioner's identity, the prompts and the splits."""
    experiment = context.experiment
    settings = {
        "captioner": experiment.captioner.identity(),
        "prompts": experiment.prompt_texts(),
        "splits": list(experiment.caption_splits),
    }
    return Plan("caption", context.texts_folder / "captions", settings, {"index": parent.fingerprint}, is_view=True)


def wanted_rows(context: Context, index: Path) -> Iterator[pa.Table]:
    """Every (image, prompt) of the view, in index order, an image's prompts side by side, with its key in the store.

    Yields tables of CHUNK_IMAGES images, so that memory does not grow with their number.
    """
    experiment = context.experiment
    names = read_table(index / "classes.parquet", columns=["name"])["name"].to_pylist()
    prompts = experiment.prompt_texts()
    asked = {  # by prompt: its text, or its texts by class
        prompt: [inject_class(text, name) for name in names] if CLASS_FIELD in text else text
        for prompt, text in prompts.items()
    }
    seed = row_key(kind="caption", teacher=fingerprint(experiment.captioner.identity()))
    splits = pa.array(list(experiment.caption_splits))
    columns = ["image_id", "split", "label", *ADDRESS]
    for batch in pq.ParquetFile(index / "images.parquet").iter_batches(CHUNK_IMAGES, columns=columns):
        images = pa.Table.from_batches([batch])
        images = images.filter(pc.is_in(images["split"], splits))
        labels = images["label"].to_pylist()
        texts = [text if isinstance(text, str) else text[label] for label in labels for text in asked.values()]
        rows = images.take(pa.array(np.repeat(np.arange(images.num_rows), len(prompts)))).drop_columns(["label"])
        keys = row_keys(seed, rows["content_hash"].to_pylist(), texts)
        repeated = pa.array(list(prompts) * images.num_rows, pa.string())
        yield (
            rows.append_column("prompt", repeated)
            .append_column("prompt_text", pa.array(texts, pa.string()))
            .append_column(KEY, pa.array(keys, pa.string()))
        )


def caption_store(context: Context) -> TeacherStore:
    """The captioner's store."""
    captioner = context.experiment.captioner
    return open_store(context, "captions", f"{captioner.label()}-{fingerprint(captioner.identity())[:8]}")


def job(context: Context, index: Path) -> Job:
    """The captions that the experiment wants of the images of a finished index."""
    store, pool = caption_store(context), context.execution.captioning
    captioner = share_limits(context.experiment.captioner, pool.most_actors)

    worker = CaptionWorker(captioner=captioner, store=store.folder.uri, timeout_s=pool.timeout_s)
    chunks = partial(wanted_rows, context, index)
    return Job("caption", "captions", store, chunks, by_image(["prompt_text"]), ITEM_SCHEMA, worker, pool)


def make(context: Context, parent: Plan) -> Plan:
    """Make or reuse the captions; only rows missing from the store go through the model."""
    planned = plan(context, parent)

    def build(folder: Path) -> tuple[Counts, Mapping[str, float]]:
        wanted = job(context, parent.folder)
        account, refused = make_rows(context, wanted, folder)
        _write_view(folder, wanted.store, wanted.chunks(), refused)
        _tell_unlisted(context, parent.folder)
        if account.asked == account.quarantined:
            raise ArtifactError("no caption was made", expected="captions", remedy=f"see {folder / QUARANTINE}")
        return account.counts(), {}

    context.make(planned, build)
    return planned


def _tell_unlisted(context: Context, index: Path) -> None:
    """Say which images never came this far, so that all that were listed are accounted for."""
    splits = pa.array(list(context.experiment.caption_splits))
    listed = read_table(index / "quarantine.parquet", columns=["split"])["split"]
    if bad := pc.sum(pc.is_in(listed, value_set=splits)).as_py():
        context.feedback.event("caption", f"{bad:,} of these splits' images cannot be read and are not asked about")


def _write_view(folder: Path, store: TeacherStore, chunks: Iterable[pa.Table], refused: set[str]) -> None:
    """Write the captions in the order wanted, and the rows that have none, chunk by chunk."""
    reasons = store.refused(sorted(refused)) if refused else None
    bad: list[pa.Table] = []

    def write(temporary: Path) -> None:
        with pq.ParquetWriter(temporary, VIEW_SCHEMA) as writer:
            for rows in chunks:
                if reasons is not None:
                    is_bad = pc.is_in(rows[KEY], value_set=pc.cast(reasons[KEY], pa.string()))
                    bad.append(rows.filter(is_bad))
                    rows = rows.filter(pc.invert(is_bad))
                captions = store.read(rows[KEY].combine_chunks(), ["caption"])["caption"]
                view = rows.append_column("caption", captions)
                writer.write_table(view.select(VIEW_SCHEMA.names).cast(VIEW_SCHEMA))

    write_atomically(folder / CAPTIONS, write)
    rows = QUARANTINE_SCHEMA.empty_table()
    if reasons is not None and bad:
        found = pa.concat_tables(bad)
        place = pc.index_in(found[KEY], value_set=pc.cast(reasons[KEY], pa.string()))
        told = {name: reasons[name].take(place) for name in (ERROR_CLASS, ERROR_MESSAGE)}
        rows = pa.table({**{n: found[n] for n in QUARANTINE_SCHEMA.names if n not in told}, **told})
        rows = rows.select(QUARANTINE_SCHEMA.names).cast(QUARANTINE_SCHEMA)
    write_table(folder / QUARANTINE, rows)
