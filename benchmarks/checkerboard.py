"""A flow from noise to a checkerboard: genflow_lite's recipe beside two peers' own.

    python benchmarks/checkerboard.py                 everything
    python benchmarks/checkerboard.py --seeds 1       a quick look

Data: the board of `genflow_lite.data.checkerboard`, four squares a side, every
coordinate of variance 1. Judged on 20,000 samples: *leak* is the share of them outside
the dark squares, *SW2* the sliced 2-Wasserstein distance from the board itself, its
dark squares each laid out with 50 × 50 points. That adds no chance, and the starts, in
pairs (ε, −ε), add little: two *samples* of the board of this size may be more than
.02 apart, and then even a perfect sampler would miss .02. `floor` has both distances.
Every field is sampled alike, by 80 calls of Heun's method with more steps near the
data, so that only the training differs. `sw2_samples` is the distance as it is often
measured: of samples from independent starts and 20,000 fresh samples of the board.
CPU-seconds are those of training alone, on one thread; beside them stands a fixed loop,
`calibration`, which tells what such a second is worth.

The recipes, ours and the peers', are those of `checkerboard_recipes.py`. The result is
printed and written to ``benchmarks/results/checkerboard.json``.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from typing import Any

import record
import torch
from checkerboard_recipes import Field, flow_matching, ours, torchcfm, warm_up
from torch import Tensor

from genflow_lite import heun, last
from genflow_lite.data import checkerboard, on_dark
from genflow_lite.metrics import sliced_w2
from genflow_lite.timesteps import shift_times

RESULTS = record.RESULTS / "checkerboard.json"
GOAL = {"leak": 0.05, "sw2": 0.02, "seconds": 6.0}
SAMPLES, CALLS, FIRST_SEED = 20_000, 80, 200
PACKAGES = ("torch", "POT", "torchcfm", "flow_matching")


def calibration() -> float:
    """CPU-seconds of 4,000 products and tanh of 512 × 64."""
    x, w = torch.ones(512, 64), torch.full((64, 64), 0.01)
    before = time.process_time()
    for _ in range(4000):
        x = torch.tanh(x @ w)
    return time.process_time() - before


def laid_out() -> Tensor:
    """The midpoints of 50 × 50 cells in each of the 8 dark squares; (20000, 2)."""
    half, side = math.sqrt(3), math.sqrt(3) / 2
    within = (torch.arange(50, dtype=torch.float64) + 0.5) / 50
    cells = torch.cartesian_prod(within, within)
    corners = [(i, j) for i in range(4) for j in range(4) if (i + j) % 2 == 0]
    board = torch.cat([cells + torch.tensor(c) for c in corners])
    return board * side - half


@torch.no_grad()
def judged(field: Field, seed: int) -> dict[str, float]:
    """Leak and SW2 of samples of a field."""
    generator = torch.Generator().manual_seed(10_000 + seed)
    x = torch.randn(SAMPLES // 2, 2, generator=generator, dtype=torch.float64)
    x = torch.cat([x, -x])
    ts = shift_times(torch.linspace(1, 0, CALLS // 2 + 1, dtype=torch.float64), 0.5)

    def u(x: Tensor, t: Tensor) -> Tensor:
        return field(x.float(), t.float()).double()

    x = last(heun(u, x, ts))
    leak = 1 - on_dark(x).double().mean().item()
    far = sliced_w2(x, laid_out(), generator=generator).value
    start = torch.randn(SAMPLES, 2, generator=generator, dtype=torch.float64)
    fresh = checkerboard(SAMPLES, generator=generator)
    usual = sliced_w2(last(heun(u, start, ts)), fresh, generator=generator).value
    return {"leak": leak, "sw2": far, "sw2_samples": usual}


def floor(draws: int = 20) -> dict[str, float]:
    """The SW2 of samples of the board: from the board itself, and from each other."""
    alone, apart = [], []
    for seed in range(draws):
        generator = torch.Generator().manual_seed(seed)
        a, b = (checkerboard(SAMPLES, generator=generator) for _ in range(2))
        alone.append(sliced_w2(a, laid_out(), generator=generator).value)
        apart.append(sliced_w2(a, b, generator=generator).value)
    return {
        "mean": round(statistics.mean(alone), 4),
        "worst": round(max(alone), 4),
        "between samples, mean": round(statistics.mean(apart), 4),
        "between samples, worst": round(max(apart), 4),
        "draws": draws,
    }


def main() -> int:
    """Run everything, print it, write it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    seeds = parser.parse_args().seeds
    torch.set_num_threads(1)
    warm_up()
    meta = record.about(PACKAGES, samples=SAMPLES, calls=CALLS)
    rows = []
    for name, recipe in (
        ("genflow_lite", ours),
        ("torchcfm", torchcfm),
        ("flow_matching", flow_matching),
    ):
        for seed in range(FIRST_SEED, FIRST_SEED + seeds):
            around = calibration()
            before = time.process_time()
            try:
                field, steps = recipe(seed, GOAL["seconds"])
            except ModuleNotFoundError as missing:
                print(f"{name} is left out: {missing} (see requirements-peers.txt)")
                break
            seconds = time.process_time() - before
            row: dict[str, Any] = {
                "library": name,
                "seed": seed,
                "steps": steps,
                "seconds": round(seconds, 2),
                "calibration": round((around + calibration()) / 2, 3),
                **{k: round(v, 4) for k, v in judged(field, seed).items()},
            }
            rows.append(row)
            print(row, flush=True)
    mine = [row for row in rows if row["library"] == "genflow_lite"]
    worst = {key: max(row[key] for row in mine) for key in GOAL}
    mean = {key: statistics.mean(row[key] for row in mine) for key in GOAL}
    result = {
        "meta": meta,
        "goal": GOAL,
        "worst": worst,
        "mean": mean,
        "reached": {key: worst[key] <= GOAL[key] for key in GOAL},
        "floor": floor(),
        "rows": rows,
    }
    print(json.dumps({k: result[k] for k in ("worst", "reached", "floor")}, indent=2))
    record.save(RESULTS, result)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
