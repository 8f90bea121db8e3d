"""The pace of requests: so many a second, and none while the server asks to wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from math import isfinite

from placevec.errors import UsageError


class Stopped(Exception):
    """The crawl has ended while a thread waited for its turn."""


class Pace:
    """Gives threads their turns, at least `1 / per_second` apart.

    Args:
        per_second: requests a second, such as 0.5; `inf` for no limit.
        clock: seconds that never go back.
        sleep: waits for so many seconds; by default until `stop` at most.

    Raises:
        UsageError: the rate is not positive.
    """

    def __init__(
        self,
        per_second: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        if not per_second > 0.0:
            raise UsageError(f"a rate of {per_second:g} requests a second leads nowhere; give a positive number")
        self._gap = 1.0 / per_second if isfinite(per_second) else 0.0
        self._stopped = threading.Event()
        self._clock, self._sleep = clock, sleep or self._stopped.wait
        self._lock = threading.Lock()
        self._next = 0.0

    def wait(self) -> None:
        """Wait for a turn; raises Stopped if there is none any more."""
        while True:
            if self._stopped.is_set():
                raise Stopped
            with self._lock:
                now = self._clock()
                if now >= self._next:
                    self._next = now + self._gap
                    return
                left = self._next - now
            # Not asleep with the lock held: another thread may be told meanwhile to hold for longer.
            self._sleep(left)

    def hold(self, seconds: float) -> None:
        """Give no turn for so many seconds from now."""
        with self._lock:
            self._next = max(self._next, self._clock() + seconds)

    def pause(self, seconds: float) -> None:
        """Let the caller alone wait."""
        self._sleep(seconds)

    def stop(self) -> None:
        """Give no turn any more, and wake those who wait: their work is not wanted."""
        self._stopped.set()
