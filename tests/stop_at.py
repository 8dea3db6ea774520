"""A notice that stops a training after so many steps."""

from orchestrator.training.notice import Wish


class StopAt:
    """Asks for a checkpoint and the end once `num_steps` steps are made."""

    def __init__(self, num_steps: int) -> None:
        self._left = num_steps

    def __call__(self) -> Wish:
        self._left -= 1
        return Wish.STOP if self._left == 0 else Wish.GO_ON
