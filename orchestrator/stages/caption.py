"""Stage `caption`: the captions of an experiment as a view over the content-addressed caption store.

Reads the index; commits missing captions to the store and bad rows to its quarantine; writes `captions.parquet`. Knows
nothing of how the engine runs its workers.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.artifacts.fingerprint import fingerprint
from orchestrator.artifacts.storage import write_table
from orchestrator.artifacts.teacher_store import KEY, TeacherStore, row_key
from orchestrator.captioners import CaptionerSettings, Visit
from orchestrator.captioners.prompts import inject_class
from orchestrator.datasets.index import decode_rgb, read_image_bytes
from orchestrator.errors import ArtifactError
from orchestrator.executors.protocol import PLACEMENT, TableFunction
from orchestrator.frozen import Frozen
from orchestrator.stages import index
from orchestrator.stages.context import Context, Counts, Plan

CAPTIONS = "captions.parquet"


class CaptionWorker(Frozen):
    """Captions a micro-batch inside an actor and commits it; a bad image costs its own rows only."""

    captioner: CaptionerSettings
    store: str
    quarantine: str

    def open(self) -> TableFunction:
        """Load the model; the function takes rows (key, prompt_text, path, offset, size) and returns receipts."""
        captioner = self.captioner.build()
        store, quarantine = TeacherStore(Path(self.store)), TeacherStore(Path(self.quarantine))

        def apply(rows: pa.Table) -> pa.Table:
            good, images, bad, decoded = [], [], [], {}
            for row in rows.to_pylist():
                address = (row["path"], row["offset"], row["size"])
                try:
                    if address not in decoded:
                        decoded[address] = decode_rgb(read_image_bytes(*address))
                except (ValueError, OSError) as error:
                    bad.append(_quarantined(row, type(error).__name__, str(error)))
                    continue
                good.append(row)
                images.append(decoded[address])
            visits = [Visit(image, (row["prompt_text"],)) for image, row in zip(images, good, strict=True)]
            answers = [str(found[0]) for found in captioner.caption(visits)] if good else []
            done = [
                {KEY: row[KEY], "content_hash": row["content_hash"], "prompt_text": row["prompt_text"], "caption": text}
                for row, text in zip(good, answers, strict=True)
                if text
            ]
            bad += [
                _quarantined(row, "EmptyCaption", "the captioner answered nothing")
                for row, text in zip(good, answers, strict=True)
                if not text
            ]
            if done:
                store.commit(pa.Table.from_pylist(done), model_rows=len(good))
            if bad:
                quarantine.commit(pa.Table.from_pylist(bad), model_rows=0)
            return pa.table({"done": [len(done)], "quarantined": [len(bad)]})

        return apply


def _quarantined(row: Mapping[str, object], error_class: str, message: str) -> dict[str, object]:
    return {KEY: row[KEY], "path": row["path"], "error_class": error_class, "message": message}


def plan(context: Context, parent: Plan) -> Plan:
    """The view depends on the index, the captioner's identity, the prompts and the splits."""
    experiment = context.experiment
    settings = {
        "captioner": experiment.captioner.identity(),
        "prompts": experiment.prompt_texts(),
        "splits": list(experiment.caption_splits),
    }
    return Plan("caption", context.folder / "captions", settings, {"index": parent.fingerprint}, is_view=True)


def wanted_rows(context: Context) -> pa.Table:
    """Every (image, prompt) of the view in index order, an image's prompts side by side, with its key in the store."""
    data = index.load(context)
    names = data.classes["name"].to_pylist()
    identity = fingerprint(context.experiment.captioner.identity())
    splits = pa.array(list(context.experiment.caption_splits))
    prompts = context.experiment.prompt_texts()
    rows = []
    for image in data.images.filter(pc.is_in(data.images["split"], splits)).to_pylist():
        for prompt, text in prompts.items():
            asked = inject_class(text, names[image["label"]])
            key = row_key(kind="caption", image=image["content_hash"], teacher=identity, prompt=asked)
            kept = {name: image[name] for name in ("image_id", "split", "path", "offset", "size", "content_hash")}
            rows.append({KEY: key, **kept, "prompt": prompt, "prompt_text": asked})
    return pa.Table.from_pylist(rows)


def stores(context: Context) -> tuple[TeacherStore, TeacherStore]:
    """The captioner's store and its quarantine."""
    captioner = context.experiment.captioner
    name = f"{captioner.label()}-{fingerprint(captioner.identity())[:8]}"
    root = context.root / "store"
    return TeacherStore(root / "captions" / name), TeacherStore(root / "captions-quarantine" / name)


def make(context: Context, parent: Plan) -> Plan:
    """Make or reuse the captions; only rows missing from the store go through the model."""
    planned = plan(context, parent)

    def build(folder: Path) -> tuple[Counts, Mapping[str, float]]:
        rows = wanted_rows(context)
        store, quarantine = stores(context)
        refused = quarantine.keys()
        missing = set(store.missing(key for key in rows[KEY].to_pylist() if key not in refused))
        seen: set[str] = set()
        todo = rows.filter(pa.array([_first(key, missing, seen) for key in rows[KEY].to_pylist()], pa.bool_()))
        if todo.num_rows:
            _caption_missing(context, todo, store, quarantine)
        refused = quarantine.keys()
        kept = rows.filter(pa.array([key not in refused for key in rows[KEY].to_pylist()], pa.bool_()))
        captions = store.read(kept[KEY].to_pylist())["caption"] if kept.num_rows else pa.array([], pa.string())
        view = kept.select([KEY, "image_id", "split", "prompt", "prompt_text"]).append_column("caption", captions)
        write_table(folder / CAPTIONS, view)
        dropped = rows.num_rows - kept.num_rows
        computed = len(missing - refused)
        counts = {
            "asked": rows.num_rows,
            "captioned": computed,
            "reused": kept.num_rows - computed,
            "quarantined": dropped,
        }
        if not kept.num_rows:
            raise ArtifactError(
                "no caption was made", expected="captions", remedy=f"see the quarantine {quarantine.folder}"
            )
        return counts, {}

    context.make(planned, build)
    return planned


def _first(key: str, missing: set[str], seen: set[str]) -> bool:
    """Whether this is the first row of a missing key: images with the same bytes are paid once."""
    if key not in missing or key in seen:
        return False
    seen.add(key)
    return True


def _caption_missing(context: Context, todo: pa.Table, store: TeacherStore, quarantine: TeacherStore) -> None:
    worker = CaptionWorker(
        captioner=context.experiment.captioner, store=str(store.folder), quarantine=str(quarantine.folder)
    )
    pool = context.execution.captioning
    context.feedback.event("caption", f"{todo.num_rows:,} captions to make with {pool.num_actors} actors")
    with context.feedback.bar("caption", todo.num_rows, "captions") as advance:
        done = 0
        placed: Counter[str] = Counter()

        def on_receipt(receipt: pa.Table) -> None:
            nonlocal done
            if PLACEMENT in receipt.column_names:
                placed.update(receipt[PLACEMENT].to_pylist())
            done += pc.sum(receipt["done"]).as_py() + pc.sum(receipt["quarantined"]).as_py()
            advance(done)

        context.executor.map_table(todo, worker, pool, on_receipt)
    for place, micro_batches in sorted(placed.items()):
        context.feedback.event("caption", f"{micro_batches} micro-batches on {place}")
