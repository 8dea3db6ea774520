"""The whole line of an experiment in a bucket, on a server that fails and dawdles; and then on another machine.

The server is moto's for S3, or gcp-storage-emulator for Google Cloud Storage (`--store gcs`), on the loopback
interface, in a process of its own. One request in `--fail-every` is answered with 500 or 503, one in `--slow-every`
half a second late. The line runs with `storage_root=s3://...` in one process; then, as on a machine that has nothing,
with an empty `scratch`: all has to be reused. Every result must be the one of a run with a folder, to the last bit.

    python -m benchmarks.bucket_line [--store gcs] [--fail-every 9] [--slow-every 20]
                                     [--experiment jobs/experiments/demo.yaml --execution jobs/executions/laptop.yaml]

The last line is the figure.
"""

import argparse
import itertools
import json
import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
import yaml

from orchestrator.artifacts.manifest import MANIFEST_NAME
from orchestrator.artifacts.storage import read_json
from orchestrator.training.student_file import STUDENT

PROJECT = Path(__file__).resolve().parents[1]
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_EC2_METADATA_DISABLED": "true",
    "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1",
}  # fmt: skip
BUCKET = "bucket"
WHOLE = ("images.parquet", "texts.parquet", "train.npy", "predictions.parquet", "captions.parquet", STUDENT)
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Unreliable:
    """A WSGI application before which requests fail or wait, in turn."""

    def __init__(self, inner: Application, fail_every: int, slow_every: int, told: dict[str, Any]) -> None:
        self._inner, self._fail_every, self._slow_every, self._told = inner, fail_every, slow_every, told
        self._numbers = itertools.count(1)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """One request."""
        number = next(self._numbers)
        self._told["requests"].value = number
        if number % self._slow_every == 0:
            self._told["slow"].value += 1
            time.sleep(0.5)
        if number % self._fail_every == 0:
            self._told["failed"].value += 1
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response(("500 Internal Server Error", "503 Slow Down")[number // self._fail_every % 2], [])
            return [b""]
        return self._inner(environ, start_response)


def serve(port: int, fail_every: int, slow_every: int, told: dict[str, Any]) -> None:
    """Answer until killed."""
    import logging
    import warnings

    warnings.simplefilter("ignore")
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import run_simple

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    application = Unreliable(DomainDispatcherApplication(create_backend_app), fail_every, slow_every, told)
    run_simple("127.0.0.1", port, application, threaded=True)


def serve_gcs(port: int, fail_every: int, slow_every: int, told: dict[str, Any]) -> None:
    """The same for Google Cloud Storage, with one bucket.

    Parts of an upload (PUT) do not fail: the emulator then tells the client that it has a byte which it has not.
    """
    from gcp_storage_emulator import server

    numbers, failures = itertools.count(1), itertools.count()

    def unreliable(answer: Callable[[Any], None]) -> Callable[[Any], None]:
        def answer_perhaps(handler: Any) -> None:
            number = next(numbers)
            told["requests"].value = number
            if number % slow_every == 0:
                told["slow"].value += 1
                time.sleep(0.5)
            if number % fail_every == 0 and handler.command != "PUT":
                told["failed"].value += 1
                handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
                handler.send_response((500, 503)[next(failures) % 2])
                handler.send_header("Content-Length", "0")
                handler.end_headers()
                return
            answer(handler)

        return answer_perhaps

    for method in ("do_GET", "do_POST", "do_PUT", "do_PATCH", "do_DELETE"):
        setattr(server.RequestHandler, method, unreliable(getattr(server.RequestHandler, method)))
    server.create_server("127.0.0.1", port, True, BUCKET).run()


def make_bucket(options: dict[str, str]) -> None:
    """At the S3 server, as soon as it answers."""
    for _ in range(100):
        try:
            pafs.S3FileSystem(**options, allow_bucket_creation=True).create_dir(BUCKET)
            return
        except OSError:
            time.sleep(0.5)


def run(line: list[str], root: str, *settings: str) -> tuple[str, float]:
    """The line; what it told, and how long it took."""
    # One trial at a time: where trials run side by side their order in time decides which a scheduler stops.
    always = (f"storage_root={root}", "tracking.kind=none", "trials.num_workers=1")
    given = [part for one in (*always, *settings) for part in ("--set", one)]
    begun = time.monotonic()
    command = [str(Path(sys.executable).parent / "orchestrator"), "run", *line, *given]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the line ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return done.stdout, time.monotonic() - begun


def content(base: Path) -> dict[str, str]:
    """Digests of what must not depend on the storage: the main file of each artifact; and the sweep's values."""
    found = dict[str, str]()
    for manifest in sorted(base.rglob(MANIFEST_NAME)):
        files = read_json(manifest)["files"]
        name = str(manifest.parent.relative_to(base))
        found |= {f"{name}/{file}": digest for file, digest in files.items() if file in WHOLE}
    found.pop("index/images.parquet")  # names the folder it was made in
    for sweep in (base / "sweeps").iterdir():
        trials = read_json(sweep / "trials.json")["trials"]
        kept = [{k: v for k, v in trial["metrics"].items() if not k.startswith("speed/")} for trial in trials]
        best = yaml.safe_load((sweep / "best.yaml").read_text())  # without its remarks, which name folders
        found |= {
            f"{sweep.name}/trials": json.dumps(kept, sort_keys=True),
            f"{sweep.name}/best": json.dumps(best, sort_keys=True),
        }
    return found


def main() -> int:
    """A folder, a bucket, another machine; compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--store", choices=("s3", "gcs"), default="s3")
    parser.add_argument("--fail-every", type=int, default=9)
    parser.add_argument("--slow-every", type=int, default=20)
    parser.add_argument("--experiment", default="jobs/experiments/smoke.yaml")
    parser.add_argument("--execution", default="jobs/executions/in_process.yaml")
    given = parser.parse_args()
    line, name = [given.experiment, "--execution", given.execution], Path(given.experiment).stem
    os.environ.update(CREDENTIALS)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    told = {count: multiprocessing.Value("i", 0) for count in ("requests", "failed", "slow")}
    answers = serve if given.store == "s3" else serve_gcs
    server = multiprocessing.Process(target=answers, args=(port, given.fail_every, given.slow_every, told), daemon=True)
    server.start()
    folder = Path(tempfile.mkdtemp(prefix="orc-s3-"))
    try:
        options = {"endpoint_override": f"127.0.0.1:{port}", "scheme": "http"}
        if given.store == "s3":
            options["region"] = "us-east-1"
            make_bucket(options)
        start = f"s3://{BUCKET}" if given.store == "s3" else f"gs://anonymous@{BUCKET}"
        uri = f"{start}/runs?" + "&".join(f"{name}={value}" for name, value in options.items())
        _, in_folder_s = run(line, str(folder / "plain"))
        wanted = content(folder / "plain" / name)
        print(f"a folder: {in_folder_s:.0f} s, {len(wanted)} results to compare", flush=True)
        _, in_bucket_s = run(line, uri, f"scratch={folder}/here")
        (work,) = [path for path in (folder / "here").iterdir() if path.is_dir()]
        found = content(work / name)
        different = sorted(key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key))
        same = not different
        print(f"a bucket: {in_bucket_s:.0f} s, {f'DIFFERENT: {different}' if different else 'identical'}", flush=True)
        again, elsewhere_s = run(line, uri, f"scratch={folder}/elsewhere")
        (work,) = [path for path in (folder / "elsewhere").iterdir() if path.is_dir()]
        reused = " made " not in again
        same = same and reused and content(work / name) == wanted
        print(f"another machine: {elsewhere_s:.0f} s, {'all reused' if reused else 'MADE AGAIN'}", flush=True)
        shown = {count: value.value for count, value in told.items()}
        print(
            f"the line in a bucket ({given.store}): {shown['requests']} requests, {shown['failed']} of them answered "
            "with 500 or 503 "
            f"and {shown['slow']} half a second late: {in_bucket_s:.0f} s (in a folder {in_folder_s:.0f} s); "
            + ("every result identical; another machine reused all" if same else "DIFFERENT")
        )
        return 0 if same else 1
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
