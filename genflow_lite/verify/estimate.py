"""Monte Carlo estimates that carry their own standard error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True)
class Estimate:
    """An estimated value and its standard error, of one shape.

    Both are numbers, tensors or arrays. Raises `ValueError` for shapes that differ
    and for a negative standard error.
    """

    value: Any
    stderr: Any

    def __post_init__(self) -> None:
        value, stderr = np.shape(self.value), np.shape(self.stderr)
        if value != stderr:
            raise ValueError(
                f"stderr has shape {stderr}; needed is the shape of value, {value}"
            )
        if bool((torch.as_tensor(self.stderr) < 0).any()):
            raise ValueError("stderr has a negative entry; needed is at least 0")


def mean(samples: Any) -> Estimate:
    """The mean over the first axis, with standard error s / √n.

    `samples` has shape `(n, *S)`, n ≥ 2 independent rows; value and stderr have `S`.
    Raises `ValueError` for fewer rows.
    """
    rows = _rows(samples)
    return Estimate(rows.mean(0), rows.std(0, correction=1) / rows.shape[0] ** 0.5)


def variance(samples: Any) -> Estimate:
    """The unbiased variance s² over the first axis, with its standard error.

    Var(s²) = (μ₄ − (n − 3)/(n − 1) σ⁴) / n for n independent rows, with the fourth
    central moment μ₄ estimated from the same rows, so no normality is assumed.
    `samples` has shape `(n, *S)`, n ≥ 4; value and stderr have shape `S`. Raises
    `ValueError` for fewer rows.
    """
    rows = _rows(samples, least=4)
    n = rows.shape[0]
    centred = rows - rows.mean(0)
    value = centred.square().sum(0) / (n - 1)
    fourth = centred.pow(4).mean(0)
    spread = (fourth - (n - 3) / (n - 1) * value.square()) / n
    # A two-point law can bring the estimate of μ₄ − σ⁴ below zero by rounding.
    return Estimate(value, spread.clamp_min(0.0).sqrt())


def _rows(samples: Any, least: int = 2) -> torch.Tensor:
    rows = torch.as_tensor(samples).detach()
    if rows.dtype.is_complex:
        raise TypeError("samples are complex; needed are real numbers")
    if rows.ndim == 0 or rows.shape[0] < least:
        raise ValueError(
            f"samples has shape {tuple(rows.shape)}; needed are at least {least} "
            "independent rows along the first axis"
        )
    return rows.double()
