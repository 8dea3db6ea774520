"""What it costs to submit a job instead of running it: start-up, and the whole, against the same job run directly.

The job prints and ends, so that what is measured is all overhead. Three ways, in turn, on one Ray cluster that is
there: `python -m jobs.NAME` on this machine, `ray job submit`, and `orchestrator submit`. Start-up is the time from the
command to the driver's first line as the driver's own clock has it; the whole ends with the command.

    python -m benchmarks.submit_overhead [--repeats 5]

The last line is the figure.
"""

import argparse
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.exit_codes import ours, rays
from tests.on_ray.job_cluster import Head, start_head

JOB = "import time\nprint('began', time.time(), flush=True)\n"


def measure(command: list[str], folder: Path) -> tuple[float, float]:
    """(start-up, whole) of one command, seconds."""
    begun = time.time()
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    ended = time.time()
    if done.returncode:
        raise SystemExit(f"{command[0]} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    told = next(line for line in done.stdout.splitlines() if line.startswith("began "))
    return float(told.split()[1]) - begun, ended - begun


def ways(head: Head, number: int) -> dict[str, list[str]]:
    """The commands of one round."""
    return {
        "directly": [sys.executable, "-m", "jobs.stamp"],
        "ray job submit": rays(head, "stamp", head.address, f"ray-{number}"),
        "orchestrator submit": ours(head, "stamp", head.address, f"ours-{number}"),
    }


def main() -> int:
    """One round that is not counted, then the others."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--repeats", type=int, default=5)
    repeats: int = parser.parse_args().repeats
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32), RAY_USAGE_STATS_ENABLED="0")
    taken: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        head = start_head(Path(folder))
        try:
            (head.working_dir / "jobs" / "stamp.py").write_text(JOB)
            if code := head.run("submit", "greet").returncode:
                raise SystemExit(f"the cluster takes no jobs ({code})")
            for number in range(repeats + 1):
                for way, command in ways(head, number).items():
                    found = measure(command, head.working_dir)
                    if number:
                        taken.setdefault(way, []).append(found)
        finally:
            head.close()
    shown = []
    for way, times in taken.items():
        first, whole = (statistics.median(one[place] for one in times) for place in (0, 1))
        spread = " to ".join(f"{edge:.1f}" for edge in (min(t[1] for t in times), max(t[1] for t in times)))
        print(f"{way}: first line after {first:.1f} s, the end after {whole:.1f} s ({spread})")
        shown.append(f"{way} {first:.1f} / {whole:.1f} s")
    load = os.getloadavg()[0]
    print(f"first line / end, median of {repeats}: {', '.join(shown)}; load {load:.0f} on {os.cpu_count()} cores")
    return 0


if __name__ == "__main__":
    sys.exit(main())
