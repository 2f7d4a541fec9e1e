"""The exact denoiser of a finite data set: what a network cannot beat on its data."""

import math
from typing import final

import torch
from torch import Tensor

from genflow_lite._shapes import (
    State,
    Time,
    check_count,
    check_finite,
    check_state,
    expand_like,
    time_like,
)
from genflow_lite.paths import GaussianPath
from genflow_lite.predict import check_is_path

SMALLEST = 1e-300
"""Stands for 2σ² at σ = 0: every point but the nearest is then turned off."""


@final
class EmpiricalDenoiser:
    """D(x, t) = E[x0 | x_t = x] where x0 is one of N points, each equally likely.

        D(x, t) = Σ_i softmax_i(−|x − α x_i|²/(2 σ²)) x_i

    data (N, *S), kept in float64; x (B, *S), t () or (B,); the result (B, *S) in
    float64. At α = 0 it is the mean of the data, at σ = 0 its limit: the point nearest
    to x/α, or the mean of those that tie. The sum runs over blocks of the data, so
    that about `block` numbers are held at a time.

    Raises TypeError and ValueError for bad arguments, naming them.
    """

    def __init__(self, data: State, path: GaussianPath, *, block: int = 2**21) -> None:
        data = check_finite(data, name="data")
        if data.ndim == 0 or data.numel() == 0:
            raise ValueError(
                f"data must have shape (N, *S) with N >= 1; got {tuple(data.shape)}"
            )
        self.data: Tensor = data
        self.path: GaussianPath = check_is_path(path)
        self._block = check_count(block, name="block")

    def __call__(self, x: State, t: Time) -> State:
        """The posterior mean of the data given x_t = x."""
        x = check_state(x).to(torch.float64)
        if x.shape[1:] != self.data.shape[1:]:
            raise ValueError(
                f"x must have shape (B, *S) with S = {tuple(self.data.shape[1:])}, as "
                f"data has; got {tuple(x.shape)}"
            )
        t = time_like(t, x)
        size = self.data[0].numel()  # not −1, which an empty batch leaves open
        flat, points = x.reshape(-1, size), self.data.reshape(-1, size)
        alpha = expand_like(self.path.alpha(t), flat)[..., None]
        scale = expand_like((2 * self.path.sigma_sq(t)).clamp(min=SMALLEST), flat)
        nearest = flat.new_full((flat.shape[0], 1), math.inf)
        total, sums = torch.zeros_like(nearest), torch.zeros_like(flat)
        for part in points.split(max(1, self._block // max(1, flat.numel()))):
            # Differences first: |x|² − 2 α x·x_i + … cancels where it matters most.
            squares = (flat[:, None] - alpha * part).square().sum(-1)
            # All exponents may be shifted alike, so no gradient need pass here.
            closest = squares.detach().amin(1, keepdim=True).minimum(nearest)
            kept = ((closest - nearest) / scale).exp()
            new = ((closest - squares) / scale).exp()
            total = total * kept + new.sum(1, keepdim=True)
            sums = sums * kept + new @ part
            nearest = closest
        return (sums / total).reshape(x.shape)
