"""Adams' methods on the straight path, whatever path the denoiser was made for."""

from collections.abc import Iterator

import torch
from torch import Tensor

from genflow_lite._shapes import Denoiser, State, describe, holds
from genflow_lite.paths import GaussianPath
from genflow_lite.samplers import _arguments

_ORDER = 3


def adams(
    denoise: Denoiser,
    path: GaussianPath,
    x: State,
    ts: Tensor,
    *,
    correct: bool = True,
) -> Iterator[State]:
    """Adams–Bashforth–Moulton on the straightened path: n evaluations, order 3.

    y = x/(α + σ) as a function of τ = σ/(α + σ) is the state of the rectified path,
    y = (1 − τ) x0 + τ ε, whatever the path of x. Its velocity

    dy/dτ = v,   v = (y − D)/τ,

    is smooth up to pure noise, τ = 1, where nothing has to be left out, and down to
    the data, τ = 0, where the last step extrapolates it. Over a step from τ_k

    ŷ = y_k + ∫ P dτ,   P the parabola through v_k, v_{k−1}, v_{k−2},
    y_{k+1} = y_k + ∫ Q dτ,   Q the parabola through v̂_{k+1}, v_k, v_{k−1},

    with v̂_{k+1} = (ŷ − D(ŷ))/τ_{k+1}, which the next step uses again in place of
    v_{k+1}: predict, evaluate, correct. The correction is free but for the last step,
    which has no evaluation at its end and stops at ŷ. The weights follow the grid.
    The first step takes the lines and points there are: Euler's, corrected to the
    trapezoid, then order 3 from the second correction on.

    correct=False is Adams–Bashforth alone, y_{k+1} = ŷ. Its first step is Euler's,
    and on a grid of equal steps the error of that one step, O(h²), is what remains
    in the end; with the correction it is O(h³).

    denoise: D(x, t) with x (B, *S) and t a 0-dim tensor. x: (B, *S), a sample of the
    marginal at ts[0]. ts: (n + 1,) float64, strictly decreasing in [0, 1]; it may
    start at α = 0 and end at σ = 0. The grid ``time_grid(..., spacing="adams")`` is
    made for it. Yields n + 1 fresh states (B, *S).

    Raises TypeError or ValueError as ``plms`` does, and for two times of one τ.
    Source: Hairer, Nørsett and Wanner (1993), section III.1 and III.5 for unequal
    steps; Zhao et al. (2023), "UniPC", for the free correction.
    """
    if not isinstance(correct, bool):
        raise TypeError(f"correct must be True or False; got {describe(correct)}")
    denoise, x, ts = _arguments(denoise, path, x, ts, "decreasing")
    size = path.alpha(ts) + path.sigma(ts)
    tau = path.sigma(ts) / size
    if not holds(tau.diff() < 0):
        raise ValueError(
            f"ts holds two times that the path {path.name} puts on the same "
            "sigma/(alpha + sigma): no line goes through them"
        )
    predictor = adams_weights(tau, ahead=False).tolist()
    corrector = adams_weights(tau, ahead=True).tolist()
    sizes, taus, n = size.tolist(), tau.tolist(), len(ts) - 1

    def states() -> Iterator[State]:
        yield x.clone()
        y = x / sizes[0]
        seen = [(y - denoise(x, ts[0])) / taus[0]]
        for k in range(n):
            guess = _advance(y, predictor[k], seen)
            if k == n - 1:
                yield guess * sizes[n]
                return
            end = guess * sizes[k + 1]
            rate = (guess - denoise(end, ts[k + 1])) / taus[k + 1]
            y = _advance(y, corrector[k], [rate, *seen]) if correct else guess
            seen = [rate, *seen[: _ORDER - 1]]
            yield y * sizes[k + 1]

    return states()


def adams_weights(tau: Tensor, *, ahead: bool) -> Tensor:
    """(n, 3): the weights of v in the steps of a grid, newest value first.

    Row k integrates from τ_k to τ_{k+1} the polynomial through the values at τ_k,
    τ_{k−1}, τ_{k−2}, or with ``ahead`` at τ_{k+1}, τ_k, τ_{k−1}; through those there
    are in the first rows, whose other weights are 0.

    With c_j = (τ_j − τ_k)/h the weights h ω_j are those that integrate the powers
    1, c, c² over [0, 1] without error: Σ_j ω_j c_j^q = 1/(q + 1).
    """
    n = len(tau) - 1
    h = tau.diff()
    nodes = torch.arange(n)[:, None] + int(ahead) - torch.arange(_ORDER)
    weights = tau.new_zeros(n, _ORDER)
    for k in range(n):
        # Rows with a full history differ in nothing but numbers: solve them at once.
        count = int((nodes[k] >= 0).sum())
        rows = slice(k, n) if count == _ORDER else slice(k, k + 1)
        c = (tau[nodes[rows, :count]] - tau[rows, None]) / h[rows, None]
        powers = torch.arange(count, dtype=tau.dtype)
        vandermonde = c[:, None, :] ** powers[:, None]
        moments = (1 / (powers + 1)).expand(len(c), -1)
        solved = torch.linalg.solve(vandermonde, moments)
        weights[rows, :count] = h[rows, None] * solved
        if count == _ORDER:
            break
    return weights


def _advance(y: Tensor, weights: list[float], rates: list[Tensor]) -> Tensor:
    for weight, rate in zip(weights, rates, strict=False):
        y = y.add(rate, alpha=weight)
    return y
