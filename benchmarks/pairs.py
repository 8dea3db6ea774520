"""How benchmarks compare two sides: steps that take turns, ratios of neighbours, and an interval by bootstrap.

Holds the measuring and the telling. Knows nothing of what is measured. Two clocks are read: the wall clock, which is
what a user waits, and the processor time of this process, which other jobs on the machine disturb far less.
"""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

RESAMPLES, WARMUP = 2000, 3
CLOCKS = ("wall clock", "processor time")
Times = dict[str, list[tuple[float, float]]]


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall seconds and processor seconds of one call; they part when another job takes the core away."""
    started, busy = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - started, time.process_time() - busy


def ratio_with_interval(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float, float]:
    """Median of theirs/ours over pairs of neighbouring steps, and its 95 % interval by bootstrap over the pairs."""
    ratios = np.asarray(theirs) / np.asarray(ours)
    drawn = np.random.default_rng(0).choice(ratios, (RESAMPLES, len(ratios)))
    low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
    return float(np.median(ratios)), float(low), float(high)


def take_turns(sides: Mapping[str, Callable[[int], object]], seconds: float, warmup: int = WARMUP) -> Times:
    """Call every side with 0, 1, 2, ... in turn until each has run for `seconds`; (wall, processor) seconds of each.

    The order turns round from step to step: whoever runs second finds warmer caches. The first `warmup` steps are not
    counted.
    """
    for number in range(warmup):
        for work in sides.values():
            work(number)
    times: Times = {name: [] for name in sides}
    order, number = list(sides), warmup
    while min(sum(wall for wall, _ in steps) for steps in times.values()) < seconds or number < warmup + 2:
        for name in order:
            times[name].append(timed(lambda name=name, number=number: sides[name](number)))  # type: ignore[misc]
        order.reverse()
        number += 1
    return times


def told(times: Times, ours: str, theirs: str, *, images: int, at_least: float | None = None) -> list[str]:
    """A line for each clock: images/s of both sides, the ratio with its interval, and the verdict.

    Args:
        images: of one step.
        at_least: the ratio that we claim; the verdict is that of the median, and says where the interval reaches below.
    """
    lines = []
    for clock, what in enumerate(CLOCKS):
        mine, other = ([step[clock] for step in times[name]] for name in (ours, theirs))
        ratio, low, high = ratio_with_interval(mine, other)
        own, peer = (images / float(np.median(steps)) for steps in (mine, other))
        speeds = f"{ours} {own:.1f}, {theirs} {peer:.1f} images/s"
        line = f"{what}: {speeds}; {ours} / {theirs} {ratio:.3f}, 95 % interval {low:.3f} to {high:.3f}"
        line += f" ({len(mine)} pairs of steps of {images} images, {sum(mine):.0f} and {sum(other):.0f} s)"
        lines.append(line if at_least is None else f"{line}: {verdict(ratio, low, at_least)}")
    return lines


def verdict(ratio: float, low: float, at_least: float) -> str:
    """Whether a claim holds."""
    if low >= at_least:
        return f"holds (at least {at_least} claimed)"
    return f"{'holds by the median only' if ratio >= at_least else 'DOES NOT HOLD'} (at least {at_least} claimed)"


def arguments(doc: str | None) -> argparse.ArgumentParser:
    """A parser with what all of them take."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="least time of each side, in seconds")
    parser.add_argument("--threads", type=int, default=1, help="of torch, both sides")
    return parser
