"""Weights named by hub id and commit are loaded from the hub's local cache, as on a machine that has fetched them."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from orchestrator.captioners import TransformersCaptionerSettings, Visit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ASKED = ("describe the image", "what is this")
CODE = """
import json, sys
from orchestrator.captioners import TransformersCaptionerSettings, Visit
from orchestrator.errors import ConfigError
commit, *asked = sys.argv[1:]
settings = TransformersCaptionerSettings(model="organisation/tiny", revision=commit, max_new_tokens=8)
found = {"weights": settings.identity()["weights"], "answers": settings.build().caption([Visit(None, tuple(asked))])}
try:
    settings.model_copy(update={"revision": commit[::-1]}).build()
except ConfigError as error:
    found["refused"] = error.wrong
print(json.dumps(found))
"""


def test_a_commit_of_a_hub_repository_says_what_the_same_directory_says(
    model_folder: Callable[[str], Path], tmp_path: Path, project: Path
) -> None:
    shutil.copytree(model_folder("llava"), tmp_path / "models--organisation--tiny" / "snapshots" / COMMIT)
    done = subprocess.run(  # a process of its own, because the hub's library reads its environment once
        [sys.executable, "-c", CODE, COMMIT, *ASKED],
        cwd=project,
        env={**os.environ, "HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["weights"] == {"hub_id": "organisation/tiny", "revision": COMMIT}
    local = TransformersCaptionerSettings(model=str(model_folder("llava")), max_new_tokens=8).build()
    assert found["answers"] == local.caption([Visit(None, ASKED)])
    assert "model organisation/tiny: its configuration cannot be read" in found["refused"]
