"""Which engine an execution asks for. Ray is imported only when it is the one."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.config.execution import Execution
    from orchestrator.executors.protocol import Executor


def open_executor(execution: "Execution") -> "Executor":
    """The engine, open; the caller closes it."""
    if execution.engine == "in_process":
        from orchestrator.executors.in_process import InProcessExecutor

        return InProcessExecutor()
    from orchestrator.on_ray.executor import RayExecutor

    return RayExecutor(execution)
