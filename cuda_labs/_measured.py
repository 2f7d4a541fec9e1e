"""One rung: its time and its place on the roofline, or its counters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from cuda_labs import roofline, work
from cuda_labs.clock import Clock, Timing, measure
from cuda_labs.ladders import Rung
from cuda_labs.plans import Plan
from cuda_labs.roofline import Machine, Place
from cuda_labs.sim.profile import Access

Shape = tuple[int, ...]
Mover = Callable[[Any], Any]


@dataclass(frozen=True)
class Timed:
    """A rung's time for a shape, and where that stands on the roofline."""

    rung: Rung
    shape: Shape
    timing: Timing
    place: Place


@dataclass(frozen=True)
class Counted:
    """A rung's counters, summed over its launches.

    access: by kind, such as "global load"; asked: bytes of the sectors that global
    loads and stores touch; intensity: operations for each of them.
    """

    rung: Rung
    shape: Shape
    access: dict[str, Access]
    asked: int
    intensity: float


def data(rung: Rung, shape: Shape, seed: int = 0) -> tuple[Any, ...]:
    """Inputs of a rung in the dtype that it takes, in the memory of the CPU."""
    drawn = _drawn(rung.operation.sample, shape, seed)
    dtype = rung.operation.rounds.get(rung.name)
    if dtype is None:
        return drawn
    return tuple(x.astype(dtype) if getattr(x, "ndim", 0) else x for x in drawn)


@lru_cache(maxsize=2)  # every rung of a ladder is timed on the same data
def _drawn(sample: Any, shape: Shape, seed: int) -> tuple[Any, ...]:
    return sample(shape, np.random.default_rng(seed))


def moved(inputs: tuple[Any, ...], mover: Mover) -> tuple[Any, ...]:
    """The arrays among `inputs` where `mover` puts them, values as they are."""
    return tuple(mover(x) if getattr(x, "ndim", 0) else x for x in inputs)


def launch(rung: Rung, plan: Plan) -> Any:
    """Queue the launches of a plan; returns its output."""
    for step in plan.launches:
        rung.kernel(step.grid, step.block, step.args, step.shared_mem)
    return plan.output


def timed(
    rung: Rung,
    shape: Shape,
    inputs: tuple[Any, ...],
    clock: Clock,
    machine: Machine,
    **options: Any,
) -> Timed:
    """Time a rung; a fresh plan, with cleared counters, before every run.

    options: those of `clock.measure`. Raises ValueError for a shape that the rung
    does not take.
    """
    plans = [rung.operation.plan(rung.name, inputs)]
    asked = work.of(rung, inputs, plans[0])

    def before() -> None:
        plans[0] = rung.operation.plan(rung.name, inputs)

    timing = measure(clock, lambda: launch(rung, plans[0]), before, **options)
    place = roofline.place(
        timing.median, asked.nbytes, asked.flops, machine, asked.unit
    )
    return Timed(rung, shape, timing, place)


def counted(rung: Rung, shape: Shape) -> Counted:
    """Count a rung's accesses on the simulator.

    Raises RuntimeError when the kernel has a finding: its counts mean nothing then.
    """
    inputs = data(rung, shape)
    plan = rung.operation.plan(rung.name, inputs)
    asked = work.of(rung, inputs, plan)
    access: dict[str, Access] = {}
    sectors = 0
    for step in plan.launches:
        profile = rung.kernel.profile(step.grid, step.block, step.args, step.shared_mem)
        if profile.errors:
            raise RuntimeError(f"{rung.name}: {profile.errors[0]}")
        for line in profile.lines.values():
            for kind, found in line.access.items():
                access.setdefault(kind, Access()).add(found)
        sectors += profile.requested_bytes // 32
    bytes_ = 32 * sectors
    return Counted(rung, shape, access, bytes_, asked.flops / bytes_ if bytes_ else 0.0)
