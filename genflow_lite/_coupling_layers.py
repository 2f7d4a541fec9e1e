"""Coupling layers: some coordinates pass, and say how each of the others is mapped.

The Jacobian of such a layer is triangular up to the order of coordinates, so its
determinant is a product of D numbers and not the D³ operations of a general one; and
since the passing half is known on both sides, the inverse costs what the map costs.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from genflow_lite._net import seeded, silent
from genflow_lite._shapes import (
    Numbers,
    Points,
    check_count,
    check_positive,
    check_state,
    holds,
)
from genflow_lite._spline import knots, spline

Mask = Bool[Tensor, " D"] | Sequence[bool]
"""Which coordinates pass."""

Mapped = tuple[Points, Numbers]
"""Points and the log-determinant of the map that led to them: (B, D) and (B,)."""


class Coupling(nn.Module, ABC):
    """What all coupling layers share: a mask, and a perceptron from one half.

    mask (D,), bool: True passes unchanged; at least one entry of either kind. Zero
    weights in the last linear layer make a fresh layer the identity.
    """

    mask: Tensor
    kept: Tensor
    moved: Tensor
    back: Tensor

    def __init__(
        self,
        mask: Mask,
        *,
        numbers: int,
        width: int,
        depth: int,
        seed: int,
    ) -> None:
        super().__init__()
        chosen = torch.as_tensor(mask)
        if chosen.dtype != torch.bool or chosen.ndim != 1:
            raise TypeError(
                "mask must be a bool tensor of shape (D,); got a "
                f"{chosen.dtype} tensor of shape {tuple(chosen.shape)}"
            )
        if chosen.all() or not chosen.any():
            raise ValueError(
                "mask must hold both True (passes) and False (is mapped); got "
                f"{chosen.tolist()}"
            )
        kept, moved = chosen.nonzero()[:, 0], (~chosen).nonzero()[:, 0]
        self.register_buffer("mask", chosen, persistent=False)
        self.register_buffer("kept", kept, persistent=False)
        self.register_buffer("moved", moved, persistent=False)
        order = torch.cat([kept, moved])
        self.register_buffer("back", order.argsort(), persistent=False)
        self.numbers = numbers
        check_count(width, name="width")
        check_count(depth, name="depth")
        sizes = [len(kept), *[width] * depth]
        with seeded(seed):
            layers: list[nn.Module] = []
            for a, b in pairwise(sizes):
                layers += [nn.Linear(a, b), nn.SiLU()]
            last = nn.Linear(width, len(moved) * numbers)
        self.conditioner = nn.Sequential(*layers, silent(last))

    def forward(self, x: Points) -> Mapped:
        """(z, log |det ∂z/∂x|) at x (B, D): (B, D) and (B,), in the weights' dtype."""
        return self._through(x, inverse=False)

    def inverse(self, z: Points) -> Mapped:
        """(x, log |det ∂x/∂z|) with forward(x) = z: (B, D) and (B,)."""
        return self._through(z, inverse=True)

    def _through(self, x: Tensor, *, inverse: bool) -> Mapped:
        x = check_points(x, len(self.mask)).to(next(self.parameters()).dtype)
        passed, moving = x[:, self.kept], x[:, self.moved]
        raw = self.conditioner(passed).reshape(*moving.shape, self.numbers)
        mapped, logs = self._map(moving, raw, inverse=inverse)
        return torch.cat([passed, mapped], 1)[:, self.back], logs.sum(1)

    @abstractmethod
    def _map(self, x: Tensor, raw: Tensor, *, inverse: bool) -> tuple[Tensor, Tensor]:
        """Each entry of x (B, M) by its numbers raw (B, M, numbers); logs (B, M)."""
        ...


class AffineCoupling(Coupling):
    """z_i = x_i e^{s_i} + m_i for the entries that move (Dinh et al. 2017).

    s and m are functions of the entries that pass; s = limit · tanh(raw/limit), so that
    no layer stretches by more than e^limit. The log-determinant is Σ s_i.

    mask (D,), bool, True where x passes. width, depth: of the perceptron's hidden
    layers. seed: of its starting weights. A fresh layer is the identity. Raises
    TypeError and ValueError for bad arguments, there and at the call.
    """

    def __init__(
        self,
        mask: Mask,
        *,
        width: int = 64,
        depth: int = 2,
        limit: float = 2.0,
        seed: int = 0,
    ) -> None:
        super().__init__(mask, numbers=2, width=width, depth=depth, seed=seed)
        self.limit = check_positive(limit, name="limit")

    def _map(self, x: Tensor, raw: Tensor, *, inverse: bool) -> tuple[Tensor, Tensor]:
        s = self.limit * torch.tanh(raw[..., 0] / self.limit)
        m = raw[..., 1]
        return ((x - m) * (-s).exp(), -s) if inverse else (x * s.exp() + m, s)


class SplineCoupling(Coupling):
    """z_i = a monotone rational-quadratic spline of x_i (Durkan et al. 2019).

    `bins` bins between −bound and bound, whose knots and slopes are functions of the
    entries that pass; outside the map is the identity, and joins with slope 1. The
    log-determinant is the sum of the log slopes, and the inverse one quadratic.

    Other arguments and errors as in `AffineCoupling`.
    """

    def __init__(
        self,
        mask: Mask,
        *,
        bins: int = 8,
        bound: float = 4.0,
        width: int = 64,
        depth: int = 2,
        seed: int = 0,
    ) -> None:
        check_count(bins, name="bins", least=2)
        super().__init__(
            mask, numbers=3 * bins - 1, width=width, depth=depth, seed=seed
        )
        self.bound = check_positive(bound, name="bound")

    def _map(self, x: Tensor, raw: Tensor, *, inverse: bool) -> tuple[Tensor, Tensor]:
        return spline(x, knots(raw, self.bound), inverse=inverse)


def check_points(x: object, dim: int) -> Tensor:
    """Finite points (B, dim), or a TypeError or ValueError."""
    x = check_state(x)
    if x.ndim != 2 or x.shape[1] != dim:
        raise ValueError(f"x must have shape (B, D) = (B, {dim}); got {tuple(x.shape)}")
    if not holds(x.isfinite()):
        raise ValueError("x must be finite; it holds NaN or infinity")
    return x
