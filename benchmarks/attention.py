"""Attention on a CPU: tiles in plain torch beside the whole matrix and torch's own.

    python benchmarks/attention.py

One head of width 64 in float32, on one thread. Three ways: `naive`, which makes the
matrix of probabilities; `tiled`, `cuda_labs.tiled.attention`; and `sdpa`, torch's fused
`scaled_dot_product_attention`. First it is checked that they agree, output and
gradients.

Times are processor times of one call, the least of several, the three taking turns, so
that a busy machine disturbs all alike. Memory is what the peak of the resident memory
rises by during one call, above what inputs and libraries hold: each figure comes from a
process of its own, after a call on a small problem. It counts whole pages of the
system, and buffers of the matrix products, too.

The result is printed and written to ``benchmarks/results/attention.json``.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import record
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from cuda_labs import tiled

RESULTS = record.RESULTS / "attention.json"
SIZES, WIDTH, JUDGED = (1024, 2048, 4096, 8192), 64, 4096
ROUNDS = 5
GOAL = {
    "keys": JUDGED,
    "tiled time / sdpa time": 1.5,
    "tiled memory / naive memory": 0.05,
}


def naive(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention as its formula says."""
    return torch.softmax(q @ k.mT * q.shape[-1] ** -0.5, -1) @ v


WAYS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "naive": naive,
    "tiled": tiled.attention,
    "sdpa": scaled_dot_product_attention,
}


def inputs(n: int) -> tuple[Tensor, Tensor, Tensor]:
    """q, k, v of (batch, heads, n, width), one head."""
    g = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 1, n, WIDTH, generator=g) for _ in range(3))
    return q, k, v


def forward(way: str, n: int) -> Callable[[], Any]:
    """One call without gradients."""
    q, k, v = inputs(n)
    return lambda: WAYS[way](q, k, v)


def both(way: str, n: int) -> Callable[[], Any]:
    """One call, and the gradients of a sum of squares."""
    q, k, v = (x.requires_grad_() for x in inputs(n))
    return lambda: torch.autograd.grad(WAYS[way](q, k, v).square().sum(), (q, k, v))


PASSES = {"forward": forward, "forward and backward": both}


def agree(n: int) -> float:
    """The largest difference of outputs and gradients, relative to their largest."""
    worst = 0.0
    for build in PASSES.values():
        results = {}
        for way in WAYS:
            out = build(way, n)()
            results[way] = (out,) if isinstance(out, Tensor) else out
        for way in ("tiled", "sdpa"):
            for a, b in zip(results[way], results["naive"], strict=True):
                worst = max(worst, float((a - b).abs().max() / b.abs().max()))
    if not worst < 1e-4:
        raise SystemExit(f"the three do not agree: {worst:.1e}")
    return worst


def times(name: str, n: int, rounds: int) -> dict[str, float]:
    """Processor seconds of one call of each way, the least of `rounds`."""
    calls = {way: PASSES[name](way, n) for way in WAYS}
    least = dict.fromkeys(WAYS, float("inf"))
    for call in calls.values():
        call()
    for _ in range(rounds):
        for way, call in calls.items():
            start = time.process_time()
            call()
            least[way] = min(least[way], time.process_time() - start)
    return least


def peak(name: str, way: str, n: int) -> int:
    """Bytes that one call adds to the peak of a process of its own."""
    run = [sys.executable, str(Path(__file__)), "--peak", name, way, str(n)]
    return int(subprocess.check_output(run, cwd=record.ROOT))


def highest() -> int:
    """The peak of the resident memory so far, in bytes.

    On Linux from /proc, for getrusage counts the parent of a new process too.
    """
    if sys.platform == "linux":
        status = Path("/proc/self/status").read_text("utf-8")
        line = next(x for x in status.splitlines() if x.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def measure_peak(name: str, way: str, n: int) -> int:
    """What `peak` asks its process for."""
    PASSES[name](way, 128)()
    call = PASSES[name](way, n)
    if sys.platform == "linux":  # the peak of the imports is above what they leave
        Path("/proc/self/clear_refs").write_text("5", "utf-8")
    before = highest()
    call()
    return highest() - before


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--peak", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    if chosen.peak:
        name, way, n = chosen.peak
        print(measure_peak(name, way, int(n)))
        return 0
    about = record.about(("torch", "numpy"), threads=1)
    print(f"largest relative difference: {agree(min(1000, max(chosen.sizes))):.1e}")
    rows = []
    for name in PASSES:
        print(f"\n{name:26}" + "".join(f"{way:>18}" for way in WAYS))
        for n in chosen.sizes:
            seconds = times(name, n, chosen.rounds)
            memory = {way: peak(name, way, n) for way in WAYS}
            rows.append({"pass": name, "n": n, "seconds": seconds, "bytes": memory})
            cells = (
                f"{1e3 * seconds[w]:8.1f} ms {memory[w] / 1e6:5.1f}M" for w in WAYS
            )
            print(f"n = {n:<22}" + "".join(f"{cell:>18}" for cell in cells), flush=True)
    result = {"goal": GOAL, "machine": about, "rows": rows, "ratios": ratios(rows)}
    print(json.dumps(result["ratios"], indent=2))
    if chosen.sizes == list(SIZES):
        record.save(RESULTS, result)
    return 0


def ratios(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """The two numbers of the goal, of each pass."""
    found = {}
    for row in rows:
        if row["n"] == JUDGED:
            seconds, memory = row["seconds"], row["bytes"]
            found[row["pass"]] = {
                "tiled time / sdpa time": round(seconds["tiled"] / seconds["sdpa"], 2),
                "tiled memory / naive memory": round(
                    memory["tiled"] / memory["naive"], 3
                ),
            }
    return found


if __name__ == "__main__":
    raise SystemExit(main())
