"""What a profiled launch found wrong, or worth a note, in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cuda_labs.sim import build, unit

_NOTES = {
    1: "race",
    2: "equal writes",
    3: "uninitialised",
    4: "exited before a barrier",
    5: "counts split",
    6: "not tracked",
    7: "checked by atomicCAS",
    8: "not arrived",
    9: "active lanes",
    10: "counts cut",
    11: "not tracked to the end",
}
_DYNAMIC_FLAG, _GLOBAL_FLAG = 1 << 40, 1 << 41
# Position, offset in the shared file, bytes and element size of the arrays.
Arrays = list[tuple[int, int, int, int]]


@dataclass(frozen=True)
class Finding:
    """Something wrong, or worth a note, with its line.

    kind: such as "race"; line: of the access; other_line: of the access that it
    conflicts with; block and threads: the first time it was seen; count: how
    often; fatal: whether the launch ended there.
    """

    kind: str
    message: str
    line: int | None
    other_line: int | None = None
    block: tuple[int, int, int] | None = None
    threads: tuple[int, ...] = ()
    count: int = 1
    fatal: bool = False

    def __str__(self) -> str:
        # The message of a launch that ended says line, block and thread itself.
        where = f"line {self.line}: " if self.line and not self.fatal else ""
        times = f" ({self.count} times)" if self.count > 1 else ""
        return f"{where}{self.message}{times}"


def in_words(
    f: tuple[int, ...],
    line: Callable[[int], int],
    built: build.Built,
    arrays: Arrays,
) -> Finding:
    """A record of the launcher (`struct Found`) told with names and lines.

    line: the source line of a place in the object; arrays: the arguments in
    memory, for accesses that are named by argument and element.
    """
    kind = _NOTES[f[0]]
    at, other = line(f[1]) or None, line(f[2]) or None
    first, second, store, other_store = f[7], f[8], f[9], f[10]
    where = _where(f[12], built, arrays)
    # Blocks are named where two of them meet: by number, as the other one is known.
    there = f" of block number {f[11] - 1}" if f[11] else ""
    flat = f"number {f[4]}" if f[5] == f[6] == 0 else f"{(f[4], f[5], f[6])}"
    here = f" of block {flat}" if f[11] else ""
    verb = ("loads", "stores to", "loads", "changes")
    messages = {
        "race": f"thread {first}{here} {verb[store]} {where} while thread "
        f"{second}{there} {verb[other_store]} it on line {other}, and nothing "
        "orders the two",
        "equal writes": f"threads {first} and {second}{there} store the same value "
        f"to {where}",
        "uninitialised": f"thread {first} loads {where}, which nothing has written",
        "exited before a barrier": "threads that have exited count as arrived",
        "counts split": "a lane came twice to one place in one iteration; "
        "the counts of this line are upper bounds",
        "counts cut": "over a million requests of the block were incomplete at "
        "once; the counts of this line are upper bounds",
        "not tracked to the end": "races are tracked among the first three billion "
        "accesses of a launch",
        "not tracked": "races are tracked in the first 32 MB of global memory "
        "that a launch touches, 8 MB where it touches less than words",
        "not arrived": f"thread {first} {verb[store]} {where}, to which the copy "
        f"begun on line {other} has not yet arrived: wait for it first",
        "active lanes": "the lanes that came here together: a GPU may name fewer",
        "checked by atomicCAS": "a plain load beside atomics, which atomicCAS "
        "then checks",
    }
    pair = (first, second) if kind in ("race", "equal writes") else (first,)
    if kind not in ("race", "equal writes", "not arrived"):
        other = None
    return Finding(kind, messages[kind], at, other, (f[4], f[5], f[6]), pair, f[3])


def _where(at: int, built: build.Built, arrays: Arrays) -> str:
    if at >= _GLOBAL_FLAG:
        for position, start, size, item in arrays:
            inside = at - _GLOBAL_FLAG - start
            if 0 <= inside < size:
                return f"element {inside // item} of argument {position + 1}"
        return "global memory"
    if at >= _DYNAMIC_FLAG:
        return f"byte {at - _DYNAMIC_FLAG} of dynamic shared memory"
    for v in built.image.shared:
        if v.offset <= at < v.offset + v.size:
            name = unit.local_name(v.name) or v.name
            return f"byte {at - v.offset} of {name}"
    return "shared memory"
