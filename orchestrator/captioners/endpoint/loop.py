"""An event loop in a thread, for a captioner whose calls are synchronous. Knows nothing of what runs on it."""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from concurrent.futures import CancelledError
from typing import Any

import httpx2

from orchestrator.captioners.protocol import Answer


class LoopThread:
    """An event loop in a thread of its own: works whether or not the caller's thread has one, and outlives a call."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="endpoint", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, list[list[Answer]]]) -> list[list[Answer]]:
        """The result; an interrupt cancels the work."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self, client: httpx2.AsyncClient) -> None:
        """Close connections and loop; called when the captioner is gone, or at the end of the process."""
        if threading.current_thread() is not self._thread:

            async def finish() -> None:
                await client.aclose()
                await self._loop.shutdown_default_executor()

            with contextlib.suppress(TimeoutError, CancelledError):  # the process is ending: sockets close with it
                asyncio.run_coroutine_threadsafe(finish(), self._loop).result(timeout=5)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout=5)
            if not self._loop.is_running():
                self._loop.close()
        else:
            self._loop.stop()
