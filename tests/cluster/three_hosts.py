"""Three machines brought up by a real `ray up` of clusters/on_premise.yaml, a job submitted from a fourth, and losses.

The machines are namespaces (`hosts.py`); the file is the one that we ship, with their addresses and numbers in its
place-holders. Only its `pip install` is left out, because the machines see this one's environment. In each of
captioning, sweep and training the link of a worker at work is cut, and then its power; the job has to end well by
itself. The machine is then switched on again, and the cluster's own autoscaler has to bring it back. Then the head
loses link and power in the middle of a training, is switched on again, and `ray up` and the same `orchestrator submit`
are repeated. Every result must be that of an undisturbed run, to the last bit. At the end a job is left at work, and
`ray down` has to leave no process of it or of Ray, and no port open, on any of them.

Before all that, a cluster of the same file with `min_workers: 1` has to get its second worker when a job waits for it,
and to give it back when it is idle. (With none, Ray's provider of local machines never learns how large a worker is.)

With `--storage bucket` the machines share no folder: the storage root lies in an object store beside them, and the head
loses its disk with its power.

    python -m tests.cluster.three_hosts [--storage bucket] [--part scale|down]     (as root)

Phases that are done are kept in the folder, so that an interrupted suite goes on (with a bucket, which is forgotten,
from the beginning); `--part` does only the scaling, or only brings the machines up and takes the cluster down. The last
two lines are the figures.
"""

import argparse
import contextlib
import json
import os
import sys
import time
from pathlib import Path

import psutil

from tests.cluster import line
from tests.cluster.desk import close_terminal
from tests.cluster.hosts import Host, missing_tools
from tests.cluster.line import CAPTION, NUM_CPUS_PER_NODE, PHASES, TRAIN, Record
from tests.cluster.machines import Machines, machines

WITHOUT_LINK_S, EXIT_LOST = 5.0, 81
DOWN_WITHIN_S = 360.0  # `ray down` stops the head; workers end by themselves when they have missed it for a minute
SWITCHED_OFF_S = 40.0  # Ray notices within half a minute; a machine that came back sooner would hide that


def lose_worker(made: Machines, phase: line.Phase, record: Record) -> None:
    """One phase: a worker at work loses link and power, the job ends well, the worker comes back."""
    begun, command = time.monotonic(), made.submit(phase.command, "disturbed")
    done, work = line.at_moment(
        phase,
        made.storage("disturbed"),
        lambda: command.poll() is None,
        lambda: [phase.working(one.processes()) for one in made.workers],
    )
    worker = made.workers[work.index(max(work))]
    worker.cut_link()
    time.sleep(WITHOUT_LINK_S)
    worker.cut_power()
    off = time.monotonic()
    code = command.wait()
    seconds = time.monotonic() - begun
    if code:
        raise SystemExit(f"{phase.command} ended with {code} after the loss; see {made.desk.log}")
    time.sleep(max(0.0, SWITCHED_OFF_S - (time.monotonic() - off)))
    made.desk.until(lambda: made.desk.nodes() == len(made.workers), "the loss is noticed")
    worker.start()
    on = time.monotonic()
    made.desk.until(lambda: made.desk.nodes() == 1 + len(made.workers), f"{worker.name} is back")
    record.keep(
        phase.command,
        f"{phase.command}: {worker.name} with {max(work)} of {sum(work)} processes at work lost its link and its power "
        f"after {done} {phase.unit}; the job ended with {code}, in {seconds:.0f} s; switched on, the cluster had it "
        f"back after {time.monotonic() - on:.0f} s",
    )


def lose_head(made: Machines, record: Record) -> None:
    """The head loses link and power in the middle of a training; switched on, the same commands go on."""
    command = made.submit("run", made.fresh("headless"))
    done, _ = line.at_moment(TRAIN, made.storage("headless"), lambda: command.poll() is None)
    made.head.cut_link()
    time.sleep(WITHOUT_LINK_S)
    made.head.cut_power()
    made.forget("headless")
    code, status = command.wait(), made.desk.last_line()["status"]
    if (code, status) != (EXIT_LOST, "LOST"):
        raise SystemExit(f"submit told {status} and ended with {code} when the head was gone")
    made.head.start()
    seconds = made.desk.up()
    if code := made.submit("run", "headless").wait():
        raise SystemExit(f"the same submit ended with {code} on the new head; see {made.desk.log}")
    record.keep(
        "head",
        f"head: lost its link and its power after {done} epochs; submit told LOST and ended with {EXIT_LOST}; `ray up` "
        f"again had all three after {seconds:.0f} s; the same submit went on and ended with 0",
    )


def scale(made: Machines) -> str:
    """The second worker comes when a job waits for it, and goes when it is idle; returns when."""
    bring_up(made)
    begun, root = time.monotonic(), made.fresh("scaled")
    grows_to = [{"num_nodes": len(made.workers), "num_cpus": NUM_CPUS_PER_NODE}]
    # two actors that need all of a node each: one worker has no place for the second
    whole = {"cluster.grows_to": json.dumps(grows_to), "captioning.num_cpus_per_actor": NUM_CPUS_PER_NODE}
    command = made.submit(CAPTION.command, root, whole)
    made.desk.until(lambda: made.desk.nodes() == 1 + len(made.workers), "the second worker came")
    came = time.monotonic()
    if code := command.wait():
        raise SystemExit(f"the job that waited for a worker ended with {code}; see {made.desk.log}")
    ended = time.monotonic()
    made.desk.until(lambda: made.desk.nodes() == made.desk.num_at_first, "the idle worker is given back")
    gone = time.monotonic()
    # Of Ray, `ray start --block` and the log monitor stay until the next start; neither listens.
    made.desk.until(lambda: not all(rest(worker)["ports"] for worker in made.workers), "nothing of Ray listens on it")
    return (
        f"scale: one worker; a captioning job waited for a second one, which was there {came - begun:.0f} s after the "
        f"job's submission; the job ended well after {ended - begun:.0f} s; idle, the worker was given back after "
        f"{gone - ended:.0f} s"
    )


def rest(host: Host) -> dict[str, list[str]]:
    """What runs on a machine, and on which ports it listens, besides sshd."""
    running = []
    for process in host.processes():
        with contextlib.suppress(psutil.Error):
            if not process.name().startswith("sshd"):
                running.append(" ".join(process.cmdline())[:120] or process.name())
    return {"processes": running, "ports": [told for told in host.listening() if '"sshd"' not in told]}


def take_down(made: Machines) -> str:
    """`ray down` while a job is at work; returns what it ended, and that nothing is left of it."""
    hosts, root = (made.head, *made.workers), made.fresh("unfinished")
    command = made.submit(CAPTION.command, root)
    line.at_moment(
        CAPTION,
        made.storage(root),
        lambda: command.poll() is None,
        lambda: [CAPTION.working(one.processes()) for one in made.workers],
    )
    before = {host.name: rest(host) for host in hosts}
    if idle := [name for name, found in before.items() if not (found["processes"] and found["ports"])]:
        raise SystemExit(f"nothing runs on {idle}, so `ray down` has nothing to end there")
    close_terminal(command)  # the job itself goes on
    made.desk.close_tunnel()
    begun = time.monotonic()
    made.desk.down()
    told_s = time.monotonic() - begun
    while left := {host.name: found for host in hosts if any((found := rest(host)).values())}:
        if time.monotonic() > begun + DOWN_WITHIN_S:
            raise SystemExit(f"ray down left {left}")
        time.sleep(1)
    ended = ", ".join(f"{name} {len(found['processes'])} and {len(found['ports'])}" for name, found in before.items())
    return (
        f"ray down, with a job at work: it ended after {told_s:.0f} s; {time.monotonic() - begun:.0f} s after its "
        f"begin no process and no listening port but sshd's is left on {len(hosts)} hosts "
        f"(before, processes and ports: {ended})"
    )


def main() -> int:
    """Up, undisturbed, each phase with a loss, the head's loss, down; then compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--folder", type=Path, default=Path("runs/cluster-test"))
    parser.add_argument("--storage", choices=("folder", "bucket"), default="folder")
    parser.add_argument("--part", choices=("all", "scale", "down"), default="all")
    given = parser.parse_args()
    in_bucket = given.storage == "bucket"
    folder: Path = given.folder.resolve() / ("three-hosts-bucket" if in_bucket else "three-hosts")
    if os.geteuid() != 0 or (missing := missing_tools()):
        print(f"three hosts: NOT RUN: needs root and {', '.join(missing) if os.geteuid() == 0 else 'its tools'}")
        return 69
    folder.mkdir(parents=True, exist_ok=True)
    if given.part == "down":
        with machines(folder, in_bucket=in_bucket) as made:
            bring_up(made)
            print(take_down(made))
        return 0
    if in_bucket:
        (folder / "record.json").unlink(missing_ok=True)
    record = Record(folder / "record.json")
    record.tell_again()
    if "scale" not in record:
        with machines(folder, in_bucket=in_bucket, scaled=True) as made:
            record.keep("scale", scale(made))
            made.desk.close_tunnel()
    if given.part == "scale":
        return 0
    with machines(folder, in_bucket=in_bucket) as made:
        if "down" in record:
            return told(made)
        disturb(made, record)
        code = told(made)
        record.keep("down", take_down(made))
        return code


def bring_up(made: Machines) -> None:
    """The cluster, on machines that have power."""
    seconds = made.desk.up()
    print(f"ray up: {made.desk.num_at_first} nodes are there after {seconds:.0f} s", flush=True)


def disturb(made: Machines, record: Record) -> None:
    """Everything that needs the machines and is not in the record yet."""
    bring_up(made)
    if "undisturbed" not in record:
        begun = time.monotonic()
        if code := made.submit("run", made.fresh("undisturbed")).wait():
            raise SystemExit(f"the undisturbed job ended with {code}; see {made.desk.log}")
        record.keep("undisturbed", f"undisturbed: the line, submitted, in {time.monotonic() - begun:.0f} s")
    for phase in PHASES:
        if phase.command not in record:
            if phase is CAPTION:
                made.fresh("disturbed")
            lose_worker(made, phase, record)
    if "head" not in record:
        lose_head(made, record)


def told(made: Machines) -> int:
    """Compare, and tell the figure."""
    wanted = line.content(made.storage("undisturbed"))
    different = [
        f"{root}: {part}"
        for root in ("disturbed", "headless")
        for part in line.compare(wanted, line.content(made.storage(root)))
    ]
    twice = [line.paid_twice(made.storage(root)) for root in ("disturbed", "undisturbed")]
    same = f"DIFFERENT: {different}" if different else "every result identical to the undisturbed run's"
    print(
        f"three hosts: {len(PHASES)} workers lost, one in each of {', '.join(p.command for p in PHASES)}, and the head "
        f"in training: {same}"
        f"; {twice[0]} captions paid twice ({twice[1]} without a loss)"
    )  # fmt: skip
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
