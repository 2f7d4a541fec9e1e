"""Samplers of higher order: DDIM's step, corrected by other values of D.

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
end where σ = 0. The exception is ``adams``, which straightens the path first and has
no such steps.

As in ``genflow_lite.samplers``, arguments are checked at the call, the coefficients of
all steps are prepared at once, and the result is an iterator over n + 1 fresh float64
states. Only ``dpmpp_2m_sde`` is random. Gradients flow through the steps.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from genflow_lite._adams import adams
from genflow_lite._exponential import dpmpp_2m_sde, dpmpp_3m
from genflow_lite._jump import gaussian_jump
from genflow_lite._shapes import Denoiser, State
from genflow_lite._steps import ddim_steps, lengths, own, where_finite
from genflow_lite.paths import GaussianPath
from genflow_lite.samplers import _arguments

__all__ = [
    "adams",
    "dpm_solver_2",
    "dpmpp_2m",
    "dpmpp_2m_sde",
    "dpmpp_3m",
    "gaussian_jump",
    "plms",
]

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
    h = lengths(path, ts)
    of_ddim = ddim_steps(path, ts[:-1], ts[1:], h)
    alpha, sigma = path.alpha(ts), path.sigma(ts)
    # x_r = DDIM + c (ε_k − ε′): with the difference, α_t = 0 costs no digits.
    pull = where_finite(h, sigma[1:] * torch.expm1(h)).tolist()
    first = float(where_finite(h, alpha[1:] * torch.expm1(h) / 2)[0])
    a, b, alphas, sigmas = (c.tolist() for c in (*of_ddim, alpha, sigma))

    def states() -> Iterator[State]:
        state, history = x, []
        yield state.clone()
        for k, t in enumerate(ts[:-1]):
            d = denoise(state, t)
            noise = torch.sub(state, d, alpha=alphas[k]) / sigmas[k]
            history = [noise, *history[:3]]
            move = torch.add(state * a[k], d, alpha=b[k])
            if k == 0 and first != 0:
                d = own(d, state)
                state = torch.add(move, denoise(move, ts[1]) - d, alpha=first)
            else:
                state = move
                weights = _ADAMS[len(history) - 1]
                for j, (w, e) in enumerate(zip(weights, history, strict=True)):
                    state = state.add(e, alpha=-pull[k] * (w - 1 if j == 0 else w))
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
    Source: Lu et al. (2022), DPM-Solver, algorithm 1.
    """
    denoise, x, ts = _arguments(denoise, path, x, ts, "decreasing")
    h = lengths(path, ts)
    finite = h.isfinite()
    half = path.log_snr(ts) / 2
    middle = ts[1:].clone()
    # λ of the book is 2ℓ, so the sum of two neighbouring ℓ is the λ halfway.
    middle[finite] = path.t_of_log_snr((half[:-1] + half[1:])[finite])
    to_middle = ddim_steps(path, ts[:-1], middle, torch.where(finite, h / 2, h))
    to_end = ddim_steps(path, ts[:-1], ts[1:], h)
    turn = where_finite(h, 2 * path.alpha(ts[1:]) * (h / 2).sinh())
    columns = (*to_middle, *to_end, turn)
    a_s, b_s, a, b, c = (column.tolist() for column in columns)

    def states() -> Iterator[State]:
        state = x
        yield state.clone()
        for k, t in enumerate(ts[:-1]):
            d = own(denoise(state, t), state)
            move = torch.add(state * a[k], d, alpha=b[k])
            if c[k] != 0:
                u = torch.add(state * a_s[k], d, alpha=b_s[k])
                move = torch.add(move, denoise(u, middle[k]) - d, alpha=c[k])
            state = move
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
    infinite and the last state is D(x, t). It is ``dpmpp_2m_sde`` without noise.

    Arguments, result and errors as in ``plms``.
    Source: Lu et al. (2022), "DPM-Solver++: Fast solver for guided sampling of
    diffusion probabilistic models", algorithm 2.
    """
    return dpmpp_2m_sde(denoise, path, x, ts, eta=0.0)
