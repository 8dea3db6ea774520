"""Stages that take the place of vLLM's in a plan, for machines without it: Ray's own stages and ours stay real."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from ray.llm._internal.batch.stages import StatefulStage
from ray.llm._internal.batch.stages.base import StatefulStageUDF

from orchestrator.artifacts.fingerprint import fingerprint
from tests.endpoint_server import digest


class Parse(StatefulStageUDF):
    """What vLLM's chat parser does: images out of the messages, a placeholder in their place."""

    async def udf(self, batch: list[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
        """Yield in reverse, as answers may come in any order."""
        for row in reversed(batch):
            parts = row["messages"][0]["content"]
            images = [part["image_pil"] for part in parts if part["type"] == "image_pil"]
            plain = [part if part["type"] == "text" else {"type": "image"} for part in parts]
            yield row | {"messages": [{"role": "user", "content": plain}], "multimodal_data": {"image": images}}


class Answer(StatefulStageUDF):
    """An engine that answers with its templated prompt and the pixels' digest, and fails on one word."""

    async def udf(self, batch: list[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
        """Like Ray's engine stage with `should_continue_on_error`."""
        for row in reversed(batch):
            images = row.pop("multimodal_data")["image"]
            failed = "UNANSWERABLE" in row["prompt"]
            text = "" if failed else f" {row['prompt']}|{digest(images[0] if len(images) else None)}\n"
            yield row | {
                "generated_text": text,
                "num_input_tokens": 7,
                "num_generated_tokens": row["sampling_params"]["max_tokens"],
                "__inference_error__": "ValueError: too long" if failed else "",
            }


def replace_engine(processor: Any) -> None:
    """Put the stand-ins where a processor has vLLM."""
    pool: Mapping[str, Any] = {"concurrency": 1, "num_cpus": 0.1}
    processor.stages["PrepareMultimodalStage"] = StatefulStage(fn=Parse, map_batches_kwargs=dict(pool))
    processor.stages["vLLMEngineStage"] = StatefulStage(fn=Answer, map_batches_kwargs=dict(pool))


class CommitToFolder:
    """A commit that writes each micro-batch to a file named by its keys."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, answers: pa.Table) -> pa.Table:
        """The receipt counts rows."""
        pq.write_table(answers, self.folder / f"{fingerprint(answers['key'].to_pylist())}.parquet")
        return pa.table({"done": [answers.num_rows]})
