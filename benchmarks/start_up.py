"""What a command costs before it does anything: `orchestrator --help` against importing typer and rich.

Starts fresh interpreters in turns, so that other work on the machine lengthens all alike, and prints medians of their
wall and processor seconds as ratios to the peer: `import typer, rich`, without which no such command line starts. The
claim is a ratio of at most 1.3 for the help. A listing and an explanation are told too.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

PEER, CLAIM, HELP = "import typer, rich", 1.3, "orchestrator --help"
COMMANDS = {
    PEER: [sys.executable, "-c", "import typer, rich"],
    HELP: ["--help"],
    "orchestrator list losses": ["list", "losses"],
    "orchestrator explain losses.text": ["explain", "losses.text"],
    "a first app of typer's, --help": [
        sys.executable, "-c",
        "import typer\napp = typer.Typer()\n@app.command()\ndef one(name: str): 'One.'\n"
        "@app.command()\ndef two(name: str): 'Two.'\napp(['--help'])",
    ],
}  # fmt: skip
PROJECT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    arguments = parser.parse_args()
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    order = list(COMMANDS)
    for number in range(arguments.repeats + 1):
        for name in order:
            taken = _seconds(COMMANDS[name])
            if number:  # the first turn fills the file cache
                times[name].append(taken)
        order.reverse()
    wall, busy = ({name: statistics.median(row[side] for row in rows) for name, rows in times.items()}
                  for side in (0, 1))  # fmt: skip
    print(f"medians of {arguments.repeats} turns; ratios to `{PEER}`")
    for name in COMMANDS:
        print(f"{name:<34} {wall[name]:6.3f} s wall x {wall[name] / wall[PEER]:5.2f}"
              f"   {busy[name]:6.3f} s CPU x {busy[name] / busy[PEER]:5.2f}")  # fmt: skip
    ratio = busy[HELP] / busy[PEER]
    print(f"claim: the help takes at most {CLAIM} x the processor time; {'holds' if ratio <= CLAIM else 'MISSED'}")


def _seconds(command: list[str]) -> tuple[float, float]:
    """(wall, processor) seconds of a process to its end."""
    ours = command[0] != sys.executable
    full = [sys.executable, "-c", "from orchestrator.cli import main; main()", *command] if ours else command
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    subprocess.run(full, cwd=PROJECT, stdout=subprocess.DEVNULL, check=True, env={**os.environ, "NO_COLOR": "1"})
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
