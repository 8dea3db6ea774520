"""What a client may ask of an endpoint: so many requests and tokens a minute, and so much money.

Pure arithmetic on given times. The usual limiter libraries can neither give back what was reserved too much nor go into
debt for what was reserved too little, and the tokens of an answer are known only afterwards. Knows nothing of HTTP.
"""

from dataclasses import dataclass, field

BURST_S = 1.0  # an idle bucket holds one second's worth, so that a minute exceeds its limit by 1/60 at most


@dataclass
class RateLimit:
    """A token bucket that is reserved from before the amount is known and corrected afterwards.

    Args:
        per_minute: the rate; None limits nothing.
        smallest_burst: what the bucket holds at least: one request must always fit.
    """

    per_minute: float | None
    smallest_burst: float = 1.0
    _level: float = field(init=False)
    _last_s: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._level = self._capacity

    @property
    def _rate(self) -> float:
        return (self.per_minute or 0.0) / 60.0

    @property
    def _capacity(self) -> float:
        return max(self.smallest_burst, self._rate * BURST_S)

    def reserve(self, amount: float, now_s: float) -> float:
        """Take `amount` at time `now_s` of a monotonic clock; the seconds to wait before using it, in turn."""
        if self.per_minute is None:
            return 0.0
        elapsed = now_s - (self._last_s if self._last_s is not None else now_s)
        self._level = min(self._capacity, self._level + elapsed * self._rate)
        self._last_s = now_s
        lacking = max(0.0, min(amount, self._capacity) - self._level)  # an amount beyond the capacity goes into debt
        self._level -= amount
        return lacking / self._rate

    def correct(self, reserved: float, used: float) -> None:
        """Say how much a reservation really used: the next ones wait more, or less."""
        self._level += reserved - used


@dataclass
class Expected:
    """The mean tokens of the answers so far: what is reserved for a request before its answer is known."""

    first: float
    _total: float = 0.0
    _count: int = 0

    @property
    def tokens(self) -> float:
        """For the next request; `first` before any answer."""
        return self._total / self._count if self._count else self.first

    def add(self, tokens: float) -> None:
        """Count an answer."""
        self._total += tokens
        self._count += 1


@dataclass
class Budget:
    """Money: no request is begun that could exceed the maximum, if none costs more than the dearest one so far.

    Before the first answer nothing is known of costs, so the requests in flight by then may exceed it.
    """

    max_cost_usd: float | None
    spent_usd: float = 0.0
    _in_flight: int = 0
    _dearest_usd: float = 0.0

    def begin(self) -> bool:
        """Whether another request may be sent; if so, it must be ended with `end`."""
        if self.max_cost_usd is not None:
            known = self.spent_usd + (self._in_flight + 1) * self._dearest_usd
            if known > self.max_cost_usd * (1 + 1e-9) or self.spent_usd >= self.max_cost_usd:
                return False
        self._in_flight += 1
        return True

    def end(self, cost_usd: float) -> None:
        """A request ended; 0 when nothing was charged."""
        self._in_flight -= 1
        self.spent_usd += cost_usd
        self._dearest_usd = max(self._dearest_usd, cost_usd)
