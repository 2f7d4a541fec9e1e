"""What a lane does: loads and stores, conditions, and the way that led there.

Kernels are trees of statements; each knows its text in CUDA C and how one lane
executes it. What is noted of an access is what its count is made of: its line, its
bytes, and in which calls and in which iteration of each loop it was made. Expressions
are C and Python at once: unsigned values, cut to 32 bits before anything but a sum or
a product is made of them.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

M = 0xFFFFFFFF
VECTORS = {"uint2": 8, "float2": 8, "uint4": 16, "float4": 16}
SCALARS = {"unsigned char": 1, "unsigned short": 2, "unsigned": 4, "big": 8}
WIDTH = {**SCALARS, **VECTORS}
SHARED = "SOQC"
Run = Generator[Any, int, str]


@lru_cache(maxsize=100000)
def _code(text: str) -> Any:
    return compile(text, "expression", "eval")


HEAD = """typedef unsigned long long big;
#define FN __device__ __forceinline__
FN unsigned bits(unsigned v) { return v; }
FN unsigned bits(big v) { return v + 3 * (v >> 32); }
FN unsigned bits(uint2 v) { return v.x + 3 * v.y; }
FN unsigned bits(uint4 v) { return v.x + 3 * v.y + 5 * v.z + 7 * v.w; }
FN unsigned bits(float2 v) { return bits(*(uint2*)&v); }
FN unsigned bits(float4 v) { return bits(*(uint4*)&v); }
template <class K> struct as { static FN K of(unsigned h) { return h; } };
template <> struct as<big> { static FN big of(unsigned h) {
  return h | (big)(h + 1) << 32; } };
template <> struct as<uint2> { static FN uint2 of(unsigned h) {
  return make_uint2(h, h + 1); } };
template <> struct as<uint4> { static FN uint4 of(unsigned h) {
  return make_uint4(h, h + 1, h + 2, h + 3); } };
template <> struct as<float2> { static FN float2 of(unsigned h) {
  uint2 v = as<uint2>::of(h); return *(float2*)&v; } };
template <> struct as<float4> { static FN float4 of(unsigned h) {
  uint4 v = as<uint4>::of(h); return *(float4*)&v; } };
"""
ARRAYS = "unsigned* X, unsigned* Y, unsigned* Z, unsigned* A"
TAKES = f"unsigned h, unsigned t, unsigned g, unsigned a, {ARRAYS}, "
TAKES += "unsigned* S, unsigned* O, unsigned* Q, unsigned* C"
GIVES = "h, t, g, {}, X, Y, Z, A, S, O, Q, C"
START = ("(g * 40503u) >> 3", "12345u", "t >> 3", "(t & 3) * 77777u + a")


@dataclass
class Lane:
    """One thread: its variables, where it is, and what it has accessed."""

    var: dict[str, int]
    memory: dict[str, bytearray]
    log: list[tuple[Any, ...]]
    edges: set[tuple[Any, Any, bool]]
    calls: tuple[Any, ...] = ()  # each with the iterations of the loops around it
    loops: tuple[tuple[Any, int], ...] = ()  # of this call: loop and iteration
    last: Any = None

    def value(self, text: str) -> int:
        return eval(_code(text), None, self.var) & M

    def at(self, node: Any, again: bool = False) -> None:
        """Go on to a statement: an edge of the function's graph of flow."""
        self.edges.add((self.last, node, again))
        self.last = node


class Node:
    """A statement: `emit` writes it, `run` returns how it ends ("" is as usual)."""

    line = 0

    def write(self, out: list[str], text: str) -> None:
        out.append(text)
        self.line = len(out)


def bits(raw: bytearray) -> int:
    words = [int.from_bytes(raw[i : i + 4], "little") for i in range(0, len(raw), 4)]
    return sum((2 * i + 1) * w for i, w in enumerate(words)) & M


@dataclass(eq=False)
class Access(Node):
    """A load, a store, a sum in place or an atomic sum."""

    how: str
    array: str
    kind: str
    index: str
    volatile: bool = False

    def text(self) -> str:
        k, way = self.kind, "volatile " if self.volatile else ""
        p = f"(({way}{k}*){self.array})[{self.index}]"
        cast = f"({k if WIDTH[k] > 3 else 'unsigned'})"
        return {
            "load": f"bits({'' if k in VECTORS else cast}{p})",
            "store": f"{p} = as<{k}>::of(h);",
            "sum": f"{p} += h;",
            "atomic": f"atomicAdd(&{p}, h & 255);",
        }[self.how]

    def fence(self, end: str) -> str:
        """For compilers: what is not volatile they may else join, move or drop."""
        return "" if self.volatile else f"__threadfence_block(){end} "

    def emit(self, out: list[str]) -> None:
        text = f"h = h * 5u + {self.text()};" if self.how == "load" else self.text()
        self.write(out, self.fence(";") + text)

    def note(self, lane: Lane, kind: str, array: str, at: int, width: int) -> None:
        space = "shared" if array in SHARED else "global"
        way = (*lane.calls, (self, lane.loops))
        lane.log.append((f"{space} {kind}", way, array, at, width))

    def load(self, lane: Lane) -> int:
        """Carry it out; what was loaded, as a number."""
        lane.at(self)
        width, h, words = WIDTH[self.kind], lane.var["h"], 0
        at = lane.value(self.index) * width
        data, here = lane.memory[self.array], slice(at, at + width)
        old = int.from_bytes(data[here], "little")
        if self.how == "atomic":
            self.note(lane, "atomic", self.array, at, width)
            data[here] = (old + (h & 255) & M).to_bytes(4, "little")
            return 0
        if self.how in ("load", "sum"):
            self.note(lane, "load", self.array, at, width)
            words = bits(data[here])
        if self.how == "sum":
            data[here] = (old + h & (1 << 8 * width) - 1).to_bytes(width, "little")
        if self.how == "store":
            new = b"".join((h + i & M).to_bytes(4, "little") for i in range(4))
            data[here] = new[:width]
        if self.how != "load":
            self.note(lane, "store", self.array, at, width)
        return words

    def run(self, lane: Lane) -> Run:
        words = self.load(lane)
        if self.how == "load":
            lane.var["h"] = (lane.var["h"] * 5 + words) & M
        return ""
        yield


@dataclass(eq=False)
class Test(Node):
    """A condition: an expression, a load, or a load only where the former holds."""

    pure: str
    access: Access | None = None

    def emit(self, out: list[str], before: str, after: str) -> None:
        out.append(before + (f"({self.pure})" if self.pure else ""))
        if self.access:
            both = " && " if self.pure else ""
            self.access.write(
                out, f"{both}({self.access.fence(',')}{self.access.text()} & 3)"
            )
        out[-1] += after

    def holds(self, lane: Lane) -> bool:
        lane.at(self)
        if self.pure and not lane.value(self.pure):
            return False
        return self.access is None or bool(self.access.load(lane) & 3)


def emit_all(body: list[Any], out: list[str]) -> None:
    for node in body:
        node.emit(out)


def run_all(body: list[Any], lane: Lane) -> Run:
    for node in body:
        how = yield from node.run(lane)
        if how:
            return how
    return ""
