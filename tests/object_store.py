"""An object store on the loopback interface: the S3 protocol as moto answers it, in a process of its own.

Skips where moto is not installed. Test credentials come from the environment, as real ones do.
"""

import importlib.util
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator

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
_START_S = 60.0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """HOST:PORT of the server; the environment has its credentials and no proxy."""
    if importlib.util.find_spec("moto") is None:
        pytest.skip("moto is not installed; pip install -e .[dev]")
    with pytest.MonkeyPatch.context() as patch:
        for name in PROXIES:
            patch.delenv(name, raising=False)
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        port = _free_port()
        server = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
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
                        pytest.skip("moto's server does not start here")
                    time.sleep(0.1)
            yield f"127.0.0.1:{port}"
        finally:
            server.kill()
            server.wait()


@pytest.fixture
def s3_uri(s3_server: str) -> str:
    """URI of a fresh bucket's folder."""
    bucket = f"bucket-{uuid.uuid4().hex[:8]}"
    options = {"endpoint_override": s3_server, "scheme": "http", "region": "us-east-1"}
    pafs.S3FileSystem(**options, allow_bucket_creation=True).create_dir(bucket)
    query = "&".join(f"{name}={value}" for name, value in options.items())
    return f"s3://{bucket}/stores/captions?{query}"
