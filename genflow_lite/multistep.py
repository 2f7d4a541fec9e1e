"""Samplers of second order: DDIM's step, corrected by other values of D.

In the clock ℓ = log α/σ, half of the log-SNR λ of this book and the λ of the papers, a
step t → r has the length h = ℓ_r − ℓ_t > 0, and by variation of constants the
probability flow is

    x_r = (σ_r/σ_t) x_t + α_r ∫₀ʰ e^(s − h) D ds,   D along the flow, s = ℓ − ℓ_t.

What is linear in x is solved without error; only D has to be guessed. A constant D
gives the step of ``ddim`` at η = 0,

    x_r = a x_t + b D,   a = σ_r/σ_t,   b = α_r (1 − e^(−h)),

and every sampler here is that step with a correction from other values of D. Where h
is infinite (α_t = 0 or σ_r = 0) there is nothing to interpolate over, and the step is
left uncorrected: first order where the path starts in pure noise, and D itself at the
end where σ = 0.

As in ``genflow_lite.samplers``, arguments are checked at the call, the coefficients of
all steps are prepared at once, and the result is an iterator over n + 1 fresh float64
states. Nothing is random. Gradients flow through the steps.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from genflow_lite._shapes import Denoiser, State
from genflow_lite.paths import GaussianPath
from genflow_lite.samplers import _arguments

__all__ = ["dpm_solver_2", "dpmpp_2m", "plms"]

_ADAMS = (
    (1.0,),
    (3 / 2, -1 / 2),
    (23 / 12, -16 / 12, 5 / 12),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)
"""Adams–Bashforth for equal steps: row j weighs the latest j + 1 values, newest first.

Each row is the mean over the coming step of the polynomial through those values.
"""


def plms(
    denoise: Denoiser, path: GaussianPath, x: State, ts: Tensor
) -> Iterator[State]:
    """PNDM's linear multistep: the noise is extrapolated, the step is that of DDIM.

    With ε_k = (x − α D)/σ at the k-th time of the grid and t → r its k-th step,

    ε′ = (55 ε_k − 59 ε_{k−1} + 37 ε_{k−2} − 9 ε_{k−3})/24,
    x_r = (α_r/α_t) x + (σ_r − α_r σ_t/α_t) ε′.

    It starts with (ε_0 + ε̂_1)/2, ε̂_1 at the DDIM step's own end (two evaluations),
    then (3, −1)/2 and (23, −16, 5)/12 of the values there are. Every later step costs
    one evaluation, n + 1 in all. A first step from α = 0 and a last step to σ = 0 use
    ε_k alone and cost one evaluation: they are DDIM's, and the last state is D(x, t).

    In terms of D the first step is DDIM's to x̂ and ½ α_r (e^h − 1) [D(x̂, r) − D(x, t)]
    more. e^h = α_r σ_t/(α_t σ_r) is large in a long step from an α_t that is tiny but
    not 0: begin with a short one there, or at α = 0.

    Order 2, not 4, on a grid that is equally spaced in any smooth clock: the weights
    are those of equal steps and average ε over the index k, but the flow averages it
    over σ/α. On a grid whose steps jump in length the order is 1.

    denoise: D(x, t) with x (B, *S) and t a 0-dim tensor. x: (B, *S), a sample of the
    marginal at ts[0]. ts: (n + 1,) float64, strictly decreasing in [0, 1]; it may
    start at α = 0 and end at σ = 0. Yields n + 1 fresh states (B, *S).

    Raises TypeError or ValueError at the call for arguments of another kind, shape
    or order, an x that is not finite, and a denoiser made for another path; at the
    step for a D of another shape than x.
    Source: Liu et al. (2022), "Pseudo numerical methods for diffusion models on
    manifolds": the linear multistep of F-PNDM after the first step of S-PNDM.
    """
    denoise, x, ts = _arguments(denoise, path, x, ts, "decreasing")
    h = _lengths(path, ts)
    ddim_steps = _ddim_steps(path, ts[:-1], ts[1:], h)
    alpha, sigma = path.alpha(ts), path.sigma(ts)
    # x_r = DDIM + c (ε_k − ε′): with the difference, α_t = 0 costs no digits.
    pull = _where_finite(h, sigma[1:] * torch.expm1(h))
    first = float(_where_finite(h, alpha[1:] * torch.expm1(h) / 2)[0])
    a, b, c = (column.tolist() for column in (*ddim_steps, pull))

    def states() -> Iterator[State]:
        state, history = x, []
        yield state.clone()
        for k, t in enumerate(ts[:-1]):
            d = _own(denoise(state, t), state)
            noise = (state - alpha[k] * d) / sigma[k]
            move = a[k] * state + b[k] * d
            history = [noise, *history[:3]]
            if k == 0 and first != 0:
                state = move + first * (denoise(move, ts[1]) - d)
            else:
                weights = _ADAMS[len(history) - 1]
                mean = sum(w * e for w, e in zip(weights, history, strict=True))
                state = move - c[k] * (mean - noise)
            yield state.clone()

    return states()


def dpm_solver_2(
    denoise: Denoiser, path: GaussianPath, x: State, ts: Tensor
) -> Iterator[State]:
    """DPM-Solver-2: the midpoint rule in ℓ = ½ log-SNR, for ε. Order 2.

    With s the time halfway in ℓ, ε(x, t) = (x − α D)/σ and h = ℓ_r − ℓ_t,

    u   = (α_s/α_t) x − σ_s (e^(h/2) − 1) ε(x, t),
    x_r = (α_r/α_t) x − σ_r (e^h − 1) ε(u, s).

    In terms of D that is u = DDIM's step to s and, without a division by α_t,

    x_r = a x + b D(x, t) + 2 α_r sinh(h/2) [D(u, s) − D(x, t)].

    That correction, too, is large in a long step from a tiny α_t. Two evaluations a
    step; one where h is infinite, and that step is DDIM's: from
    α = 0, and to σ = 0, where the last state is D(x, t).

    Arguments, result and errors as in ``plms``.
    Source: Lu et al. (2022), algorithm 1.
    """
    denoise, x, ts = _arguments(denoise, path, x, ts, "decreasing")
    h = _lengths(path, ts)
    finite = h.isfinite()
    half = path.log_snr(ts) / 2
    middle = ts[1:].clone()
    # λ of the book is 2ℓ, so the sum of two neighbouring ℓ is the λ halfway.
    middle[finite] = path.t_of_log_snr((half[:-1] + half[1:])[finite])
    to_middle = _ddim_steps(path, ts[:-1], middle, torch.where(finite, h / 2, h))
    to_end = _ddim_steps(path, ts[:-1], ts[1:], h)
    turn = _where_finite(h, 2 * path.alpha(ts[1:]) * (h / 2).sinh())
    columns = (*to_middle, *to_end, turn)
    a_s, b_s, a, b, c = (column.tolist() for column in columns)

    def states() -> Iterator[State]:
        state = x
        yield state.clone()
        for k, t in enumerate(ts[:-1]):
            d = _own(denoise(state, t), state)
            u = a_s[k] * state + b_s[k] * d
            state = a[k] * state + b[k] * d
            if c[k] != 0:
                state = state + c[k] * (denoise(u, middle[k]) - d)
            yield state.clone()

    return states()


def dpmpp_2m(
    denoise: Denoiser, path: GaussianPath, x: State, ts: Tensor
) -> Iterator[State]:
    """DPM-Solver++(2M): D is extrapolated from the step before. Order 2.

    With h = ℓ_r − ℓ_t of this step and h′ of the one before it, ℓ = ½ log-SNR,

    D′ = (1 + w) D_k − w D_{k−1},   w = h/(2h′),
    x_r = (σ_r/σ_t) x + α_r (1 − e^(−h)) D′,

    the line through the last two values of D, read halfway through the step in ℓ.
    One evaluation a step. w = 0, DDIM's step, in the first step; in the second if the
    first left α = 0, for then h′ is infinite; and in a last step to σ = 0, where h is
    infinite and the last state is D(x, t).

    Arguments, result and errors as in ``plms``.
    Source: Lu et al. (2022), "DPM-Solver++: Fast solver for guided sampling of
    diffusion probabilistic models", algorithm 2.
    """
    denoise, x, ts = _arguments(denoise, path, x, ts, "decreasing")
    h = _lengths(path, ts)
    ratio = _where_finite(h[1:], h[1:] / (2 * h[:-1]))
    # Two times one rounding apart may share their ℓ: there is no line through them.
    ratio = torch.where(h[:-1] > 0, ratio, 0.0)
    columns = (*_ddim_steps(path, ts[:-1], ts[1:], h), ratio)
    a, b, w = (column.tolist() for column in columns)

    def states() -> Iterator[State]:
        state, before = x, None
        yield state.clone()
        for k, t in enumerate(ts[:-1]):
            d = _own(denoise(state, t), state)
            guess = d if before is None else d + w[k - 1] * (d - before)
            state, before = a[k] * state + b[k] * guess, d
            yield state.clone()

    return states()


def _lengths(path: GaussianPath, ts: Tensor) -> Tensor:
    """(n,): h = ℓ_r − ℓ_t of every step, infinite where α_t = 0 or σ_r = 0."""
    return path.log_snr(ts).diff() / 2


def _ddim_steps(
    path: GaussianPath, t: Tensor, r: Tensor, h: Tensor
) -> tuple[Tensor, Tensor]:
    """a and b of x_r = a x + b D, the flow's step t → r for a constant D."""
    return path.sigma(r) / path.sigma(t), -path.alpha(r) * torch.expm1(-h)


def _own(d: Tensor, x: Tensor) -> Tensor:
    """A copy, so that a denoiser may write its next result to the same place."""
    return d.to(x, copy=True)


def _where_finite(h: Tensor, value: Tensor) -> Tensor:
    """The coefficient of a correction: 0, none, where the step is infinite."""
    return torch.where(h.isfinite(), value, 0.0)
