"""Every prediction is y = a·x0 + b·ε, and any two of them are one 2×2 solve apart.

    prediction    a      b        determinant α b − σ a
    x0            1      0        −σ            singular at data
    eps           0      1        α             singular at pure noise
    v             −σ     α        α² + σ²       never singular
    velocity      α̇      σ̇        α σ̇ − σ α̇     never singular where finite
    score         0      −1/σ     −α/σ          singular at pure noise

With x_t = α x0 + σ ε known, a prediction y fixes x0 and ε where its determinant with
x_t is not zero, and with them every other prediction. What is linear holds for
conditional expectations too, so the table converts the outputs of networks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, final, get_args

import torch
from torch import Tensor

from genflow_lite._shapes import (
    State,
    Time,
    check_floating,
    check_positive,
    check_same_shape,
    check_state,
    describe,
    expand_like,
    holds,
    time_like,
)
from genflow_lite.paths import GaussianPath

Prediction = Literal["x0", "eps", "v", "velocity", "score"]
"""The names of what a network may predict."""

LOG_SNR_LIMIT = 20.0
"""EDM's noise input is that of a log-SNR clamped to ± this number."""


def _check_prediction(kind: object, *, name: str) -> None:
    if kind not in get_args(Prediction):
        names = ", ".join(repr(p) for p in get_args(Prediction))
        raise ValueError(f"{name} must be one of {names}; got {kind!r}")


def check_is_path(path: object) -> GaussianPath:
    """The path itself, or a TypeError."""
    if not isinstance(path, GaussianPath):
        raise TypeError(f"path must be a GaussianPath; got {describe(path)}")
    return path


def _row(kind: str, t: Tensor, path: GaussianPath) -> tuple[Tensor, Tensor]:
    """(a, b) of a prediction at t. The score is read as −σ s, which is eps."""
    one = torch.ones_like(t)
    if kind == "x0":
        return one, 0 * one
    if kind in ("eps", "score"):
        return 0 * one, one
    if kind == "v":
        return -path.sigma(t), path.alpha(t)
    return path.rates(t)


_WHERE_SINGULAR = {
    "x0": "sigma = 0: x0 says nothing about the noise there",
    "eps": "alpha = 0: the noise says nothing about x0 there",
    "score": "alpha = 0: the score says nothing about x0 there",
    "v": "alpha = sigma = 0",
    "velocity": "alpha sigma' = sigma alpha', or where sigma' is infinite",
}


def convert(
    y: State,
    x_t: State,
    t: Time,
    path: GaussianPath,
    *,
    source: Prediction,
    target: Prediction,
) -> State:
    """One prediction turned into another at the state x_t.

    With rows (a, b) of the source, (a', b') of the target and Δ = α b − σ a,

        y' = [(α b' − σ a') y + (a' b − b' a) x_t] / Δ.

    y, x_t (B, *S) of one shape and dtype; t () or (B,). Returns (B, *S).

    Raises ValueError where Δ = 0 and where a coefficient is infinite: from "x0" at
    σ = 0, from "eps" and "score" at α = 0, from or to "velocity" where σ̇ is infinite
    (VP at t = 0), to "score" at σ = 0. Changing "eps" to "score" and back needs no
    x_t and works at α = 0 too. TypeError and ValueError for other bad arguments.
    """
    _check_prediction(source, name="source")
    _check_prediction(target, name="target")
    path = check_is_path(path)
    x_t = check_state(x_t, name="x_t")
    check_same_shape(check_floating(y, name="y"), x_t, names=("y", "x_t"))
    t = time_like(t, x_t)
    if source == target:
        return y
    sigma = path.sigma(t)
    if target == "score" and not holds(sigma > 0):
        raise ValueError(
            f"target 'score' is infinite at sigma = 0 on the path {path.name}"
        )
    if source == "score":
        y = -expand_like(sigma, y) * y
    if {source, target} != {"eps", "score"}:
        of_y, of_x = _coefficients(t, path, source, target)
        y = expand_like(of_y, y) * y + expand_like(of_x, y) * x_t
    return -y / expand_like(sigma, y) if target == "score" else y


def _coefficients(
    t: Tensor, path: GaussianPath, source: str, target: str
) -> tuple[Tensor, Tensor]:
    """The numbers c, d of y' = c y + d x_t; ValueError where they are not finite."""
    alpha, sigma = path.alpha(t), path.sigma(t)
    a, b = _row(source, t, path)
    a_new, b_new = _row(target, t, path)
    determinant = alpha * b - sigma * a
    of_y = (alpha * b_new - sigma * a_new) / determinant
    of_x = (a_new * b - b_new * a) / determinant
    if not holds(determinant.isfinite() & (determinant != 0)):
        raise ValueError(
            f"source {source!r} is singular at one of the given t on the path "
            f"{path.name}: at {_WHERE_SINGULAR[source]}"
        )
    if not holds(of_y.isfinite() & of_x.isfinite()):
        raise ValueError(
            f"target {target!r} is infinite at one of the given t on the path "
            f"{path.name}"
        )
    return of_y, of_x


@final
@dataclass(frozen=True, eq=False)
class PathDenoiser:
    """A denoiser that remembers the path it was made for."""

    function: Callable[[Tensor, Tensor | float], Tensor]
    path: GaussianPath

    def __call__(self, x: State, t: Time) -> State:
        """D(x, t) = E[x0 | x_t = x]; x (B, *S), t () or (B,)."""
        return self.function(x, t)


def as_denoiser(
    net: Callable[..., Tensor],
    path: GaussianPath,
    *,
    predicts: Prediction,
    precondition: Literal["edm"] | None = None,
    sigma_data: float = 0.5,
    cond: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
) -> PathDenoiser:
    """A network as a denoiser D(x, t) = E[x0 | x_t = x].

    net: called as net(x, t), or net(x, t, cond) where `cond` is given, with x (B, *S)
        and t (B,) in `dtype`. Its output is brought back to the dtype of the state
        before anything is computed from it, so that a float32 network serves a
        float64 sampler and the conversion adds no error of its own.
    predicts: what the network returns. `convert` does the rest, and raises
        where the prediction is singular.
    precondition: None, or "edm": the network F of Karras et al. (2022, table 1) in
        D = c_skip x̃ + c_out F(c_in x̃, c_noise) with x̃ = x/α and noise level σ/α.
        With s² = α² σ_d² + σ², the variance of x_t for data of variance σ_d², this is
        D = (α σ_d²/s²) x + (σ σ_d/s) F(x/s, ¼ log(σ/α)), finite at α = 0 and at
        σ = 0. The log is −λ/8 of a log-SNR λ clamped to ±20. `predicts` must
        be "x0" then, because D is formed before any conversion.
    sigma_data: σ_d, the data's standard deviation, in the units of x.

    Returns a callable with the attribute `path`. Gradients pass through it. Raises
    TypeError and ValueError for bad arguments, and, when called, for a network whose
    output has not the shape of x.
    """
    if not callable(net):
        raise TypeError(f"net must be callable; got {describe(net)}")
    path = check_is_path(path)
    _check_prediction(predicts, name="predicts")
    if precondition not in (None, "edm"):
        raise ValueError(f"precondition must be None or 'edm'; got {precondition!r}")
    if precondition == "edm" and predicts != "x0":
        raise ValueError(
            f"predicts must be 'x0' with precondition='edm'; got {predicts!r}"
        )
    check_positive(sigma_data, name="sigma_data")
    if not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise TypeError(
            f"dtype must be a floating-point torch.dtype; got {describe(dtype)}"
        )

    def call(x: Tensor, time: Tensor) -> Tensor:
        arguments = [x.to(dtype), time.to(dtype).expand(x.shape[0])]
        out = net(*arguments) if cond is None else net(*arguments, cond)
        if not isinstance(out, Tensor) or out.shape != x.shape:
            raise ValueError(
                f"net must return a tensor of x's shape {tuple(x.shape)}; "
                f"got {describe(out)}"
            )
        return out.to(x.dtype)

    def plain(x: Tensor, t: Tensor | float) -> Tensor:
        x = check_state(x)
        t = time_like(t, x)
        return convert(call(x, t), x, t, path, source=predicts, target="x0")

    def edm(x: Tensor, t: Tensor | float) -> Tensor:
        x = check_state(x)
        t = time_like(t, x)
        alpha, sigma = path.alpha(t), path.sigma(t)
        s = ((alpha * sigma_data).square() + sigma.square()).sqrt()
        c_noise = -path.log_snr(t).clamp(-LOG_SNR_LIMIT, LOG_SNR_LIMIT) / 8
        raw = call(x / expand_like(s, x), c_noise)
        c_skip = alpha * sigma_data**2 / s.square()
        c_out = sigma * sigma_data / s
        return expand_like(c_skip, x) * x + expand_like(c_out, x) * raw

    return PathDenoiser(edm if precondition == "edm" else plain, path)
