"""When a training's process had reached what on the way to its first step.

Holds a small clock. Reads and writes nothing. Knows nothing of models or of drivers.
"""

import time

BEGUN, FIRST_STEP = "begun", "first_step"
FIRST_STEP_S = "speed/first_step_s"


class Moments:
    """By what was reached, in order: `begun`, `data`, `student`, `first_batch`, `first_step`.

    Attributes:
        at: seconds since 1970.
        processor_s: seconds of processor time that this process had taken by then, its imports among them.
    """

    def __init__(self) -> None:
        self.at: dict[str, float] = {}
        self.processor_s: dict[str, float] = {}
        self._is_told = False
        self.reached(BEGUN)

    def reached(self, name: str) -> None:
        """Note the moment, of the first time alone."""
        if name not in self.at:
            self.at[name], self.processor_s[name] = time.time(), time.process_time()

    def told_once(self) -> dict[str, float]:
        """The metric of a process's first epoch: seconds from the begin to the first optimiser step."""
        if self._is_told:
            return {}
        self._is_told = True
        return {FIRST_STEP_S: self.at[FIRST_STEP] - self.at[BEGUN]}
