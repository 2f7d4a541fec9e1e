"""Digits: how good a trained network is, after how many CPU-seconds, in how many calls.

    python benchmarks/digits.py         both networks
    python benchmarks/digits.py unet    one of them

Two networks learn the 1,352 real training digits with their labels, each from five
seeds, on one thread: a perceptron on the straight path, sampled by DPM-Solver++(2M)
with eight calls, and a U-Net on the variance-preserving path, a DDPM, sampled by its
own ancestral steps. No guidance (w = 0); five draws of 1,000 samples, a hundred of each
digit, and the means over the draws.

A classifier trained on the same real digits judges them: the share in which it sees
the digit that was asked for; the Fréchet distance of its 32 features to the 445 real
test digits; the share of copies, samples nearer to a training image than all but one
in a hundred real test images are. The same three numbers for real images stand beside
them: for the distance the mean over a hundred draws of 1,000 different training images,
the floor of the ratio, and beside it that of draws which may repeat an image, as
independent samples of the training images do; for the accuracy and the copies those of
the test images.

A thousand different images are spread more evenly over the digits than a thousand
independent ones. So, like for like, the perceptron's samples start from scrambled Sobol
points, a hundred consecutive ones for each digit, made normal: noise that is spread
more evenly than independent noise is. From independent noise their distance is larger,
as it is for real images that may repeat; `distance_independent` gives it, with its
ratio to the floor of those. The U-Net's steps draw noise all the way; its samples are
independent.

The perceptron's recipe was chosen among some fifteen by its numbers for the seeds 0 to
2, mostly the first. Seeds differ more than recipes do; those that are measured here
took no part in the choice.

CPU-seconds are those of this process in `train`, nothing else. Beside them stands a
fixed calibration loop, 2,000 products of 256 × 256 matrices, run before and after each
training: on a busy or another machine both grow together.

The result is printed and written to ``benchmarks/results/digits.json``.
"""

from __future__ import annotations

import argparse
import json
import time
from statistics import mean, stdev
from typing import Any, NamedTuple

import record
import torch
from digits_recipes import RECIPES, SAMPLES, Recipe, sample
from torch import Generator, Tensor

from genflow_lite.data import digits
from genflow_lite.judges import DigitJudge, copies, digit_classifier
from genflow_lite.train import objective, train

RESULTS = record.RESULTS / "digits.json"
DRAWS, FLOOR_DRAWS = 5, 100
SEEDS = (100, 101, 102, 103, 104)
PACKAGES = ("torch", "scikit-learn", "numpy")


class Real(NamedTuple):
    """The real digits, and what the judge says of them."""

    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    judge: DigitJudge
    floor: float
    floor_repeating: float


def calibration() -> float:
    """CPU-seconds of the fixed loop."""
    a = torch.randn(256, 256, generator=Generator().manual_seed(0))
    b, start = a, time.process_time()
    for _ in range(2000):
        b = (a @ b).tanh_()
    return time.process_time() - start


def real_digits() -> tuple[Real, dict[str, float]]:
    """The data, the judge, and the row of real images."""
    (x, y), (test, labels) = digits("train"), digits("test")
    judge = digit_classifier()
    generator = Generator().manual_seed(0)
    without, repeating = [], []
    for _ in range(FLOOR_DRAWS):
        rows = torch.randperm(len(x), generator=generator)[:SAMPLES]
        without.append(judge.distance(x[rows], test))
        rows = torch.randint(len(x), (SAMPLES,), generator=generator)
        repeating.append(judge.distance(x[rows], test))
    row = {
        "accuracy": judge.accuracy(test, labels),
        "distance": mean(without),
        "distance_spread": stdev(without),
        "distance_repeating": mean(repeating),
        "copies": copies(test, x, test),
    }
    return Real((x, y), (test, labels), judge, mean(without), mean(repeating)), row


def measure(recipe: Recipe, seed: int, real: Real) -> dict[str, float]:
    """One training and its thousand samples."""
    images, labels = real.train

    def draw(generator: Generator) -> tuple[Tensor, Tensor]:
        rows = torch.randint(len(images), (recipe.batch,), generator=generator)
        return images[rows], labels[rows]

    before = calibration()
    start = time.process_time()
    net = train(
        objective(
            recipe.path,
            predicts=recipe.predicts,
            times=recipe.times,
            drop=recipe.drop,
        ),
        recipe.net(seed),
        draw,
        steps=recipe.steps,
        lr=recipe.lr,
        seed=seed,
        progress=False,
    ).net
    seconds = time.process_time() - start
    after, judge, test = calibration(), real.judge, real.test[0]
    scores, independent = [], []
    for k in range(DRAWS):
        samples, wanted = sample(net, recipe, 1000 + DRAWS * seed + k, recipe.even)
        right = judge.accuracy(samples, wanted)
        far = judge.distance(samples, test)
        scores.append((right, far, copies(samples, images, test)))
        if recipe.even:
            samples, _ = sample(net, recipe, 1000 + DRAWS * seed + k, even=False)
            far = judge.distance(samples, test)
        independent.append(far)
    accuracy, distance, copied = (mean(column) for column in zip(*scores, strict=True))
    return {
        "seed": seed,
        "cpu_seconds": seconds,
        "calibration_seconds": mean([before, after]),
        "accuracy": accuracy,
        "distance": distance,
        "distance_ratio": distance / real.floor,
        "distance_independent": mean(independent),
        "independent_ratio": mean(independent) / real.floor_repeating,
        "copies": copied,
    }


def verdicts(rows: list[dict[str, float]], goals: dict[str, float]) -> dict[str, Any]:
    """For each goal, the mean over the seeds and whether it is reached."""
    found = {}
    for name, goal in goals.items():
        value = mean(row[name] for row in rows)
        reached = value >= goal if name == "accuracy" else value <= goal
        found[name] = {"mean": value, "goal": goal, "reached": reached}
    return found


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("networks", nargs="*", help=f"of {', '.join(RECIPES)}")
    chosen = parser.parse_args().networks or list(RECIPES)
    for name in chosen:
        if name not in RECIPES:
            parser.error(
                f"there is no network {name!r}; there are {', '.join(RECIPES)}"
            )
    torch.set_num_threads(1)
    meta = record.about(PACKAGES, threads=torch.get_num_threads())
    real, row = real_digits()
    print("real", json.dumps(row), flush=True)
    networks = record.load(RESULTS).get("networks", {})
    for name in chosen:
        recipe = RECIPES[name]
        rows = []
        for seed in SEEDS:
            rows.append(measure(recipe, seed, real))
            print(name, json.dumps(rows[-1]), flush=True)
        parameters = sum(p.numel() for p in recipe.net(0).parameters())
        networks[name] = {
            "machine": meta,
            "path": recipe.path.name,
            "predicts": recipe.predicts,
            "parameters": parameters,
            "steps": recipe.steps,
            "batch": recipe.batch,
            "dropped_labels": recipe.drop,
            "calls": recipe.calls,
            "guidance": 0.0,
            "samples": SAMPLES,
            "draws": DRAWS,
            "grid": f"1 - (i/n)^{recipe.spacing:g}",
            "times": recipe.times.name,
            "verdicts": verdicts(rows, recipe.goals),
            "rows": rows,
        }
        print(json.dumps(networks[name]["verdicts"], indent=2), flush=True)
    record.save(RESULTS, {"meta": meta, "real": row, "networks": networks})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
