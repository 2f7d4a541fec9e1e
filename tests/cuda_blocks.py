"""Lanes together: warp collectives, barriers, and a kernel with all of its lanes.

Lanes share nothing but memory. What a lane stores to is its own, so any order of
lanes gives the same values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cuda_flow import Function
from cuda_lanes import (
    ARRAYS,
    HEAD,
    START,
    Access,
    Lane,
    M,
    Node,
    Run,
    emit_all,
    run_all,
)


@dataclass(eq=False)
class Meet(Node):
    """A collective or a barrier, where all lanes are; or of those where c holds."""

    what: str
    c: str = ""
    body: list[Any] | None = None

    def emit(self, out: list[str]) -> None:
        if self.what == "part":
            out.append(
                f"{{ unsigned m = __ballot_sync(~0u, {self.c}); if ({self.c}) {{"
            )
            out.append("h += __shfl_sync(m, h, __ffs(m) - 1);")
            emit_all(self.body or [], out)
            out.append("__syncwarp(m); } }")
        else:
            text = {
                "xor": "h += __shfl_xor_sync(~0u, h, 5);",
                "ballot": "h += __ballot_sync(~0u, h & 1);",
                "warp": "__syncwarp();",
                "block": "__syncthreads();",
            }
            out.append(text[self.what])

    def run(self, lane: Lane) -> Run:
        var = lane.var
        if self.what == "part":
            lane.at(self)
            holds = bool(lane.value(self.c))
            m = yield "ballot", M, holds
            if holds:
                lane.at((self, "in"))
                h = yield "first", m, var["h"]
                var["h"] = (var["h"] + h) & M
                how = yield from run_all(self.body or [], lane)
                assert not how
                yield "warp", m, 0
            lane.at((self, "out"))
        else:
            value = var["h"] & 1 if self.what == "ballot" else var["h"]
            h = yield self.what, M, value
            if self.what in ("xor", "ballot"):
                var["h"] = (var["h"] + h) & M
        return ""


def meet(waiting: dict[int, tuple[str, int, int]], alive: set[int]) -> dict[int, int]:
    """Results for the lanes of a block whose collective is complete."""
    if waiting.keys() == alive and {w[0] for w in waiting.values()} == {"block"}:
        return dict.fromkeys(alive, 0)
    done = {}
    for t, (what, mask, _) in waiting.items():
        first = t - t % 32
        party = [u for u in alive if u - u % 32 == first and mask >> (u - first) & 1]
        if what == "block" or any(
            waiting.get(u, ("", 0))[:2] != (what, mask) for u in party
        ):
            continue
        value = {u: waiting[u][2] for u in party}
        if what == "xor":
            done[t] = value[t ^ 5]
        elif what == "first":
            done[t] = value[min(value)]
        else:
            done[t] = sum(1 << u - first for u in party if value[u])
    return done


@dataclass
class Program:
    """A kernel, and the truth about it."""

    functions: list[Function]
    body: list[Any]
    block: int
    grid: int
    seed: int  # how h begins
    text: str = ""

    def __post_init__(self) -> None:
        out: list[str] = list(HEAD.splitlines())
        for function in self.functions:
            function.emit(out)
        t = self.block
        out.append(f'extern "C" __global__ void f({ARRAYS}, unsigned* H) {{')
        out.append(
            f"__shared__ __align__(32) unsigned S[1024], O[{4 * t}], Q[{8 * t}]; "
            "__shared__ unsigned C[64]; "
            f"unsigned t = threadIdx.x, g = blockIdx.x * {t} + t, a = blockIdx.x; "
            f"unsigned h = {START[self.seed % len(START)]}; "
            f"for (unsigned i = t; i < 1024; i += {t}) S[i] = X[i]; "
            f"for (unsigned i = 0; i < 4; ++i) O[i * {t} + t] = i; "
            f"for (unsigned i = 0; i < 8; ++i) Q[8 * t + i] = t + i; "
            f"for (unsigned i = t; i < 64; i += {t}) C[i] = 0; __syncthreads();"
        )
        self.before = len(out)
        emit_all(self.body, out)
        self.last = Access("store", "H", "unsigned", "g")
        self.last.emit(out)
        out.append("}")
        self.text = "\n".join(out)

    def run(self, memory: dict[str, bytearray]) -> tuple[list[Any], set[Any]]:
        """Execute every lane: the accesses by block and thread, and the edges."""
        log: list[Any] = []
        edges: set[Any] = set()
        for b in range(self.grid):
            T = self.block
            own = dict(memory)
            own["S"] = bytearray(memory["X"][:4096])
            own["O"] = bytearray(
                b"".join(i.to_bytes(4, "little") * T for i in range(4))
            )
            own["Q"] = bytearray(
                b"".join(
                    (t + i).to_bytes(4, "little") for t in range(T) for i in range(8)
                )
            )
            own["C"] = bytearray(256)
            lanes, runs, waiting, send = {}, {}, {}, {}
            for t in range(T):
                var = {"t": t, "g": b * T + t, "a": b}
                var["h"] = (
                    eval(START[self.seed % len(START)].replace("u", ""), None, var) & M
                )
                lanes[t] = Lane(var, own, [], edges, last="start")
                runs[t] = self.whole(lanes[t])
            send = dict.fromkeys(runs)
            while runs:
                for t, value in send.items():
                    try:
                        waiting[t] = runs[t].send(value)
                    except StopIteration:
                        del runs[t]
                send = meet(waiting, set(runs))
                assert send or not runs, "nobody can go on"
                for t in send:
                    del waiting[t]
            log += [(b, t, *entry) for t in range(T) for entry in lanes[t].log]
        return log, edges

    def whole(self, lane: Lane) -> Run:
        how = yield from run_all(self.body, lane)
        return how or (yield from self.last.run(lane))
