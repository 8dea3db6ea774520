"""Stage `describe`: a language model writes about each class, at the levels of detail that text sources ask for.

Reads the index's classes; lets the engine commit missing descriptions to the content-addressed store; writes
`descriptions.parquet` (label, name, level, prompt_text, description). Not part of the line when no source asks. Knows
nothing of images.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.artifacts.fingerprint import fingerprint
from orchestrator.artifacts.storage import read_table, write_table
from orchestrator.artifacts.teacher_store import ERROR_CLASS, ERROR_MESSAGE, KEY, TeacherStore, row_key, row_keys
from orchestrator.captioners import Captioner, CaptionerSettings, Refusal, Visit, share_limits
from orchestrator.captioners.prompts import DESCRIPTION_PROMPTS, inject_class
from orchestrator.errors import DataError
from orchestrator.executors.pay_once import Row
from orchestrator.stages import index
from orchestrator.stages.context import Context, Counts, Plan
from orchestrator.stages.paying_worker import PayingWorker
from orchestrator.stages.teacher_rows import Job, make_rows, open_store

DESCRIPTIONS = "descriptions.parquet"
ITEM_SCHEMA = pa.schema([("prompt_text", pa.string()), ("keys", pa.list_(pa.string()))])
_NUM_NAMED = 3  # refusals named in the error


class DescriptionWorker(PayingWorker):
    """Asks for micro-batches of descriptions inside an actor; rows are ITEM_SCHEMA's."""

    describer: CaptionerSettings

    def load(self) -> "DescriptionFunction":
        """See `PayingWorker`."""
        return DescriptionFunction(self.describer.build())


class DescriptionFunction:
    """See `TeacherFunction`: an item is a prompt about a class, with one key."""

    def __init__(self, describer: Captioner) -> None:
        self._describer, self.usage = describer, describer.usage

    def prepare(self, row: Row) -> Any:
        """The prompt."""
        return row["prompt_text"]

    def compute(self, items: Sequence[tuple[Row, Any]]) -> list[list[Any]]:
        """Descriptions in one line each; an empty one is a refusal that another attempt may mend."""
        empty = Refusal("EmptyDescription", "the describer answered nothing", transient=True)
        answers = self._describer.caption([Visit(None, (prompt,)) for _, prompt in items])
        return [[found if isinstance(found, Refusal) else " ".join(found.split()) or empty] for (found,) in answers]

    def columns(self, rows: Sequence[tuple[Row, int]], values: Sequence[Any]) -> dict[str, pa.Array]:
        """Prompt and description."""
        return {
            "prompt_text": pa.array([row["prompt_text"] for row, _ in rows], pa.string()),
            "description": pa.array(values, pa.string()),
        }


def plan(context: Context, parent: Plan) -> Plan | None:
    """The view depends on the index, the describer's identity and the levels' prompts; None when no source asks."""
    experiment = context.experiment
    levels = experiment.description_levels()
    if not levels:
        return None
    settings = {
        "describer": experiment.describer_settings().identity(),
        "prompts": {level: DESCRIPTION_PROMPTS[level] for level in levels},
    }
    return Plan(
        "describe", context.texts_folder / "descriptions", settings, {"index": parent.fingerprint}, is_view=True
    )


def load(plans: Mapping[str, Plan]) -> pa.Table | None:
    """The descriptions, None when the stage is not part of the line."""
    return read_table(plans["describe"].folder / DESCRIPTIONS) if "describe" in plans else None


def description_store(context: Context) -> TeacherStore:
    """The describer's store."""
    describer = context.experiment.describer_settings()
    return open_store(context, "descriptions", f"{describer.label()}-{fingerprint(describer.identity())[:8]}")


def wanted_rows(context: Context) -> pa.Table:
    """Every (class, level) of the view with its key in the store; a class's levels side by side."""
    experiment = context.experiment
    rows = [
        {"label": label, "name": name, "level": level, "prompt_text": inject_class(DESCRIPTION_PROMPTS[level], name)}
        for label, name in enumerate(index.load(context).classes["name"].to_pylist())
        for level in experiment.description_levels()
    ]
    seed = row_key(kind="description", teacher=fingerprint(experiment.describer_settings().identity()))
    table = pa.Table.from_pylist(rows)
    return table.append_column(KEY, pa.array(row_keys(seed, table["prompt_text"].to_pylist()), pa.string()))


def make(context: Context, planned: Plan) -> Plan:
    """Make or reuse the descriptions; only those missing from the store are asked for.

    Raises:
        DataError: some classes got no description; what was answered is kept.
    """

    def build(folder: Path) -> tuple[Counts, Mapping[str, float]]:
        rows, store = wanted_rows(context), description_store(context)
        # Every class needs its description, so that a share of refusals is never let through; all are told below.
        pool = context.execution.captioning.model_copy(update={"max_error_fraction": 1.0})

        describer = share_limits(context.experiment.describer_settings(), pool.most_actors)

        worker = DescriptionWorker(describer=describer, store=store.folder.uri, timeout_s=pool.timeout_s)
        job = Job("describe", "descriptions", store, lambda: [rows], to_items, ITEM_SCHEMA, worker, pool)
        account, refused = make_rows(context, job, folder)
        _refuse_gaps(rows, store, refused)
        texts = store.read(rows[KEY].combine_chunks(), ["description"])["description"]
        write_table(folder / DESCRIPTIONS, rows.drop_columns([KEY]).append_column("description", texts))
        return account.counts(), {}

    context.make(planned, build)
    return planned


def to_items(rows: pa.Table) -> pa.Table:
    """Rows -> items of one key each."""
    offsets = pa.array(range(rows.num_rows + 1), pa.int32())
    keys = pa.ListArray.from_arrays(offsets, rows[KEY].combine_chunks())
    return pa.table({"prompt_text": rows["prompt_text"], "keys": keys})


def _refuse_gaps(rows: pa.Table, store: TeacherStore, refused: set[str]) -> None:
    gaps = rows.filter(pc.is_in(rows[KEY], value_set=pa.array(sorted(refused), pa.string())))
    if not gaps.num_rows:
        return
    told = {row[KEY]: f"{row[ERROR_CLASS]}: {row[ERROR_MESSAGE]}" for row in store.refused(gaps[KEY]).to_pylist()}
    named = [f"{row['prompt_text']!r}: {told[row[KEY]]}" for row in gaps.slice(0, _NUM_NAMED).to_pylist()]
    more = f"; {gaps.num_rows - _NUM_NAMED} more" if gaps.num_rows > _NUM_NAMED else ""
    raise DataError(
        f"{gaps.num_rows} of {rows.num_rows} descriptions were not written: {'; '.join(named)}{more}",
        expected="one of every class",
        remedy="run the same command again (only these are asked for), or name another describer; what was refused for "
        f"good is asked again after `orchestrator store gc {store.folder} --refused`",
    )
