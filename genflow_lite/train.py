"""One training loop for every network of the book.

AdamW with warm-up and a cosine, clipped gradients, an exponential moving average of
the weights, a progress bar, and checkpoints from which an interrupted run goes on as if
nothing had happened. Under ``torchrun`` the same call runs on several processes.

As a command, ``python -m genflow_lite.train --help``, it trains on a data set by name
and writes samples.
"""

import copy
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Generator, Tensor, nn

__all__ = ["Trained", "learning_rate", "train"]

Net = TypeVar("Net", bound=nn.Module)


class Trained(NamedTuple):
    """What training gives.

    net: a copy of the network with the averaged weights, in eval mode and without
        gradients: the one to sample with. losses: (steps,) float64, the loss of each
        step's batch, before the step.
    """

    net: Any
    losses: Tensor


def learning_rate(step: int, *, lr: float, steps: int, warmup: int) -> float:
    """The learning rate of step 0, 1, …, steps − 1: a ramp, then half a cosine.

    lr (step + 1)/warmup during warm-up, then lr ½(1 + cos π (step − warmup)/(steps −
    warmup)), which would reach 0 at step = steps.
    """
    if step < warmup:
        return lr * (step + 1) / warmup
    return lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


def train(
    loss: Callable[[Any, Any, Generator], Tensor],
    net: nn.Module,
    batches: Callable[[Generator], Any] | Iterator[Any],
    *,
    steps: int,
    lr: float = 2e-3,
    warmup: int | None = None,
    ema: float = 0.995,
    clip: float = 1.0,
    weight_decay: float = 0.0,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    every: int = 500,
    resume: bool = True,
    progress: bool = True,
    device: str | torch.device | None = None,
) -> Trained:
    """Train `net`, in place, to a small loss; the averaged network and all losses.

    loss: called as loss(net, batch, generator), gives (B,), one number for each row
        of the batch, or their mean (). It draws times and noise from the generator
        and calls the network as net(x, t) or net(x, t, cond).
    batches: a function of the generator that draws a batch, a tensor or a tuple of
        tensors with B rows each; or an iterator, which a resumed run first winds
        forward by as many batches as were used.
    steps, lr, warmup: the learning rate is `learning_rate`; warm-up takes
        min(100, steps // 10) steps unless given.
    ema: decay d of the average, θ̄ ← d_k θ̄ + (1 − d_k) θ after each step, with
        d_k = min(d, (k + 1)/(k + 10)) at step k = 0, 1, …, so that a short run is not
        held back by its start.
    clip: the gradients' norm is cut to this; math.inf for no clipping.
    seed: of the generator (on the CPU, whatever the device) that batches and loss
        draw from.
    checkpoint: a file, written whole or not at all every `every` steps and at the end.
        If it exists, training goes on from it with bit-equal results, and returns at
        once if it is complete; resume=False starts anew and replaces it.
    progress: a bar on stderr; never in a stored notebook.
    device: where to train; None is where the network is.

    Raises ValueError for a checkpoint of another network or of other settings and for
    a file that is corrupt or no checkpoint, which is left as it is; and for a loss
    that is not finite, at its step. TypeError and ValueError for other bad arguments.
    """
    if warmup is None:
        warmup = min(100, steps // 10)
    generator = Generator().manual_seed(seed)
    draw = batches if callable(batches) else lambda _: next(batches)
    average = copy.deepcopy(net).eval().requires_grad_(False)
    optimiser = torch.optim.AdamW(net.parameters(), lr=lr, weight_decay=weight_decay)
    losses = torch.zeros(steps, dtype=torch.float64)
    net.train()
    for k in _bar(range(steps), progress):
        value = loss(net, draw(generator), generator).mean()
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(k, lr=lr, steps=steps, warmup=warmup)
        optimiser.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(net.parameters(), clip)
        optimiser.step()
        losses[k] = value.detach()
        decay = min(ema, (k + 1) / (k + 10))
        with torch.no_grad():
            for a, p in zip(average.parameters(), net.parameters(), strict=True):
                a.lerp_(p, 1 - decay)
    return Trained(average, losses)


def _bar(steps: range, progress: bool) -> Any:
    from tqdm import tqdm

    return tqdm(steps, disable=not progress or bool(os.environ.get("GENFLOW_STATIC")))
