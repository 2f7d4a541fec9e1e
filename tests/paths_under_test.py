"""Every named path, and a path of the reader's own, for tests to run over."""

import torch

from genflow_lite import (
    GaussianPath,
    cosine,
    from_betas,
    rectified,
    sub_vp,
    ve,
    vp,
)

TABLE = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)

PATHS = {
    "vp": vp(),
    "ve": ve(),
    "sub_vp": sub_vp(),
    "cosine": cosine(),
    "rectified": rectified(),
    "from_betas": from_betas(TABLE),
    "custom": GaussianPath(lambda t: 1 - t**2, lambda t: t + 0.5 * t**3),
}


def tensor(*values: float) -> torch.Tensor:
    """A float64 tensor; one value gives a scalar."""
    made = torch.tensor(values, dtype=torch.float64)
    return made if len(values) > 1 else made.squeeze(0)


def generator(seed: int = 0) -> torch.Generator:
    """A seeded generator."""
    return torch.Generator().manual_seed(seed)


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    """Standard normal numbers in float64."""
    return torch.randn(shape, dtype=torch.float64, generator=generator(seed))
