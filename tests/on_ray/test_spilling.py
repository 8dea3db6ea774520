"""Images far larger than Ray's object store, most of which another job holds: Ray spills, and no row is lost."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import ray
from ray._private.internal_api import memory_summary

from orchestrator.artifacts.storage import read_table
from orchestrator.config.execution import ActorPoolSettings, ClusterSettings, Execution
from orchestrator.config.load import load_experiment
from orchestrator.on_ray.executor import RayExecutor
from orchestrator.stages import caption, index
from orchestrator.tracking import TrackingSettings
from tests.smoke_line import SMOKE, quiet_context
from tests.tiny_datasets import picture

pytestmark = pytest.mark.ray
STORE_MIB, NUM_IMAGES, SIDE = 80, 72, 1024  # 3 MiB an image, because noise cannot be compressed


@pytest.fixture
def executor(tmp_path: Path) -> Iterator[RayExecutor]:
    execution = Execution(
        name="small store", storage_root=str(tmp_path / "ray"),
        cluster=ClusterSettings(num_cpus=2, object_store_mib=STORE_MIB), tracking=TrackingSettings(kind="none"),
    )  # fmt: skip
    opened = RayExecutor(execution)
    yield opened
    opened.close()


def test_images_larger_than_a_crowded_object_store_are_captioned_without_a_loss(
    executor: RayExecutor, tmp_path: Path
) -> None:
    root = tmp_path / "images"
    size = sum(
        Path(picture(root / f"class_{number % 3}" / f"{number}.png", number, SIDE)).stat().st_size
        for number in range(NUM_IMAGES)
    )
    assert size > 2 * STORE_MIB << 20
    dataset = f"dataset={{kind: image_folder, root: {root}, report_fraction: 0.2}}"
    experiment = load_experiment(SMOKE, [dataset, "captioner={kind: constant, text: noise}"])
    alone = quiet_context(experiment, tmp_path / "alone")
    pool = ActorPoolSettings(num_actors=1, num_readers=1, batch_size=16)
    on_ray = replace(
        alone, execution=alone.execution.model_copy(update={"storage_root": str(tmp_path / "r"), "captioning": pool}),
        open_executor=lambda: executor,
    )  # fmt: skip
    held = [ray.put(np.full(20 << 20, number, dtype=np.uint8)) for number in range(3)]
    tables = [read_table(caption.make(one, index.make(one)).folder / caption.CAPTIONS) for one in (alone, on_ray)]
    assert tables[0].num_rows > 0
    assert tables[1].equals(tables[0])
    assert "Spilled" in memory_summary(address=ray.get_runtime_context().gcs_address, stats_only=True)
    assert [int(ray.get(one)[0]) for one in held] == [0, 1, 2]
