"""Machines made of namespaces: each with processes, mounts, a name, an address and an sshd of its own, and a link.

Needs root, iproute2, util-linux, sshd and rsync. A machine sees this one's programs, and only its own processes, its
own /tmp, /dev/shm, /run and home, and one folder that all machines share at /mnt/shared. Its power is cut by ending the
first of its processes; the kernel then ends all others. A cloud's services may run beside them. Knows nothing of Ray.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pyarrow.fs as pafs

BRIDGE = "vdbridge"
USER = "ray"
TOOLS = ("ip", "ss", "unshare", "nsenter", "sshd", "ssh-keygen", "rsync")
INIT = """set -e
mount --make-rprivate /
for name in passwd shadow hosts; do mount --bind {folder}/$name /etc/$name; done
mount -t tmpfs tmpfs /mnt && {share}
mount -t tmpfs tmpfs /home && mkdir /home/{user} && mount --bind {folder}/home /home/{user}
mount -t tmpfs tmpfs /dev/shm && chmod 1777 /dev/shm
mount -t tmpfs tmpfs /run && mkdir /run/sshd /run/disk && mount --bind {folder} /run/disk
mount --bind /run/disk/tmp /tmp
hostname {name}
exec {sshd} -D -e -f /run/disk/sshd_config
"""
SSHD = """HostKey /run/disk/host_key
AuthorizedKeysFile {home}/.ssh/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
StrictModes no
UsePAM no
PidFile none
MaxStartups 100
"""


def missing_tools() -> list[str]:
    """Programs that machines need and this one lacks."""
    return [name for name in TOOLS if shutil.which(name) is None]


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


class Network:
    """A bridge, which machines are linked to.

    Args:
        address: of the bridge, with the bits that are the network's.
    """

    def __init__(self, address: str = "10.213.7.1/24") -> None:
        self.gateway, _, self.bits = address.partition("/")

    def __enter__(self) -> "Network":
        self._clear()
        _run("ip", "link", "add", BRIDGE, "type", "bridge")
        _run("ip", "address", "add", f"{self.gateway}/{self.bits}", "dev", BRIDGE)
        _run("ip", "link", "set", BRIDGE, "up")
        return self

    def __exit__(self, *error: object) -> None:
        self._clear()

    def _clear(self) -> None:
        subprocess.run(["ip", "link", "delete", BRIDGE], capture_output=True, check=False)


class Host:
    """One machine; it has no power yet.

    Args:
        name: at most ten letters and digits.
        network, address: where it is.
        folder: of its disk; kept when its power is cut.
        shared: what it sees at /mnt/shared, as other machines do; None: nothing.
        public_key: whose owner may log in as `user`.
    """

    def __init__(
        self,
        name: str,
        network: Network,
        address: str,
        folder: Path,
        shared: Path | None,
        public_key: str,
        *,
        user: str = USER,
    ) -> None:
        self.name, self.address, self.folder, self.user = name, address, folder, user
        self._network, self._shared, self._space, self._link = network, shared, f"vd-{name}", f"vd-{name}"
        self._init: subprocess.Popen[bytes] | None = None
        self.home = folder / "home"
        for part in ("home/.ssh", "tmp"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        (self.home / ".ssh" / "authorized_keys").write_text(public_key)
        (folder / "sshd_config").write_text(SSHD.format(home=f"/home/{user}"))
        if not (folder / "host_key").exists():
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "host_key"))
        # The user is root under another name, so that this machine's programs can be read; its home is its own.
        for file, line in (("passwd", f"{user}:x:0:0::/home/{user}:/bin/bash"), ("shadow", f"{user}:*:1::::::")):
            (folder / file).write_text(line + "\n" + Path("/etc", file).read_text())
        (folder / "hosts").write_text(f"127.0.0.1 localhost\n{self.address} {name}\n")

    def start(self) -> None:
        """Give it power, and its link."""
        self._clear()
        _run("ip", "netns", "add", self._space)
        _run("ip", "link", "add", self._link, "type", "veth", "peer", "name", "eth0", "netns", self._space)
        _run("ip", "link", "set", self._link, "master", BRIDGE, "up")
        inside = ("ip", "-n", self._space)
        _run(*inside, "link", "set", "lo", "up")
        _run(*inside, "address", "add", f"{self.address}/{self._network.bits}", "dev", "eth0")
        _run(*inside, "link", "set", "eth0", "up")
        _run(*inside, "route", "add", "default", "via", self._network.gateway)
        share = "true" if self._shared is None else f"mkdir /mnt/shared && mount --bind {self._shared} /mnt/shared"
        script = INIT.format(folder=self.folder, share=share, user=self.user, name=self.name, sshd=shutil.which("sshd"))
        own = ("unshare", "--pid", "--mount", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc")
        with (self.folder / "init.log").open("ab") as log:
            self._init = subprocess.Popen(
                ["ip", "netns", "exec", self._space, *own, "bash", "-c", script],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        until = time.monotonic() + 60
        while not self._first().name().startswith("sshd"):
            if self._init.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"{self.name} does not start; see {self.folder}/init.log")
            time.sleep(0.1)

    def _first(self) -> psutil.Process:
        """Its first process; before there is one, the one that makes it."""
        assert self._init is not None, f"{self.name} has no power"
        outer = psutil.Process(self._init.pid)
        return next(iter(outer.children()), outer)

    def processes(self) -> list[psutil.Process]:
        """All that run on it, but the first."""
        return self._first().children(recursive=True)

    def listening(self) -> list[str]:
        """Its TCP ports that wait for connections, each with the program behind it, as its kernel tells."""
        ask = ("ss", "--no-header", "--listening", "--tcp", "--numeric", "--processes")
        whole = ["ip", "netns", "exec", self._space, *ask]
        return subprocess.run(whole, capture_output=True, text=True, check=True).stdout.splitlines()

    def command(self, line: str) -> list[str]:
        """A command line for this machine's shell that runs `line` in that one's, as its user."""
        environment = (
            f"HOME=/home/{self.user}",
            f"USER={self.user}",
            "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        )
        enter = ("nsenter", "--target", str(self._first().pid), "--mount", "--uts", "--ipc", "--net", "--pid")
        return [*enter, "env", "-i", "TERM=dumb", "LANG=C.UTF-8", *environment, "bash", "-c", line]

    def run(self, line: str) -> "subprocess.CompletedProcess[str]":
        """Run a line in its shell."""
        return subprocess.run(self.command(line), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)

    def cut_link(self) -> None:
        """Nothing reaches it any more, and it reaches nothing."""
        _run("ip", "link", "set", self._link, "down")

    def cut_power(self) -> None:
        """End all its processes at once."""
        if self._init is not None:
            self._init.kill()
            self._init.wait()
            self._init = None

    def remove(self) -> None:
        """Cut its power and take its link away; the disk stays."""
        self.cut_power()
        self._clear()

    def _clear(self) -> None:
        for command in (("ip", "link", "delete", self._link), ("ip", "netns", "delete", self._space)):
            subprocess.run(command, capture_output=True, check=False)


class Aws:
    """moto on the network's own address, which answers as S3, EC2 and IAM do; it forgets all when it ends.

    Credentials lie in `~/.aws` of whoever is given them, as real ones do; outside of AWS nobody is to look for others.
    """

    PORT, BUCKET = 5000, "bucket"
    CREDENTIALS = "[default]\naws_access_key_id = testing\naws_secret_access_key = testing\n"

    def __init__(self, network: Network) -> None:
        self._host = network.gateway

    def __enter__(self) -> "Aws":
        command = [sys.executable, "-m", "moto.server", "-H", self._host, "-p", str(self.PORT)]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        more = {"PYTHONWARNINGS": "ignore", "MOTO_IAM_LOAD_MANAGED_POLICIES": "true"}
        os.environ |= {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "NO_PROXY": self._host}
        os.environ["no_proxy"] = self._host
        self._server = subprocess.Popen(command, env={**os.environ, **more}, **quiet)
        until = time.monotonic() + 60
        while True:
            try:
                pafs.S3FileSystem(**self._options(), allow_bucket_creation=True).create_dir(self.BUCKET)
                return self
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.5)

    def __exit__(self, *error: object) -> None:
        self._server.kill()
        self._server.wait()

    def _options(self) -> dict[str, str]:
        return {"endpoint_override": f"{self._host}:{self.PORT}", "scheme": "http", "region": "us-east-1"}

    @property
    def endpoint(self) -> str:
        """URL of all services."""
        return f"http://{self._host}:{self.PORT}"

    def uri(self, name: str) -> str:
        """Of a folder in the bucket."""
        return f"s3://{self.BUCKET}/{name}?" + "&".join(f"{key}={value}" for key, value in self._options().items())

    def give_credentials(self, home: Path) -> None:
        """To a user."""
        (home / ".aws").mkdir(exist_ok=True)
        (home / ".aws" / "credentials").write_text(self.CREDENTIALS)
        (home / ".bashrc").write_text("export AWS_EC2_METADATA_DISABLED=true\n")


def make_key(path: Path) -> str:
    """Make a key pair at `path`, unless it is there; returns the public one."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path))
    return path.with_name(f"{path.name}.pub").read_text()


def remove_all(hosts: Sequence[Host]) -> None:
    """Take machines away."""
    for host in hosts:
        host.remove()
