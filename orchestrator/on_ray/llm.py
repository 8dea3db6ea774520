"""Ray Data's LLM processor: visits through vLLM engines on GPUs, and the answers to a commit.

vLLM is a stage of a plan here and no callable in an actor of ours: Ray keeps its queue full across micro-batches. Bad
images pass through the plan as rows with an error, because an exception outside the engine's own stage would end the
whole plan. Knows nothing of the store: the commit is given. `orchestrator caption` does not take this way yet: there
`kind: vllm` is one engine in each actor of the pool. Source: Ray 2.60, `ray.data.llm`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray.data
from PIL import Image

from orchestrator.captioners.vllm_engine import VllmCaptionerSettings, chat_messages
from orchestrator.config.execution import ActorPoolSettings
from orchestrator.datasets.index import decode_rgb, read_image_bytes
from orchestrator.errors import DataError
from orchestrator.executors.protocol import OnReceipt
from orchestrator.teachers.weights import resolve_model

ERROR = "__inference_error__"  # Ray's own column; a row in which it is not empty passes every stage untouched
ANSWER_SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("text", pa.string()),
        pa.field("error", pa.string(), nullable=False),
        pa.field("prompt_tokens", pa.int64()),
        pa.field("completion_tokens", pa.int64()),
    ]
)
LIGHT_CPUS = 0.25  # of each process that only passes texts on: Ray's default of 1 starves a small node's decoding
Commit = Callable[[pa.Table], pa.Table]


def map_visits(
    visits: pa.Table, settings: VllmCaptionerSettings, pool: ActorPoolSettings, commit: Commit, on_receipt: OnReceipt
) -> None:
    """Answer every prompt of every visit with `pool.num_actors` engines; blocks until all are committed.

    Args:
        visits: a row for each image, see `one_row_per_prompt`.
        settings: the engine; each takes `settings.num_gpus` GPUs, whatever the pool says.
        pool: how many engines, and the rows of a micro-batch.
        commit: called in Ray's workers with rows of ANSWER_SCHEMA; `error` is "" or "class: message", and then `text`
            is null. Makes them durable and returns a receipt. Must not mind being called twice with the same rows.
        on_receipt: called here with each receipt.

    Raises:
        ConfigError: vLLM is not installed here, or in another version than the settings say.
    """
    settings.require_vllm()
    plan = plan_visits(visits, build_captioning_processor(settings, pool), pool, commit)
    for receipt in plan.iter_batches(batch_size=None, batch_format="pyarrow"):
        on_receipt(receipt)


def build_captioning_processor(settings: VllmCaptionerSettings, pool: ActorPoolSettings) -> Any:
    """The processor, from rows of `one_row_per_prompt` to rows with ANSWER_SCHEMA's columns.

    Needs a Ray connection. Works without vLLM too, so that a plan can be looked at where it cannot run.
    """
    from ray.data.llm import build_processor, vLLMEngineProcessorConfig
    from transformers import AutoProcessor

    source, engine = resolve_model(settings.model), settings.engine()
    pinned = {name: engine[name] for name in ("revision", "trust_remote_code") if name in engine}
    fixed = (pool.num_actors, pool.num_actors)  # a single number would mean "one, growing to so many"
    config = vLLMEngineProcessorConfig(
        model_source=source,
        engine_kwargs=engine,
        batch_size=pool.batch_size,
        concurrency=fixed,
        should_continue_on_error=True,
        log_engine_metrics=False,
        prepare_multimodal_stage={
            "enabled": True,
            "chat_template_content_format": settings.chat_template_content_format,
            "model_config_kwargs": pinned,
            "concurrency": (1, pool.num_actors),
            "num_cpus": LIGHT_CPUS,
        },
        # Ray's stage would load the template of a hub's default branch: it knows no revision, so it is given here.
        chat_template_stage={
            "enabled": True,
            "chat_template": AutoProcessor.from_pretrained(source, **pinned).chat_template,
            "concurrency": (1, pool.num_actors),
            "num_cpus": LIGHT_CPUS,
        },
        # The engine does both: it must expand the image's placeholder itself, and detokenizing there is free.
        tokenize_stage={"enabled": False},
        detokenize_stage={"enabled": False},
    )
    return build_processor(
        config,
        preprocess=_Ask(settings.sampling()),
        postprocess=_keep_the_answer,
        preprocess_map_kwargs={"num_cpus": 1},
        postprocess_map_kwargs={"num_cpus": LIGHT_CPUS},
    )


def plan_visits(visits: pa.Table, processor: Any, pool: ActorPoolSettings, commit: Commit) -> ray.data.Dataset:
    """The whole lazy plan: rows, processor, commit; its rows are the receipts."""
    rows = one_row_per_prompt(visits)
    blocks = [rows.slice(start, pool.batch_size).combine_chunks() for start in range(0, rows.num_rows, pool.batch_size)]
    return processor(ray.data.from_arrow(blocks)).map_batches(
        _commit_answers, fn_args=(commit,), batch_size=pool.batch_size, batch_format="pyarrow",
        num_cpus=LIGHT_CPUS,
    )  # fmt: skip


def one_row_per_prompt(visits: pa.Table) -> pa.Table:
    """(path, offset, size, keys: list, prompts: list) -> (path, offset, size, key, prompt); an image's prompts adjoin.

    A null path asks without an image.
    """
    table = visits.combine_chunks()
    parents = pc.list_parent_indices(table["keys"])
    address = table.select(["path", "offset", "size"]).take(parents)
    flat = {name: pc.list_flatten(table[lists]) for name, lists in (("key", "keys"), ("prompt", "prompts"))}
    for name, values in flat.items():
        address = address.append_column(name, values)
    return address


@dataclass(frozen=True)
class _Ask:
    """The preprocessing of a row: the decoded image in chat messages; or, for a bad image, Ray's mark of an error."""

    sampling: Mapping[str, Any]
    # Rows with images travel as Python objects, because Arrow cannot hold these. Rows without (texts about a class, bad
    # images) would travel as Arrow, which turns the lists in messages into arrays that chat templates do not take.
    keeps_objects: Image.Image = field(default_factory=lambda: Image.new("L", (1, 1)))

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        image, name, error = None, None, ""
        if row["path"] is not None:
            try:
                image = decode_rgb(read_image_bytes(row["path"], row["offset"], row["size"]))
                name = f"{row['path']}:{row['offset']}:{row['size']}"
            except (DataError, OSError) as problem:
                error = f"{type(problem.__cause__ or problem).__name__}: {problem}"
        return {
            "messages": chat_messages(image, row["prompt"], name),
            "sampling_params": dict(self.sampling),
            "keeps_objects": self.keeps_objects,
            ERROR: error,
        }


def _keep_the_answer(row: Mapping[str, Any]) -> dict[str, Any]:
    """The postprocessing of an answered row; rows with an error never come here."""
    return {
        "key": row["key"],
        "text": row["generated_text"].strip(),
        "prompt_tokens": row["num_input_tokens"],
        "completion_tokens": row["num_generated_tokens"],
    }


def _commit_answers(batch: pa.Table, commit: Commit) -> pa.Table:
    """Rows as Ray leaves them, where failed ones still have every column, in ANSWER_SCHEMA; then the commit."""
    num_rows = batch.num_rows
    errors = pc.fill_null(batch[ERROR].cast(pa.string()), "")
    columns: dict[str, Any] = {"key": batch["key"], "error": errors}
    failed = pc.not_equal(errors, "")
    for name in ("text", "prompt_tokens", "completion_tokens"):
        kind = ANSWER_SCHEMA.field(name).type
        values = batch[name].cast(kind) if name in batch.column_names else pa.nulls(num_rows, kind)
        columns[name] = pc.if_else(failed, pa.scalar(None, kind), values)
    return commit(pa.table({field.name: columns[field.name] for field in ANSWER_SCHEMA}, schema=ANSWER_SCHEMA))
