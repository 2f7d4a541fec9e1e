"""What the networks share: how they see time, and how they take labels."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from genflow_lite._shapes import check_count, check_floating, describe


def fourier_features(u: Tensor, octaves: int) -> Tensor:
    """(u, sin π u, cos π u, sin 2π u, …): u with its waves of 1, 2, 4, … half turns.

    A perceptron learns the low frequencies of its input first; sines of the input hand
    it the high ones (Tancik et al. 2020). For octave k = 0, …, octaves − 1 the angle
    is 2ᵏ π u, so that on [0, 1] the lowest cosine still tells both ends apart.

    u (B, D), octaves ≥ 0. Returns (B, D (1 + 2 octaves)).
    """
    scales = math.pi * 2.0 ** torch.arange(octaves, dtype=u.dtype, device=u.device)
    angles = (u[..., None] * scales).flatten(-2)
    return torch.cat([u, angles.sin(), angles.cos()], dim=-1)


def sinusoidal_embedding(t: Tensor, width: int) -> Tensor:
    """(sin ω_j τ, cos ω_j τ) for j < width/2, τ = 1000 t, ω_j = 10000^(−2j/width).

    The embedding of a position in a sentence (Vaswani et al. 2017), as DDPM uses it
    for the step n = 1000 t of 1000 (Ho et al. 2020). t (B,), width even. Returns
    (B, width): all sines, then all cosines.
    """
    half = width // 2
    exponent = torch.arange(half, dtype=t.dtype, device=t.device) / half
    angles = 1000 * t[:, None] * 10000.0**-exponent
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class Net(nn.Module):
    """What both networks share: checks, labels, and weights that start from a seed."""

    def __init__(self, classes: int | None) -> None:
        super().__init__()
        if classes is not None:
            check_count(classes, name="classes")
        self.classes = classes

    def labels(self, cond: Tensor | None, x: Tensor) -> Tensor | None:
        """The labels of a batch; ValueError for a label that the network lacks."""
        if self.classes is None:
            if cond is not None:
                raise ValueError(
                    "cond must be None for a network made without classes; "
                    f"got {describe(cond)}"
                )
            return None
        if cond is None:
            return torch.full((len(x),), self.classes, device=x.device)
        kinds = (torch.int64, torch.int32)
        if not isinstance(cond, Tensor) or cond.dtype not in kinds:
            raise TypeError(f"cond must be an int64 tensor; got {describe(cond)}")
        if cond.shape != x.shape[:1]:
            raise ValueError(
                f"cond must have shape (B,) = ({len(x)},); got {tuple(cond.shape)}"
            )
        if len(x) and not 0 <= int(cond.min()) <= int(cond.max()) <= self.classes:
            raise ValueError(
                f"cond must hold labels from 0 to {self.classes - 1}, or the null "
                f"label {self.classes}; got values from {int(cond.min())} to "
                f"{int(cond.max())}"
            )
        return cond.to(x.device)


def checked_time(t: Tensor, x: Tensor) -> Tensor:
    t = check_floating(t, name="t")
    if t.shape not in ((), x.shape[:1]):
        raise ValueError(
            f"t must have shape () or (B,) = ({len(x)},); got {tuple(t.shape)}"
        )
    return t.to(x).expand(len(x))


def silent(layer: nn.Module) -> nn.Module:
    """The layer with all weights 0: a new network says 0, the mean of the noise."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """New layers are float32 and take their weights from this seed.

    Torch's generator and its default dtype (the chapters' is float64) are afterwards
    as they were.
    """
    seed = check_count(seed, name="seed", least=0)
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_default_dtype(default)
