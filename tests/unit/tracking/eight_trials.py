"""Eight trials at once on Ray tell all of it to a PostgreSQL-backed server that is killed in mid-sweep.

Part of `make cluster-test` (`pytest tests/unit/tracking/eight_trials.py`), because it takes minutes. Starts PostgreSQL
(skips where it is not installed), MLflow's own server and a local Ray cluster.
"""

from pathlib import Path

import pytest

from orchestrator.config.execution import TrialSettings
from orchestrator.on_ray.executor import RayExecutor
from orchestrator.tracking.server import MlflowServer
from tests.unit.tracking.test_killed_server import NUM_TRIALS, Way, prove_that_nothing_is_lost

ALL_AT_ONCE = Way("ray", TrialSettings(num_workers=2, trials_per_worker=4), RayExecutor, NUM_TRIALS, 60)


@pytest.mark.ray
@pytest.mark.usefixtures("credentials")
def test_eight_trials_at_once_lose_nothing_to_a_server_that_is_killed_in_the_middle(
    server: MlflowServer, tmp_path: Path
) -> None:
    prove_that_nothing_is_lost(server, tmp_path, ALL_AT_ONCE)
