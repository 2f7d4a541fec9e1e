"""Two networks for digits: how each is trained and how it is sampled.

A perceptron on the straight path, sampled by DPM-Solver++(2M) with eight calls, and a
U-Net on the variance-preserving path, a DDPM, sampled by its own ancestral steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn

from genflow_lite import GaussianPath, as_denoiser, ddim, dpmpp_2m, last, rectified, vp
from genflow_lite.nets import MLP, UNet
from genflow_lite.predict import Prediction
from genflow_lite.timesteps import TimeLaw, data_heavy, uniform

SAMPLES = 1000


class Recipe(NamedTuple):
    """A network, how it is trained and sampled, and what it has to reach."""

    net: Callable[[int], nn.Module]
    path: GaussianPath
    predicts: Prediction
    sampler: Callable[..., Iterator[Tensor]]
    calls: int
    spacing: float  # the grid is t_i = 1 − (i/n)^spacing
    times: TimeLaw
    steps: int
    batch: int
    lr: float
    drop: float
    even: bool  # start from Sobol points too
    goals: dict[str, float]


RECIPES = {
    "mlp": Recipe(
        net=lambda seed: MLP(64, width=256, depth=3, classes=10, seed=seed),
        path=rectified(),
        predicts="velocity",
        sampler=lambda d, p, x, ts, _: dpmpp_2m(d, p, x, ts),
        calls=8,
        spacing=0.85,
        times=data_heavy(1.6),
        steps=1750,
        batch=128,
        lr=5e-3,
        drop=0.0,
        even=True,
        goals={
            "accuracy": 0.99,
            "distance_ratio": 1.3,
            "copies": 0.05,
            "cpu_seconds": 20,
        },
    ),
    "unet": Recipe(
        net=lambda seed: UNet(1, width=16, classes=10, seed=seed),
        path=vp(),
        predicts="eps",
        sampler=lambda d, p, x, ts, g: ddim(d, p, x, ts, eta=1.0, generator=g),
        calls=50,
        spacing=1.0,
        times=uniform(),
        steps=900,
        batch=32,
        lr=5e-3,
        drop=0.1,
        even=False,
        goals={"accuracy": 0.95, "copies": 0.05, "cpu_seconds": 30},
    ),
}


def even_noise(seed: int) -> Tensor:
    """Sobol points in 64 dimensions made normal, (SAMPLES, 1, 8, 8)."""
    points = torch.quasirandom.SobolEngine(64, scramble=True, seed=seed)
    inside = points.draw(SAMPLES, dtype=torch.float64).clamp(1e-9, 1 - 1e-9)
    return torch.special.ndtri(inside).float().reshape(SAMPLES, 1, 8, 8)


@torch.no_grad()
def sample(
    net: nn.Module, recipe: Recipe, seed: int, even: bool
) -> tuple[Tensor, Tensor]:
    """Samples and the digits that they should be, by exactly `recipe.calls` calls."""
    generator = Generator().manual_seed(seed)
    labels = torch.arange(10).repeat_interleave(SAMPLES // 10)
    calls = []

    def counted(x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        calls.append(len(x))
        return net(x, t, cond)

    denoise = as_denoiser(counted, recipe.path, predicts=recipe.predicts, cond=labels)
    share = torch.linspace(0, 1, recipe.calls + 1, dtype=torch.float64)
    start = recipe.path.prior((SAMPLES, 1, 8, 8), generator=generator)
    if even:  # unit noise, which is the prior of the straight path
        start = even_noise(seed)
    ts = 1 - share**recipe.spacing
    end = last(recipe.sampler(denoise, recipe.path, start, ts, generator))
    assert calls == [SAMPLES] * recipe.calls
    return end, labels
