"""The rows of gpu.py: each rung, checked and timed, beside the library's functions.

A kernel that fails or is wrong gives a row that says so, and the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import gpu_attention
import gpu_library
import numpy as np
from gpu_report import Row

from cuda_labs import Kernel, bench, ladders, roofline, work
from cuda_labs.clock import Clock, Timing, measure
from cuda_labs.roofline import Machine

# Operations that the float64 reference may take at most; that of attention holds
# whole matrices of scores.
REFERENCE_LIMIT = {"attention": 1e10}
DEFAULT_LIMIT = 3e11
# Rungs of matmul that are measured in bfloat16 too; their sums are float either way.
SHORT = {"07_mma", "08_wgmma"}


@dataclass(frozen=True)
class Bench:
    """Where things run: the clock, the machine's roofs, and who moves an array there.

    shapes: the sizes to time for a rung; attention: those of its parts; options:
    those of `clock.measure`; alive: whether anything can still run there.
    """

    clock: Clock
    machine: Machine
    mover: Callable[[Any], Any]
    shapes: Callable[[ladders.Rung], tuple[tuple[int, ...], ...]]
    attention: gpu_attention.Shapes
    options: dict[str, Any]
    alive: Callable[[], bool] = lambda: True


def parts() -> list[str]:
    """Every ladder, and every rung in inline PTX by itself."""
    found: list[str] = []
    for name in ladders.operations():
        plain = ladders.rungs(name)
        found.append(name)
        found += [
            f"{name}:{rung}"
            for rung in ladders.rungs(name, gpu_only=True)
            if rung not in plain
        ]
    return [*found, *gpu_attention.PARTS]


def known(part: str) -> bool:
    """Whether there is such a part: one of `parts()`, or any rung by itself."""
    operation, _, rung = part.partition(":")
    return part in parts() or (
        operation in ladders.operations()
        and rung in ladders.rungs(operation, gpu_only=True)
    )


def rungs_of(part: str) -> tuple[str, list[str]]:
    """The operation of a part and its rungs."""
    operation, _, rung = part.partition(":")
    return operation, [rung] if rung else list(ladders.rungs(operation))


def run(part: str, there: Bench) -> Iterator[Row]:
    """Measure a part; what fails gives a row that says how.

    After an error that breaks the device's context nothing runs in this process any
    more: the rungs that are left say whose error it was.
    """
    if part in gpu_attention.PARTS:
        yield from whole(part, there)
        return
    operation, names = rungs_of(part)
    broken = ""
    for name in names:
        rung = ladders.load(operation, name)
        reason = there.machine.refuses(ladders.least(operation, name))
        if broken:
            reason = f"after {broken} nothing runs: measure {operation}:{name}"
        if reason:
            yield {"operation": operation, "rung": name, "skipped": reason}
            continue
        variants = [rung, bfloat16(rung)] if name in SHORT else [rung]
        for variant in variants:
            for row in _rows(variant, there):
                yield row
                if "failed" in row and not there.alive():
                    broken = name
                    break
            if broken:
                break


def _rows(rung: ladders.Rung, there: Bench) -> Iterator[Row]:
    head: Row = {"operation": rung.operation.name, "rung": rung.name}
    try:
        worst = tested(rung, there)
    except Exception as error:  # a wrong kernel must not end the run
        yield head | {"failed": _words(error)}
        return
    for shape in there.shapes(rung):
        here = head | {"shape": list(shape)}
        try:
            yield here | {"worst of the tests": worst} | timed(rung, shape, there)
        except ValueError as error:  # a size that the rung does not take
            yield here | {"skipped": _words(error)}
        except Exception as error:
            yield here | {"failed": _words(error)}


def bfloat16(rung: ladders.Rung) -> ladders.Rung:
    """The rung built for bfloat16; its inputs are arrays of the bits, as uint16."""
    own = rung.operation

    def sample(shape: tuple[int, ...], rng: np.random.Generator) -> tuple[Any, ...]:
        return tuple(_bits(x) for x in own.sample(shape, rng))

    def judge(*bits: Any) -> tuple[Any, int, Any]:
        return own.judge(*((x.astype("u4") << 16).view("f4") for x in bits))

    kernel = Kernel(
        rung.kernel.source,
        rung.kernel.name,
        options=(*rung.kernel.options, "-DBF16"),
        arch=rung.kernel.arch,
    )
    operation = replace(own, sample=sample, judge=judge, rounds={})
    return replace(rung, kernel=kernel, operation=operation)


def _bits(x: Any) -> Any:
    """The upper halves of floats: bfloat16, rounded towards zero."""
    return (x.view("u4") >> 16).astype("u2")


def tested(rung: ladders.Rung, there: Bench) -> float:
    """The largest error over tolerance on the shapes of the tests."""
    worst = 0.0
    for shape in rung.shapes:
        inputs = rung.operation.sample(shape, np.random.default_rng(1))
        result = rung.run(*bench.moved(inputs, there.mover))
        worst = max(worst, rung.check(result, *inputs).worst)
    return worst


def timed(rung: ladders.Rung, shape: tuple[int, ...], there: Bench) -> Row:
    """A rung's row: its time, its place on the roofline, and the library's times."""
    host = bench.data(rung, shape)
    inputs = bench.moved(host, there.mover)
    plan = rung.operation.plan(rung.name, inputs)
    asked = work.of(rung, inputs, plan)
    name = rung.operation.name
    worst = None
    if asked.flops <= REFERENCE_LIMIT.get(name, DEFAULT_LIMIT):
        worst = rung.check(bench.launch(rung, plan), *host).worst
    del plan
    row = bench.timed(rung, shape, inputs, there.clock, there.machine, **there.options)
    dtype = str(next(x.dtype for x in inputs if getattr(x, "ndim", 0)))
    dtype = dtype.replace("uint16", "bfloat16")
    peers = gpu_library.peers(name, rung.name, inputs)
    return {"dtype": dtype, "worst": worst} | beside(
        row.timing, row.place, peers, there
    )


def whole(part: str, there: Bench) -> Iterator[Row]:
    """The rows of forward, backward or decoding as a whole."""
    worst = 0.0
    try:
        for case in gpu_attention.cases(part, gpu_attention.TINY, there.mover):
            found = gpu_attention.agrees(case.run(), case.exact(), case.dtype)
            worst = max(worst, found)
        for case in gpu_attention.cases(part, there.attention, there.mover):
            timing = measure(there.clock, case.run, **there.options)
            place = roofline.place(
                timing.median, case.nbytes, case.flops, there.machine, case.unit
            )
            yield {
                "operation": part,
                "rung": case.name,
                "shape": list(case.shape),
                "dtype": case.dtype,
                "worst of the tests": worst,
            } | beside(timing, place, case.peers, there)
    except Exception as error:
        yield {"operation": part, "rung": "", "failed": _words(error)}


def beside(
    timing: Timing, place: roofline.Place, peers: gpu_library.Peers, there: Bench
) -> Row:
    """A time and its place, with the times of the peers and the best of them."""
    found: dict[str, float] = {}
    lost: dict[str, str] = {}
    for name, peer in peers.items():
        try:
            found[name] = measure(there.clock, peer, **there.options).median
        except Exception as error:  # out of memory, say: our own row stays
            lost[name] = _words(error)
    best = min(found, key=lambda name: found[name], default=None)
    return {
        **asdict(timing),
        "GB/s": place.bytes_rate / 1e9,
        "TFLOP/s": place.flop_rate / 1e12,
        "FLOP/byte": place.intensity,
        "bound": place.bound,
        "of roof": place.share,
        "library": best,
        "fraction": found[best] / timing.median if best else None,
        "peers": found,
    } | ({"peers that failed": lost} if lost else {})


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
