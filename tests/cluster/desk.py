"""The machine that people work at, and what is done there with `ray` and `orchestrator`.

Runs commands on one machine. Knows nothing of what is lost, nor of where clusters come from.
"""

import contextlib
import json
import secrets
import shlex
import subprocess
import time
from collections.abc import Callable, Mapping
from typing import Any

import psutil

from tests.cluster import line
from tests.cluster.hosts import Host
from tests.cluster.raylets import make_checkout

CHECKOUT = "vlm-distill"
TRIES = 4  # of `ray up`: a node gets 30 seconds from Ray to come up, which a busy machine may not manage


class Desk:
    """See the module.

    Args:
        host: the machine; its folder gets a log.
        sheet: path in the checkout of the file that `ray up` is given.
        content: of that file.
        environment: a shell's line that is run before each command.
        num_at_first: nodes that a fresh cluster has.
    """

    def __init__(self, host: Host, sheet: str, content: str, environment: str, num_at_first: int) -> None:
        self.host, self.log, self.num_at_first = host, host.folder.parent / "desk.log", num_at_first
        self._sheet, self._environment = sheet, environment
        self._tunnel: subprocess.Popen[bytes] | None = None
        checkout = host.home / CHECKOUT
        make_checkout(checkout)
        (checkout / sheet).parent.mkdir(exist_ok=True)
        (checkout / sheet).write_text(content)
        token = host.home / ".ray" / "auth_token"
        token.parent.mkdir(exist_ok=True)
        if not token.exists():
            token.touch(mode=0o600)
            token.write_text(secrets.token_hex(32))

    def begins(self, command: str) -> subprocess.Popen[bytes]:
        """A command in the checkout, its output in a log."""
        with self.log.open("ab") as log:
            log.write(f"\n$ {command}\n".encode())
            log.flush()
            whole = self.host.command(f"{self._environment}; cd ~/{CHECKOUT} && exec {command}")
            return subprocess.Popen(whole, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def does(self, command: str) -> None:
        """A command that must end well."""
        if code := self.begins(command).wait():
            raise SystemExit(f"at the desk, {command} ended with {code}; see {self.log}")

    def up(self) -> float:
        """`ray up`, the tunnel to the dashboard, and patience until the first nodes are there; returns the seconds."""
        begun = time.monotonic()
        for _ in range(TRIES):
            if self.begins(f"ray up -y --no-config-cache {self._sheet}").wait() == 0:
                break
        else:
            raise SystemExit(f"ray up failed {TRIES} times; see {self.log}")
        self.close_tunnel()
        self._tunnel = self.begins(f"ray dashboard {self._sheet}")
        self.until(lambda: self.nodes() == self.num_at_first, f"{self.num_at_first} nodes are there")
        return time.monotonic() - begun

    def down(self) -> None:
        """`ray down`."""
        self.does(f"ray down -y {self._sheet}")

    def close_tunnel(self) -> None:
        """End `ray dashboard`; what it runs on the head ends with its connection."""
        if self._tunnel is not None:
            close_terminal(self._tunnel)
            self._tunnel = None

    def nodes(self) -> int:
        """How many nodes the dashboard calls alive; 0 where it does not answer."""
        ask = (
            "import json, os, urllib.request as r; t = open(os.path.expanduser('~/.ray/auth_token')).read();"
            "q = r.Request('http://127.0.0.1:8265/nodes?view=summary', headers={'Authorization': 'Bearer ' + t});"
            "print(sum(n['raylet'].get('state') == 'ALIVE' for n in json.load(r.urlopen(q))['data']['summary']))"
        )
        done = self.host.run(f"python3 -c {shlex.quote(ask)}")
        return int(done.stdout) if done.returncode == 0 else 0

    def until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait."""
        until = time.monotonic() + line.PATIENCE_S
        while not holds():
            if time.monotonic() > until:
                raise SystemExit(f"it never came to be that {what}; see {self.log}")
            time.sleep(5)

    def submit(self, job: str, root: str, execution: str, settings: Mapping[str, Any]) -> subprocess.Popen[bytes]:
        """`orchestrator submit`, followed to the job's end."""
        given = line.arguments(root, execution, settings)
        return self.begins(shlex.join(["orchestrator", "submit", "--wait-s", "120", job, *given]))

    def last_line(self) -> dict[str, Any]:
        """What the newest `orchestrator submit` told scripts."""
        lines = self.log.read_text(errors="replace").splitlines()
        found: dict[str, Any] = json.loads(
            next(told for told in reversed(lines) if told.startswith('{"submission_id"'))
        )
        return found


def close_terminal(command: subprocess.Popen[bytes]) -> None:
    """End all processes of a command at the desk; they are its children, and not those of the desk's first process."""
    for process in psutil.Process(command.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    command.wait()
