"""Guidance: a denoiser pushed towards a condition y, by a classifier or without one.

By Bayes' rule ∇log p_t(x|y) = ∇log p_t(x) + ∇log p_t(y|x), at every noise level, and
D = (x + σ² s)/α makes of it D_cond = D_uncond + (σ²/α) ∇log p_t(y|x). Guidance counts
the last term 1 + w times. Samples do not follow p(x) p(y|x)^(1+w) for it: the guided
scores of the noise levels are not those of one path.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from genflow_lite._shapes import (
    Denoiser,
    check_number,
    check_path,
    check_state,
    check_time,
    describe,
    expand_like,
    holds,
    time_like,
)
from genflow_lite._stepping import _shape_kept
from genflow_lite.ode import _checked_denoiser
from genflow_lite.paths import GaussianPath
from genflow_lite.predict import PathDenoiser, check_is_path

__all__ = ["cfg", "classifier_guided", "interval"]

Scale = float | Callable[[Tensor], Tensor | float]
"""A number, or a function of t that gives a number or a tensor of t's shape."""


def cfg(cond: Denoiser, uncond: Denoiser, w: Scale) -> Denoiser:
    """Classifier-free guidance, D_w = (1 + w) D_cond − w D_uncond.

    The same weights guide ε, v, velocity and score, for they add up to 1. w = 0 is
    D_cond, without a call of D_uncond; other libraries' scale is ω = 1 + w. From −1,
    D_uncond, to 0 it lies between the two. Below −1, away from y, it is refused.

    cond, uncond: D(x, t), x (B, *S), t () or (B,). w: a number ≥ −1 or a function of t.

    Returns a denoiser, with the attribute `path` if cond or uncond has it. Raises
    TypeError and ValueError at the call for a bad argument and for denoisers of two
    paths; later, for a result that does not fit. Source: Ho and Salimans (2022), eq. 6.
    """
    for name, d in (("cond", cond), ("uncond", uncond)):
        if not callable(d):
            raise TypeError(f"{name} must be a function (x, t); got {describe(d)}")
    path = getattr(cond, "path", None) or getattr(uncond, "path", None)
    if path is not None:
        check_path(uncond, check_is_path(path), name="the path of cond")
    _check_scale(w, name="w", least=-1)
    towards, away = _shape_kept(cond, "cond"), _shape_kept(uncond, "uncond")

    def guided(x: Tensor, t: Tensor | float) -> Tensor:
        x = check_state(x)
        t = time_like(t, x)
        w_t, d = _scale_at(w, t, name="w", least=-1), towards(x, t)
        if not holds((w_t != 0).any()):
            return d
        # The difference first: where the two agree, not a bit is changed.
        return d + expand_like(w_t, d) * (d - away(x, t))

    return guided if path is None else PathDenoiser(guided, path)


def classifier_guided(
    denoise: Denoiser, log_p_y: Callable[..., Tensor], path: GaussianPath, scale: Scale
) -> PathDenoiser:
    """Classifier guidance, D + scale · (σ²/α) ∇_x log p_t(y | x).

    Over D_uncond, scale = 1 is D_cond and scale = 1 + w is `cfg` with w. At σ = 0 the
    term is 0; at α = 0 it is 0/0: start from a t_max < 1, or use `cfg`.

    denoise: D(x, t), x (B, *S), t () or (B,). scale: a number ≥ 0 or a function of t.
    log_p_y: called as (x, t) too, (B,) in nats, each entry from its own x alone. It is
        differentiated by torch.func, and not called where the whole term is 0.

    Raises TypeError and ValueError at the call for a bad argument and for a denoiser of
    another path; later, at α = 0, and for a log_p_y of another shape or without a
    gradient. Source: Dhariwal and Nichol (2021), section 4.2, there for ε.
    """
    path = check_is_path(path)
    denoise = _checked_denoiser(denoise, path)
    if not callable(log_p_y):
        raise TypeError(f"log_p_y must be a function (x, t); got {describe(log_p_y)}")
    _check_scale(scale, name="scale", least=0)

    def guided(x: Tensor, t: Tensor | float) -> Tensor:
        x = check_state(x)
        t = time_like(t, x)
        d, alpha = denoise(x, t), path.alpha(t)
        push = _scale_at(scale, t, name="scale", least=0) * path.sigma_sq(t)
        if not holds((push != 0).any()):
            return d
        if not holds((alpha != 0) | (push == 0)):
            raise ValueError(f"t reaches alpha = 0 on the path {path.name}: 0/0 there")
        # A row that is not guided may have an infinite gradient, or α = 0.
        push = expand_like(torch.where(push != 0, push / alpha, 0.0), d).to(d.device)
        pushed = push * _gradient(log_p_y, x, t)
        return d + torch.where(push != 0, pushed, 0.0)

    return PathDenoiser(guided, path)


def interval(w: float, low: float, high: float) -> Callable[[Tensor], Tensor]:
    """The scale w where low ≤ t ≤ high, 0 elsewhere, for t of any shape in [0, 1].

    Raises TypeError and ValueError unless −1 ≤ w < ∞ and 0 ≤ low < high ≤ 1; low is the
    end near the data. Source: Kynkäänniemi et al. (2024), who state it in σ.
    """
    _check_scale(check_number(w, name="w"), name="w", least=-1)
    low, high = check_number(low, name="low"), check_number(high, name="high")
    if not 0 <= low < high <= 1:
        raise ValueError(f"low, high must be 0 <= low < high <= 1; got {low}, {high}")

    def scale(t: Tensor) -> Tensor:
        t = check_time(t)
        return w * ((t >= low) & (t <= high)).to(t.dtype)

    return scale


def _check_scale(w: Scale, *, name: str, least: float) -> None:
    number = 0.0 if callable(w) else check_number(w, name=name)
    if not least <= number < math.inf:
        raise ValueError(f"{name} must be finite and at least {least}; got {number}")


def _scale_at(w: Scale, t: Tensor, *, name: str, least: float) -> Tensor:
    value = torch.as_tensor(w(t) if callable(w) else w, dtype=t.dtype)
    fits = value.shape in ((), t.shape)
    if not fits or not holds((value >= least) & value.isfinite()):
        raise ValueError(f"{name} must be finite and at least {least}, () or t's shape")
    return value


def _gradient(log_p_y: Callable[..., Tensor], x: Tensor, t: Tensor) -> Tensor:
    def log_prob(x: Tensor) -> Tensor:
        value = log_p_y(x, t)
        if getattr(value, "shape", None) != x.shape[:1] or not value.requires_grad:
            need = f"have shape (B,) = ({len(x)},) and a gradient in x"
            raise ValueError(f"log_p_y must {need}; got {describe(value)}")
        return value

    value, pull = torch.func.vjp(log_prob, x)[:2]
    return pull(torch.ones_like(value))[0]
