"""The processes of our own cluster, found through /proc by descent from this one.

Reads /proc. Knows nothing of Ray beyond the titles of its workers.
"""

import os
from pathlib import Path


def _parents() -> dict[int, int]:
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            found[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:  # ended meanwhile
            continue
    return found


def our_ray_workers(title: str) -> list[int]:
    """Process ids of the Ray workers that descend from this process and have `title` in theirs."""
    parents, found = _parents(), []
    for pid in parents:
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if not (command.startswith("ray::") and title in command):
            continue
        above = parents.get(pid, 0)
        while above not in (0, 1, os.getpid()):
            above = parents.get(above, 0)
        if above == os.getpid():
            found.append(pid)
    return found
