"""The denoising loss, and the variational bound that it comes from.

A network learns to denoise by least squares: `denoising_loss`. That loss is, up to a
weight for each noise level, the bound on the likelihood of a chain of N Gaussian steps
(Sohl-Dickstein et al. 2015; Ho et al. 2020), whose terms are `variational_terms`.
"""

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

from genflow_lite._flow_matching import (
    conditional_velocity,
    flow_matching_loss,
    interpolant_loss,
    interpolate,
)
from genflow_lite._shapes import (
    Numbers,
    State,
    Time,
    describe,
    expand_like,
    holds,
    time_like,
)
from genflow_lite._variational import (
    Chain,
    ddpm_chain,
    discretised_nll,
    gaussian_kl,
    interpolated_log_variance,
    variational_terms,
)
from genflow_lite.paths import GaussianPath
from genflow_lite.predict import (
    Prediction,
    _check_prediction,
    _coefficients,
    _row,
    check_is_path,
)

__all__ = [
    "Chain",
    "conditional_velocity",
    "ddpm_chain",
    "denoising_loss",
    "discretised_nll",
    "flow_matching_loss",
    "gaussian_kl",
    "interpolant_loss",
    "interpolate",
    "interpolated_log_variance",
    "variational_terms",
]

NamedWeight = Literal["eps", "x0", "v", "likelihood"]
"""Weights by name: the error in another prediction, or the bound of continuous time."""

Weight = NamedWeight | Callable[[GaussianPath, Tensor], Tensor]
"""A weight by name, or a function w(path, t) whose result has the shape of t."""


def denoising_loss(
    net: Callable[[Tensor, Tensor], Tensor],
    path: GaussianPath,
    x0: State,
    eps: State,
    t: Time,
    *,
    predicts: Prediction,
    weight: Weight | None = None,
) -> Numbers:
    """w(t) · mean over S of (net(x_t, t) − y)², with x_t = α_t x0 + σ_t ε; (B,).

    y is what the network `predicts`: x0, ε, v = α ε − σ x0, the velocity α̇ x0 + σ̇ ε,
    or the score −ε/σ of one thing given x0. Its mean given x_t minimises the loss, and
    that is the prediction of the whole data distribution.

    net: called as net(x, t) with x (B, *S) and t (B,), both in the dtype of x0.
    x0, eps: (B, *S), data and standard normal noise. t: () or (B,).
    weight: None is w = 1. "eps", "x0" and "v" weight so that the loss is the squared
        error in *that* prediction whatever the network predicts; "eps" is DDPM's
        L_simple. "likelihood" is ½|dλ/dt| times the error in ε: its integral over t is
        the bound of continuous time (Kingma et al. 2021), in nats for each entry of S.

    Raises ValueError for a prediction or a weight that is infinite at one of the given
    t, for shapes that do not fit and for unknown names; TypeError for another kind.
    """
    path = check_is_path(path)
    _check_prediction(predicts, name="predicts")
    x_t = path.mix(x0, eps, t)
    t = time_like(t, x0)
    a, b = _row(predicts, t, path)
    if predicts == "score":
        b = -1 / path.sigma(t)
    if not holds(a.isfinite() & b.isfinite()):
        raise ValueError(
            f"predicts = {predicts!r} is infinite at one of the given t on the path "
            f"{path.name}"
        )
    w = _weight(weight, path, t, predicts)
    target = expand_like(a, x0) * x0 + expand_like(b, x0) * eps
    out = net(x_t, t.to(x0.dtype).expand(x0.shape[0]))
    if not isinstance(out, Tensor) or out.shape != x0.shape:
        raise ValueError(
            f"net must return a tensor of x's shape {tuple(x0.shape)}; "
            f"got {describe(out)}"
        )
    error = (out - target).square().reshape(x0.shape[0], -1).mean(1)
    return expand_like(w, error) * error


def _weight(
    weight: Weight | None, path: GaussianPath, t: Tensor, predicts: Prediction
) -> Tensor:
    if weight is None:
        return torch.ones_like(t)
    if isinstance(weight, str):
        if weight not in get_args(NamedWeight):
            names = ", ".join(repr(w) for w in get_args(NamedWeight))
            raise ValueError(
                f"weight must be None, a function or one of {names}; got {weight!r}"
            )
        if weight == "likelihood":
            # dλ/dt = −g²/σ².
            rate = (path.sde(t)[1] / path.sigma(t)).square()
            w = 0.5 * rate * _error_ratio(path, t, predicts, "eps").square()
        else:
            w = _error_ratio(path, t, predicts, weight).square()
    elif callable(weight):
        w = weight(path, t)
        if not isinstance(w, Tensor) or w.shape != t.shape:
            raise TypeError(
                f"weight must return a tensor of t's shape {tuple(t.shape)}; "
                f"got {describe(w)}"
            )
    else:
        raise TypeError(f"weight must be a name or a function; got {describe(weight)}")
    if not holds(w.isfinite()):
        raise ValueError(
            f"weight is infinite at one of the given t on the path {path.name}"
        )
    return w


def _error_ratio(path: GaussianPath, t: Tensor, source: str, target: str) -> Tensor:
    """The error in one prediction for each unit of error in another, at known x_t."""
    if source == "score":
        return path.sigma(t) * _error_ratio(path, t, "eps", target)
    if source == target:
        return torch.ones_like(t)
    return _coefficients(t, path, source, target)[0]
