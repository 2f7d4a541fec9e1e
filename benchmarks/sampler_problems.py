"""Mixtures with exact denoisers, noise to start from, and the end of the exact flow."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
from scipy.integrate import solve_ivp
from sklearn.datasets import load_digits
from torch import Tensor

import genflow_lite as gl

STRAIGHT = gl.rectified()


def ring_mixture(seed: int) -> gl.GaussianMixture:
    """Eight Gaussians near a ring of radius 0.8 to 1.6, with stds from .15 to .4."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    angle = 2 * math.pi * (torch.arange(8) + 0.6 * (uniform(8) - 0.5)) / 8
    radius = 0.8 + 0.8 * uniform(8)
    means = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=-1)
    stds = 0.15 * (0.4 / 0.15) ** uniform(8, 2)
    tilt = math.pi * uniform(8)
    rows = [torch.stack([tilt.cos(), -tilt.sin()], -1)]
    rows.append(torch.stack([tilt.sin(), tilt.cos()], -1))
    turn = torch.stack(rows, dim=-2)
    covs = turn @ torch.diag_embed(stds.square()) @ turn.mT
    return gl.GaussianMixture(0.5 + uniform(8), means, covs=0.5 * (covs + covs.mT))


def digit_mixture(half: int) -> gl.GaussianMixture:
    """The mean and covariance of each digit, 8 × 8 in [−1, 1], plus 1e-3 I.

    Fitted to every second image: half 0 is for tuning, half 1 for measuring.
    """
    images, labels = load_digits(return_X_y=True)
    images, labels = images[half::2], labels[half::2]
    x, labels = torch.from_numpy(images) / 8 - 1, torch.from_numpy(labels)
    parts = [x[labels == k] for k in range(10)]
    covs = torch.stack([torch.cov(part.T) for part in parts])
    return gl.GaussianMixture(
        torch.tensor([float(len(part)) for part in parts], dtype=torch.float64),
        torch.stack([part.mean(0) for part in parts]),
        covs=0.5 * (covs + covs.mT) + 1e-3 * torch.eye(64, dtype=torch.float64),
    )


class Problem:
    """A mixture, noise to start from, and where the exact flow leads."""

    def __init__(self, mixture: gl.GaussianMixture, points: int, seed: int) -> None:
        self.mixture = mixture
        generator = torch.Generator().manual_seed(seed)
        shape = (points, mixture.means.shape[1])
        self.noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        self.calls = 0
        self.exact = cache(self._exact)
        self._denoise = mixture.denoiser(STRAIGHT)

    def denoise(self, y: Tensor, tau: Tensor) -> Tensor:
        """The denoiser on the rectified path, counted."""
        self.calls += 1
        return self._denoise(y, tau)

    def model(self, z: Tensor, e: float) -> Tensor:
        """The same in the peers' coordinates; e = ∞ stands for z = ε itself."""
        tau = 1.0 if e == math.inf else e / (1 + e)
        y = z if e == math.inf else z / (1 + e)
        return self.denoise(y, torch.tensor(tau, dtype=torch.float64))

    def _exact(self, level: float) -> Tensor:
        """The flow from the level e, at e ε, to the data."""
        tau = 1.0 if level == math.inf else level / (1 + level)
        end = 1e-6

        def rate(t: float, flat: np.ndarray) -> np.ndarray:
            y = torch.from_numpy(flat).reshape(self.noise.shape)
            d = self._denoise(y, torch.tensor(t, dtype=torch.float64))
            return ((y - d) / t).numpy().ravel()

        start = (tau * self.noise).numpy().ravel()
        tight = {"method": "DOP853", "rtol": 1e-9, "atol": 1e-10}
        y = solve_ivp(rate, (tau, end), start, **tight).y[:, -1]
        y = torch.from_numpy(y).reshape(self.noise.shape)
        return self._denoise(y, torch.tensor(end, dtype=torch.float64))

    def jumped(self, tau: float) -> Tensor:
        """Pure noise carried to τ on the rectified path by the Gaussian's flow."""
        mean, cov = self.mixture.mean, self.mixture.cov
        return gl.gaussian_jump(self.noise, STRAIGHT, mean, cov, stop=tau)
