"""Turn the status page of a failed launch into words."""

from __future__ import annotations

import signal
from typing import Any

import numpy as np

from cuda_labs.errors import KernelError
from cuda_labs.sim import build, elf, unit, wire
from cuda_labs.sim.display import counted
from cuda_labs.sim.variables import plain_name

_KINDS = {
    1: "assert",
    2: "trap",
    3: "out of bounds",
    4: "misaligned",
    5: "barrier divergence",
    6: "deadlock",
    7: "warp mask",
    8: "warp width",
    9: "inactive lane",
    10: "shift",
    11: "division",
    12: "conversion",
    13: "out of bounds",
    15: "null pointer",
    16: "stack overrun",
    18: "asynchronous copy",
    19: "not arrived",
    20: "constant memory",
}
_STACK = 256 << 10
_DYNAMIC_MAX = 227 << 10
_WHOLE_BLOCK = {5, 6}


def explain(
    death: wire.Died,
    built: build.Built,
    args: tuple[Any, ...],
    placed: dict[int, int],
    timeout: float,
    shared_mem: int,
) -> KernelError:
    """The error to raise for a launch whose process ended."""
    status = death.status
    line = status.line or None
    if line is None and any(status.pc):
        lines = elf.lines_of(built.path, unit.SOURCE_NAME)
        line = next((found for pc in status.pc if (found := lines(pc))), None)
    if death.late or status.outcome == 5:
        kind = "deadline"
        message = f"the launch ran for more than {timeout:g} s; pass timeout= for more"
    elif status.outcome == 4:
        kind, message = _signal(status)
    elif status.outcome == 3:
        kind = _KINDS.get(status.kind, "finding")
        message = _finding(status, built, args, placed, shared_mem)
        if status.kind in _WHOLE_BLOCK:
            return KernelError(kind, message, line, status.block, None)
    else:
        kind, message = "crash", "the helper process ended without a report"
    return KernelError(kind, message, line, status.block, status.thread)


def _signal(status: wire.Status) -> tuple[str, str]:
    number = status.signal
    if number == signal.SIGFPE:
        return "division", "integer division by zero, or of the least integer by -1"
    low = status.stack
    if number == signal.SIGSEGV and low - 8192 <= status.address < low + 256:
        return (
            "stack overflow",
            f"a thread's local memory exceeds {_STACK >> 10} KB: "
            "endless recursion, or a local array too large",
        )
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = str(number)
    if number not in (signal.SIGSEGV, signal.SIGBUS):
        return "signal", name
    return "signal", f"{name} at address {status.address:#x}"


def _finding(
    status: wire.Status,
    built: build.Built,
    args: tuple[Any, ...],
    placed: dict[int, int],
    shared_mem: int,
) -> str:
    text = status.text
    access = f"{text} of {counted(status.bytes, 'byte')}"
    fixed = {
        1: f"assertion failed: {text}",
        2: text,
        5: f"__syncthreads is not reached by all threads at one place: {text}",
        6: f"no thread can go on: {text}",
        10: f"shift by {text}: a GPU gives 0 (or the sign), a CPU does not",
        11: "integer division by zero",
        12: "a float out of the integer's range: a GPU saturates, a CPU does not",
        13: f"index {text} lies outside the array",
        15: f"{access} through a null pointer",
        16: "a local array was written beyond its end",
    }
    if status.kind in fixed:
        return fixed[status.kind]
    if status.kind == 4:
        return f"{access} at an address that is no multiple of {status.bytes}"
    if status.kind == 3:
        return f"{access} {_place(status, built, args, placed, shared_mem)}"
    if status.kind == 20:
        inside = status.address - status.image
        _, where = _variable(inside, (*built.image.device, *built.image.constant))
        return f"{access} {where}: a kernel only reads constant memory"
    if status.kind == 19:
        verb, _, begun = text.partition(" ")
        where = _place(status, built, args, placed, shared_mem)
        return (
            f"{verb} of {counted(status.bytes, 'byte')} {where}: the copy begun on "
            f"line {begun} has not yet arrived there; wait for it first"
        )
    return text


def _place(
    status: wire.Status,
    built: build.Built,
    args: tuple[Any, ...],
    placed: dict[int, int],
    shared_mem: int,
) -> str:
    """Where an invalid address lies, relative to the nearest thing known."""
    address = status.address
    inside = address - status.dynamic
    if -4096 <= inside < _DYNAMIC_MAX:
        return (
            f"at byte {inside} of dynamic shared memory, of which the launch "
            f"gives {counted(shared_mem, 'byte')} (shared_mem=)"
        )
    inside = address - status.image
    known = (*built.image.shared, *built.image.device)
    if 0 <= inside < built.image.size:
        return _variable(inside, known)[1]
    best = _variable(inside, known)
    for position, at in placed.items():
        array = np.asarray(args[position])
        start = status.arena + at
        gap = max(start - address, address + status.bytes - start - array.nbytes)
        index = (address - start) // array.itemsize
        words = (
            f"at element {index} of argument {position + 1}, "
            f"which has {counted(array.size, 'element')}"
        )
        best = min(best, (gap, words))
    if best[0] > 1 << 40:
        return f"at {address:#x}, which belongs to no argument"
    return best[1]


def _variable(offset: int, known: tuple[elf.Variable, ...]) -> tuple[int, str]:
    """Distance of an offset in the object to its nearest variable, in words."""
    best = (1 << 62, "outside the kernel's variables")
    for v in known:
        gap = max(v.offset - offset, offset - v.offset - v.size, 0)
        name, held = plain_name(v.name), counted(v.size, "byte")
        words = f"at byte {offset - v.offset} of {name}, which has {held}"
        best = min(best, (gap, words))
    return best
