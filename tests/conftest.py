"""What every test shares: one thread, no network, no foreign cluster or server, and the optional shared materials.

Sets environment variables before any library is imported. Knows nothing of single tests.
"""

import os
import secrets
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent

os.environ.update(
    RAY_AUTH_MODE="token",  # said outright: Ray's own default differs between starting and joining a cluster
    RAY_AUTH_TOKEN=secrets.token_hex(32),  # ours alone, so that no other cluster on this machine is joined
    RAY_USAGE_STATS_ENABLED="0",
    MLFLOW_DISABLE_TELEMETRY="true",
    DO_NOT_TRACK="true",
    HF_HUB_OFFLINE="1",
    OMP_NUM_THREADS="1",
    TOKENIZERS_PARALLELISM="false",
)
for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID"):
    os.environ.pop(name, None)  # tests never write to a server that the person at the keyboard uses

import torch  # noqa: E402  (after the environment, which it reads once)

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def project() -> Path:
    """The project's root folder."""
    return PROJECT


@pytest.fixture(scope="session")
def shared_materials() -> Path:
    """Reference vectors and real data: the folder in SHARED_MATERIALS, else `../shared`; skips without one."""
    folder = Path(os.environ.get("SHARED_MATERIALS") or PROJECT.parent / "shared")
    if not folder.is_dir():
        pytest.skip(f"no shared materials at {folder}; say where they are with SHARED_MATERIALS")
    return folder.resolve()


from tests.object_store import gcs_server as gcs_server  # noqa: E402
from tests.object_store import gs_uri as gs_uri  # noqa: E402
from tests.object_store import s3_server as s3_server  # noqa: E402
from tests.object_store import s3_uri as s3_uri  # noqa: E402
