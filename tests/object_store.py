"""Object stores on the loopback interface, each in a process of its own: S3 as moto answers it, and GCS by an emulator.

Skips where they are not installed. Test credentials come from the environment, as real ones do.
"""

import importlib.util
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow.fs as pafs
import pytest

SECRET = "a-secret-of-the-tests"  # pragma: allowlist secret
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_EC2_METADATA_DISABLED": "true",  # never ask the network who we are
    "NO_PROXY": "127.0.0.1",
    "no_proxy": "127.0.0.1",
}
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy", "AWS_PROFILE")
_GCS = "import sys; from gcp_storage_emulator.__main__ import main; main(sys.argv[1:])"
_GCS_BUCKET, _START_S = "bucket", 60.0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _serving(package: str, command: Sequence[str]) -> Iterator[str]:
    """HOST:PORT of a server that is started with this command and a port; the environment has its credentials."""
    if importlib.util.find_spec(package.replace("-", "_").partition("[")[0]) is None:
        pytest.skip(f"{package} is not installed; pip install -e .[dev]")
    with pytest.MonkeyPatch.context() as patch:
        for name in PROXIES:
            patch.delenv(name, raising=False)
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        port = _free_port()
        server = subprocess.Popen(
            [sys.executable, *command, str(port)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONWARNINGS": "ignore"},
        )  # fmt: skip
        try:
            deadline = time.monotonic() + _START_S
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    if server.poll() is not None or time.monotonic() > deadline:
                        pytest.skip(f"the server of {package} does not start here")
                    time.sleep(0.1)
            yield f"127.0.0.1:{port}"
        finally:
            server.kill()
            server.wait()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """HOST:PORT of a server of the S3 protocol."""
    with _serving("moto[server]", ["-m", "moto.server", "-H", "127.0.0.1", "-p"]) as address:
        yield address


@pytest.fixture
def s3_uri(s3_server: str) -> str:
    """URI of a fresh bucket's folder."""
    bucket = f"bucket-{uuid.uuid4().hex[:8]}"
    options = {"endpoint_override": s3_server, "scheme": "http", "region": "us-east-1"}
    pafs.S3FileSystem(**options, allow_bucket_creation=True).create_dir(bucket)
    query = "&".join(f"{name}={value}" for name, value in options.items())
    return f"s3://{bucket}/stores/captions?{query}"


@pytest.fixture(scope="session")
def gcs_server() -> Iterator[str]:
    """HOST:PORT of a server of Google Cloud Storage's protocol, with one bucket."""
    start = ["start", "--host=127.0.0.1", "--in-memory", f"--default-bucket={_GCS_BUCKET}", "--port"]
    with _serving("gcp-storage-emulator", ["-c", _GCS, *start]) as address:
        yield address


@pytest.fixture
def gs_uri(gcs_server: str) -> str:
    """URI of a fresh folder in its bucket."""
    options = f"scheme=http&endpoint_override={gcs_server}&retry_limit_seconds=20"
    return f"gs://anonymous@{_GCS_BUCKET}/{uuid.uuid4().hex[:8]}/stores/captions?{options}"
