"""What a sampler costs beside the network: time per step against its own bare loop.

    python benchmarks/overhead.py           every sampler of every library
    python benchmarks/overhead.py dpmpp_2m  some of ours

The bare loop is what you would write by hand for this one method: at most ten lines
with the coefficients as Python numbers prepared before, no checks, the same dtype,
nothing kept but the last state. The model costs nothing: it returns a tensor that lies
there. Times are processor times, the least of many runs of 50 steps on one thread, the
two loops taking turns, so that a busy machine disturbs both alike. What a sampler does
once, at the call (its checks and coefficients), stands apart as `setup`; the bare loop
has none.

Two shapes in float64: 1024 × 2, where every operation is a call and hardly any
arithmetic, and 16 × 3 × 32 × 32, where it is mostly memory. There the C library's
allocator would give every freed state back to the system and fetch it again, page by
page, in the one loop or the other; it is told to keep them (MALLOC_… below, on Linux).
The result is printed and written to ``benchmarks/results/overhead.json``.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import bare
import record
import torch
from bare import STEPS, TS, Loop, model
from overhead_peers import PeerPair, peer_pairs
from torch import Tensor

import genflow_lite as gl

RESULTS = record.RESULTS / "overhead.json"
PACKAGES = ("torch", "diffusers", "k-diffusion", "flow_matching")
GOAL = 1.3
SHAPES = {"1024 x 2": (1024, 2), "16 x 3 x 32 x 32": (16, 3, 32, 32)}
ROUNDS = 40
KEEP = {"MALLOC_TRIM_THRESHOLD_": "1000000000", "MALLOC_MMAP_THRESHOLD_": "1000000000"}


class Pair(NamedTuple):
    """A sampler and the loop that does the same by hand."""

    name: str
    ours: Callable[[Tensor, Tensor], Iterator[Tensor]]
    bare: Loop


# --- ours ----------------------------------------------------------------------------


def pairs() -> list[Pair]:
    """Every sampler and solver of the package."""

    def generator() -> torch.Generator:
        return torch.Generator().manual_seed(0)

    def of_u(solver: Callable[..., Any], loop: Loop) -> Pair:
        name = solver.__name__
        return Pair(name, lambda x, out: solver(model(out), x, TS), loop)

    def of_d(sampler: Callable[..., Any], loop: Loop, name: str = "", **k: Any) -> Pair:
        def ours(x: Tensor, out: Tensor) -> Iterator[Tensor]:
            more = {"generator": generator()} if k.get("noisy") else {}
            more |= {key: value for key, value in k.items() if key != "noisy"}
            return sampler(model(out), bare.PATH, x, TS, **more)

        return Pair(name or sampler.__name__, ours, loop)

    return [
        of_u(gl.euler, bare.euler),
        of_u(gl.heun, bare.heun),
        of_u(gl.rk4, bare.rk4),
        of_u(gl.adams_bashforth, bare.adams_bashforth),
        of_d(gl.ddim, bare.ddim),
        of_d(gl.ddim, bare.ancestral(), "ddim, eta = 1", eta=1.0, noisy=True),
        of_d(gl.euler_maruyama, bare.reverse_sde(), noisy=True),
        of_d(gl.langevin, bare.langevin, steps=1, noisy=True),
        of_d(gl.plms, bare.plms),
        of_d(gl.dpm_solver_2, bare.dpm_solver_2),
        of_d(gl.dpmpp_2m, bare.dpmpp_2m),
        of_d(gl.dpmpp_2m_sde, bare.dpmpp_2m_sde, eta=1.0, noisy=True),
        of_d(gl.dpmpp_3m, bare.dpmpp_3m),
        of_d(gl.adams, bare.adams),
    ]


# --- timing --------------------------------------------------------------------------


def least(rounds: int, *runs: Callable[[], float]) -> list[float]:
    """The least time of each run, which take turns."""
    times = [[run() for run in runs] for _ in range(rounds)]
    return [min(column) for column in zip(*times, strict=True)]


def clock(work: Callable[[], Any]) -> float:
    """Processor seconds of some work."""
    start = time.process_time()
    work()
    return time.process_time() - start


def compare(pair: Pair, x: Tensor, out: Tensor) -> dict[str, float]:
    """Microseconds per step of a sampler and its bare loop, and of its set-up."""
    setups: list[float] = []

    def ours() -> float:
        start = time.process_time()
        states = pair.ours(x, out)
        next(states)
        setups.append(time.process_time() - start)
        return clock(lambda: gl.last(states))

    own, plain = least(ROUNDS, ours, lambda: clock(lambda: pair.bare(x, out)))
    return {
        "us_per_step": round(own / STEPS * 1e6, 2),
        "bare_us_per_step": round(plain / STEPS * 1e6, 2),
        "ratio": round(own / plain, 3),
        "setup_us": round(min(setups) * 1e6, 1),
    }


def compare_peer(pair: PeerPair, x: Tensor, out: Tensor) -> dict[str, float]:
    """The same for a peer, whose set-up is part of its run."""
    own, plain = least(
        max(3, ROUNDS // 8),
        lambda: clock(lambda: pair.run(x, out)),
        lambda: clock(lambda: pair.bare(x, out)),
    )
    return {
        "us_per_step": round(own / STEPS * 1e6, 2),
        "bare_us_per_step": round(plain / STEPS * 1e6, 2),
        "ratio": round(own / plain, 3),
    }


def show(name: str, row: dict[str, float]) -> None:
    setup = f"{row['setup_us']:10.0f}" if "setup_us" in row else ""
    times = f"{row['us_per_step']:10.2f}{row['bare_us_per_step']:10.2f}"
    print(f"{name:46}{times}{row['ratio']:8.2f}{setup}", flush=True)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", help="samplers of ours; all by default")
    wanted = parser.parse_args().names
    if not KEEP.items() <= os.environ.items():  # read when a process starts
        os.environ.update(KEEP)
        os.execv(sys.executable, [sys.executable, *sys.argv])
    torch.set_num_threads(1)
    chosen = [pair for pair in pairs() if not wanted or pair.name in wanted]
    others = [] if wanted else peer_pairs()
    meta = record.about(PACKAGES, steps=STEPS, goal=GOAL)
    tables: dict[str, Any] = {}
    gc.disable()
    for shape_name, shape in SHAPES.items():
        x, out = (torch.randn(shape, dtype=torch.float64) for _ in range(2))
        titles = f"{'us/step':>10}{'bare':>10}{'ratio':>8}{'setup us':>10}"
        print(f"{shape_name:46}{titles}")
        rows: list[dict[str, Any]] = []
        for pair in chosen:
            rows.append({"sampler": pair.name, "library": "genflow_lite"})
            rows[-1] |= compare(pair, x, out)
            show(pair.name, rows[-1])
        for other in others:
            rows.append({"sampler": other.name, "library": other.library})
            rows[-1] |= compare_peer(other, x, out)
            show(f"{other.library}: {other.name}", rows[-1])
        tables[shape_name] = rows
    ratios = [r["ratio"] for rows in tables.values() for r in rows if "setup_us" in r]
    print(f"ours: at most {max(ratios):.2f} times the bare loop; the goal is {GOAL}")
    if wanted:
        return 0
    meta["largest ratio of ours"] = max(ratios)
    record.save(RESULTS, {"meta": meta, "tables": tables}, indent=1)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
