"""Time and roofline of every rung on a GPU, or its counters on a CPU.

    python -m cuda_labs.bench                    every ladder
    python -m cuda_labs.bench matmul transpose   some of them
    python -m cuda_labs.bench matmul --cpu       counters, also where there is a GPU

On a GPU: the median time of many runs with an empty cache, what that is in bytes and
operations a second, and its share of the roof, which is measured (a copy) or follows
from the device (arithmetic). On a CPU the simulator counts what the profiler of a
GPU would: nothing there is a time.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Any

from cuda_labs import ladders, roofline, work
from cuda_labs._measured import (
    Counted,
    Mover,
    Timed,
    counted,
    data,
    launch,
    moved,
    timed,
)
from cuda_labs.clock import Clock, EventClock
from cuda_labs.roofline import Machine
from cuda_labs.sim.profile import Access

__all__ = [
    "Counted",
    "Timed",
    "counted",
    "cpu_lines",
    "data",
    "describe",
    "gpu",
    "gpu_lines",
    "launch",
    "main",
    "moved",
    "timed",
]


def gpu_lines(
    operation: str, clock: Clock, machine: Machine, mover: Mover
) -> Iterator[str]:
    """A table of a ladder's times."""
    names = ladders.rungs(operation, gpu_only=True)
    taken = {name: work.sizes(ladders.load(operation, name)).gpu for name in names}
    for shape in dict.fromkeys(shape for shapes in taken.values() for shape in shapes):
        yield f"{operation} {shape}"
        yield (
            f"  {'rung':18}{'time':>12}{'GB/s':>9}{'TFLOP/s':>9}{'FLOP/B':>8}"
            f"{'bound':>9}{'of roof':>9}"
        )
        for name in names:
            if shape not in taken[name]:
                continue
            rung = ladders.load(operation, name)
            reason = machine.refuses(ladders.least(operation, name))
            if reason:
                yield f"  {name:18}{'-':>12}   {reason}"
                continue
            try:
                row = timed(
                    rung, shape, moved(data(rung, shape), mover), clock, machine
                )
            except ValueError as error:
                yield f"  {name:18}{'-':>12}   {error}"
                continue
            at, microseconds = row.place, 1e6 * row.timing.median
            yield (
                f"  {name:18}{microseconds:9.1f} µs{at.bytes_rate / 1e9:9.0f}"
                f"{at.flop_rate / 1e12:9.2f}{at.intensity:8.2f}{at.bound:>9}"
                f"{at.share:9.2f}"
            )
        yield ""


def cpu_lines(operation: str) -> Iterator[str]:
    """A table of a ladder's counters."""
    names = ladders.rungs(operation)
    shape = work.sizes(ladders.load(operation, names[0])).cpu
    yield f"{operation} {shape}, counted on the simulator"
    yield (
        f"  {'rung':18}{'requests':>9}{'sectors':>9}{'each':>7}{'wavefronts':>11}"
        f"{'conflicts':>10}{'atomics':>9}{'KB asked':>10}{'FLOP/B':>8}"
    )
    for name in names:
        rung = ladders.load(operation, name)
        try:
            row = counted(rung, shape)
        except ValueError as error:
            yield f"  {name:18}   {error}"
            continue
        memory, shared = _both(row, "global"), _both(row, "shared")
        each = memory.sectors / memory.requests if memory.requests else 0.0
        atomics = sum(
            found.requests for kind, found in row.access.items() if "atomic" in kind
        )
        yield (
            f"  {name:18}{memory.requests:9}{memory.sectors:9}{each:7.2f}"
            f"{shared.wavefronts:11}{shared.wavefronts - shared.ideal_wavefronts:10}"
            f"{atomics:9}{row.asked / 1e3:10.1f}{row.intensity:8.3f}"
        )
    apart = sorted(
        set(ladders.rungs(operation, gpu_only=True)) - set(ladders.rungs(operation))
    )
    for name in apart:
        yield f"  {name:18}   inline PTX: on a GPU only"
    yield ""


def _both(row: Counted, space: str) -> Access:
    both = Access()
    for kind in (f"{space} load", f"{space} store"):
        both.add(row.access.get(kind, Access()))
    return both


def gpu() -> Any:
    """CuPy when it is installed and finds a GPU, else None."""
    try:
        import cupy  # pyright: ignore[reportMissingImports]

        return cupy if cupy.cuda.runtime.getDeviceCount() > 0 else None
    except Exception:  # not installed, no driver, no device: each in its own way
        return None


def describe(machine: Machine) -> str:
    """A machine and its roofs in one line."""
    parts = [machine.name, f"copy {machine.bandwidth / 1e12:.2f} TB/s"]
    for unit, name in (("fp32", "float"), ("tensor", "tensor cores")):
        peak = machine.peak(unit)
        parts += (
            [f"{name} {peak / 1e12:.0f} TFLOP/s at the highest clock"] if peak else []
        )
    return ", ".join(parts)


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    known = ladders.operations()
    parser = argparse.ArgumentParser(
        prog="python -m cuda_labs.bench", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("operations", nargs="*", help=f"of {', '.join(known)}")
    parser.add_argument("--cpu", action="store_true", help="counters, not times")
    options = parser.parse_args(arguments)
    chosen = options.operations or list(known)
    for name in chosen:
        if name not in known:
            parser.error(f"there is no {name!r}; there are {', '.join(known)}")
    cupy = None if options.cpu else gpu()
    if cupy is None:
        for name in chosen:
            print("\n".join(cpu_lines(name)), flush=True)
        return 0
    clock = EventClock(cupy)
    machine = roofline.of_device(clock, cupy)
    print(describe(machine) + "\n")
    for name in chosen:
        for line in gpu_lines(name, clock, machine, cupy.asarray):
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
