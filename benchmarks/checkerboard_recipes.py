"""Three ways to train a flow to the checkerboard, a batch drawn afresh at every step.

genflow_lite: `nets.MLP`, three residual layers of 64, four Fourier octaves of t and
    five of x; the straight path; data and noise paired by `minibatch_ot` in groups of
    16, which takes most of the chance out of the target; one time for each slice of the
    batch from `data_heavy`; AdamW, warm-up then cosine; EMA .99; batch 512. Chosen with
    the seeds 0 to 4; those that are measured took no part in it.
torchcfm: its tutorial in the plane: its MLP (3 × 64, SELU, t appended), Adam 1e-3,
    batch 256, exact minibatch optimal transport, σ = 0.1.
flow_matching: its example on the checkerboard: four hidden layers of 512 (swish, t
    appended), Adam 1e-3, batch 4096, CondOT path, no weighting.

The peers' recipes stop at the first step beyond the budget.
"""

from __future__ import annotations

import copy
import importlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from genflow_lite.coupling import minibatch_ot
from genflow_lite.data import checkerboard
from genflow_lite.nets import MLP
from genflow_lite.timesteps import data_heavy
from genflow_lite.train import learning_rate

STEPS, LR, POWER, BATCH, GROUP = 1200, 1.5e-2, 1.2, 512, 16

Field = Callable[[Tensor, Tensor], Tensor]
"""dx/dt at x (B, 2) float32 and t (), on our clock: t = 1 is noise."""


def ours(seed: int, budget: float) -> tuple[Field, int]:
    """Our recipe: `STEPS` steps, whatever the budget."""
    del budget
    net = MLP(2, width=64, depth=3, octaves=4, space_octaves=5, seed=seed)
    average = copy.deepcopy(net).requires_grad_(False)
    weights, averaged = list(net.parameters()), list(average.parameters())
    optimiser = torch.optim.AdamW(weights, lr=LR, weight_decay=0.0, fused=True)
    generator, law = torch.Generator().manual_seed(seed), data_heavy(POWER)
    for k in range(STEPS):
        x0 = checkerboard(BATCH, generator=generator).float()
        eps = torch.randn(BATCH, 2, generator=generator)
        x0, eps = minibatch_ot(x0, eps, group=GROUP)
        t = law.sample(BATCH, generator=generator, stratified=True).float()
        # flow_matching_loss on the straight path, written out.
        velocity = eps - x0
        out = net(x0 + t[:, None] * velocity, t)
        loss = (out - velocity).square().mean()
        optimiser.param_groups[0]["lr"] = learning_rate(
            k, lr=LR, steps=STEPS, warmup=50
        )
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        with torch.no_grad():
            decay = min(0.99, (k + 1) / (k + 10))
            for a, p in zip(averaged, weights, strict=True):
                a.lerp_(p, 1 - decay)

    return lambda x, t: average(x, t.expand(len(x))), STEPS


def descend(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step of a peer's recipe."""
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def on_our_clock(net: nn.Module) -> Field:
    """The peers' time τ = 1 − t runs from noise to data, and is appended to x."""

    def field(x: Tensor, t: Tensor) -> Tensor:
        tau = (1 - t).expand(len(x), 1)
        return -net(torch.cat([x, tau], 1))

    return field


def torchcfm(seed: int, budget: float) -> tuple[Field, int]:
    """torchcfm's tutorial recipe until the budget is spent."""
    matching: Any = importlib.import_module("torchcfm.conditional_flow_matching")
    models: Any = importlib.import_module("torchcfm.models.models")
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - its optimal transport draws pairs so
    net = models.MLP(dim=2, w=64, time_varying=True)
    optimiser = torch.optim.Adam(net.parameters())
    matcher = matching.ExactOptimalTransportConditionalFlowMatcher(sigma=0.1)
    generator = torch.Generator().manual_seed(seed)
    steps, end = 0, time.process_time() + budget
    while time.process_time() < end:
        data = checkerboard(256, generator=generator).float()
        noise = torch.randn(256, 2, generator=generator)
        t, x, v = matcher.sample_location_and_conditional_flow(noise, data)
        loss = (net(torch.cat([x, t[:, None]], 1)) - v).square().mean()
        descend(optimiser, loss)
        steps += 1
    return on_our_clock(net), steps


def flow_matching(seed: int, budget: float) -> tuple[Field, int]:
    """flow_matching's example recipe until the budget is spent."""
    paths: Any = importlib.import_module("flow_matching.path")
    schedulers: Any = importlib.import_module("flow_matching.path.scheduler")
    torch.manual_seed(seed)
    layers: list[nn.Module] = [nn.Linear(3, 512), nn.SiLU()]
    for _ in range(3):
        layers += [nn.Linear(512, 512), nn.SiLU()]
    net = nn.Sequential(*layers, nn.Linear(512, 2))
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
    path = paths.AffineProbPath(scheduler=schedulers.CondOTScheduler())
    generator = torch.Generator().manual_seed(seed)
    steps, end = 0, time.process_time() + budget
    while time.process_time() < end:
        data = checkerboard(4096, generator=generator).float()
        noise = torch.randn(4096, 2, generator=generator)
        at = path.sample(t=torch.rand(4096), x_0=noise, x_1=data)
        loss = (net(torch.cat([at.x_t, at.t[:, None]], 1)) - at.dx_t).square().mean()
        descend(optimiser, loss)
        steps += 1
    return on_our_clock(net), steps


def warm_up() -> None:
    """What SciPy and torch import at their first use is no training."""
    minibatch_ot(torch.zeros(2, 1), torch.zeros(2, 1))
    weight = nn.Parameter(torch.zeros(1))
    weight.sum().backward()
    torch.optim.AdamW([weight]).step()
    torch.optim.Adam([weight]).step()
