"""Time a launch on a GPU: events, warm-up, an emptied cache, the median of many.

What is timed is a function that queues work. A clock is anything with `seconds`,
so that a test can put its own in place of the GPU's.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

Work = Callable[[], object]


class Clock(Protocol):
    """Runs `before`, then `run`, and returns the seconds that `run` took."""

    def seconds(self, run: Work, before: Work | None = None) -> float:
        """Seconds of one run; what `before` does is not counted."""
        ...


@dataclass(frozen=True)
class Timing:
    """The median of `repeats` runs in seconds, and the quartiles beside it."""

    median: float
    lower: float
    upper: float
    repeats: int


class EventClock:
    """CUDA events on the current stream; the L2 cache is emptied before each run.

    A buffer of four times the L2 cache, and of 1 GB at least, is overwritten before
    the first event, four times: no input is found in the cache, and the GPU is busy
    for a millisecond, in which the launches that follow are queued, so that the time
    between the events holds no time of the CPU.
    """

    def __init__(self, cupy: Any = None) -> None:
        if cupy is None:
            import cupy  # pyright: ignore[reportMissingImports]
        self._cupy = cupy
        runtime = cupy.cuda.runtime
        device = cupy.cuda.Device().id
        cache = int(runtime.deviceGetAttribute(runtime.cudaDevAttrL2CacheSize, device))
        self._buffer = cupy.empty(max(4 * cache, 1 << 30) // 4, "i4")
        self._start, self._stop = cupy.cuda.Event(), cupy.cuda.Event()
        self._turn = 0

    def seconds(self, run: Work, before: Work | None = None) -> float:
        """Seconds between two events around what `run` queues."""
        if before is not None:
            before()
        self._turn += 1
        for _ in range(4):
            self._buffer.fill(self._turn)
        self._start.record()
        run()
        self._stop.record()
        self._stop.synchronize()
        elapsed = self._cupy.cuda.get_elapsed_time(self._start, self._stop)
        return 1e-3 * float(elapsed)


def measure(
    clock: Clock,
    run: Work,
    before: Work | None = None,
    *,
    repeats: int = 50,
    warmup: int = 3,
    budget: float = 1.0,
) -> Timing:
    """The median of many runs, after some that do not count.

    Args:
        run: queues the work; before: what must be done again for each run, such as
            to clear a counter.
        repeats: runs that count; fewer, but five at least, when they would take
            more than `budget` seconds, and one when a single run does.
        warmup: runs before them, until one takes longer than `budget`.

    Raises ValueError unless repeats ≥ 1 and warmup ≥ 1, and when a clock gives a
    time that is not above 0.
    """
    for name, value in (("repeats", repeats), ("warmup", warmup)):
        if value < 1:
            raise ValueError(f"{name}: 1 or more, got {value}")
    last = 0.0
    for _ in range(warmup):
        last = clock.seconds(run, before)
        if last > budget:
            break
    if last > 0:
        least = 5 if last <= budget else 1
        repeats = min(repeats, max(least, int(budget / last)))
    times = sorted(clock.seconds(run, before) for _ in range(repeats))
    if not times[0] > 0:
        raise ValueError(f"clock: a time above 0 is needed, got {times[0]}")
    middle = statistics.median(times)
    if repeats == 1:
        return Timing(middle, middle, middle, 1)
    lower, _, upper = statistics.quantiles(times, n=4, method="inclusive")
    return Timing(middle, lower, upper, repeats)
