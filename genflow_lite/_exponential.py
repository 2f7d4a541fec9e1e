"""DPM-Solver++ beyond its second order: a third, and noise along the way.

Both stand in the clock ℓ = log α/σ and interpolate D there, as ``dpmpp_2m`` does.
"""

from collections.abc import Iterator

import torch
from torch import Generator, Tensor

from genflow_lite._shapes import Denoiser, State, check_generator
from genflow_lite._steps import ddim_steps, integrals, lengths, own, where_finite
from genflow_lite.paths import GaussianPath
from genflow_lite.samplers import _arguments, _normal_like, _number


def dpmpp_3m(
    denoise: Denoiser, path: GaussianPath, x: State, ts: Tensor
) -> Iterator[State]:
    """The exponential integrator with a parabola through three values of D. Order 3.

    With s = ℓ − ℓ_t from 0 to h over the step t → r and P the parabola through the
    last three values of D, at s = 0, −h′ and −h′ − h″,

    x_r = (σ_r/σ_t) x + α_r ∫₀ʰ e^(s − h) P(s) ds
        = (σ_r/σ_t) x + α_r [I_0 D_k + I_1 Δ + (I_2 + h′ I_1) Δ²],
    Δ = (D_k − D_{k−1})/h′,   Δ′ = (D_{k−1} − D_{k−2})/h″,   Δ² = (Δ − Δ′)/(h′ + h″)

    and I_q = ∫₀ʰ e^(s − h) s^q ds. The multistep that is called DPM-Solver++(3M)
    elsewhere keeps half of I_2 Δ², which costs it the third order.

    The second step has the line through two values. The first is DDIM's to x̂, and
    then α_r (I_1/h) [D(x̂, r) − D_0] is added: the line again, now through both ends.
    D(x̂, r) also serves the next step in place of D_1, so that n steps cost n
    evaluations (and one more where there is no next step).

    A step of infinite length (α_t = 0 or σ_r = 0) is DDIM's, and its D at α = 0 is
    not used again; the first step after it counts as the first, and is left at x̂ if an
    infinite one follows at once. The last state of a
    grid that ends at σ = 0 is D at the last noisy time.

    denoise: D(x, t) with x (B, *S) and t a 0-dim tensor. x: (B, *S), a sample of the
    marginal at ts[0]. ts: (n + 1,) float64, strictly decreasing in [0, 1]; it may
    start at α = 0 and end at σ = 0. Yields n + 1 fresh states (B, *S).

    Raises TypeError or ValueError as ``plms`` does. Source: Lu et al. (2022),
    "DPM-Solver++", for the family; Hochbruck and Ostermann (2010), section 2.5, for
    exponential Adams methods of any order.
    """
    denoise, x, ts = _arguments(denoise, path, x, ts, "decreasing")
    h = lengths(path, ts)
    a, b = (column.tolist() for column in ddim_steps(path, ts[:-1], ts[1:], h))
    line, bend, lift = (column.tolist() for column in third_order_weights(path, ts, h))
    first = next((k for k, c in enumerate(lift) if c != 0), -1)

    def states() -> Iterator[State]:
        state, ready, before, change = x, None, None, None
        yield state.clone()
        for k, t in enumerate(ts[:-1]):
            d = own(denoise(state, t), state) if ready is None else ready
            state, ready = torch.add(state * a[k], d, alpha=b[k]), None
            if k > first and before is not None:
                last_change, change = change, d - before
                state = state.add(change, alpha=line[k])
                if last_change is not None:
                    state = state.add(last_change, alpha=bend[k])
            elif k == first:
                ready = own(denoise(state, ts[k + 1]), state)
                state = state.add(ready - d, alpha=lift[k])
            before = d
            yield state.clone()

    return states()


def dpmpp_2m_sde(
    denoise: Denoiser,
    path: GaussianPath,
    x: State,
    ts: Tensor,
    *,
    eta: float = 1.0,
    generator: Generator | None = None,
) -> Iterator[State]:
    """SDE-DPM-Solver++(2M): ``dpmpp_2m`` for the reverse-time family with noise.

    In ℓ the reverse-time SDE with noise level κ² = η is linear but for D, and over a
    step of length h

    x_r = (σ_r/σ_t) e^(−ηh) x + α_r (1 − e^(−(1 + η)h)) D′ + σ_r √(1 − e^(−2ηh)) z,
    D′ = (1 + w) D_k − w D_{k−1},   w = h/(2h′)

    with D′ as in ``dpmpp_2m``. η = 0 is ``dpmpp_2m``; η = 1 the reverse-time SDE of
    Anderson, whose first step is that of ``ddim`` at η = 1 (DDPM's ancestral step).
    For a constant D the law of x_r is exact at any η. One evaluation a step.

    eta: κ², a number ≥ 0; not ``ddim``'s η, though 0 and 1 mean the same in both.
    generator: draws z; needed when eta > 0. Other arguments and errors as in
    ``dpmpp_2m``. A step from α = 0 is α_r D + σ_r z if eta > 0; a last step to σ = 0
    gives D(x, t).

    Source: Lu et al. (2022), "DPM-Solver++", section 5 for η = 1, in the form that
    k-diffusion gave it for any η.
    """
    eta = _number(eta, "eta")
    denoise, x, ts = _arguments(denoise, path, x, ts, "decreasing")
    if eta > 0:
        check_generator(generator)
    h = lengths(path, ts)
    ratio, _ = ddim_steps(path, ts[:-1], ts[1:], h)
    spread = eta * h if eta > 0 else torch.zeros_like(h)  # not 0·∞
    a = ratio * torch.exp(-spread)
    b = -path.alpha(ts[1:]) * torch.expm1(-h - spread)
    c = path.sigma(ts[1:]) * (-torch.expm1(-2 * spread)).sqrt()
    columns = (a, b, b * line_weights(h), c)
    a, b, lift, c = (column.tolist() for column in columns)

    def states() -> Iterator[State]:
        state, before = x, None
        yield state.clone()
        for k, t in enumerate(ts[:-1]):
            d = own(denoise(state, t), state)
            state = torch.add(state * a[k], d, alpha=b[k])
            if before is not None:
                state = state.add(d - before, alpha=lift[k])
            if generator is not None and c[k] != 0:
                state = state.add(_normal_like(state, generator), alpha=c[k])
            before = d
            yield state.clone()

    return states()


def line_weights(h: Tensor) -> Tensor:
    """(n,): w = h/(2h′) of every step, 0 in the first and where there is no line.

    There is none over an infinite step, after one, and through two times that are one
    rounding apart and share their ℓ.
    """
    w = where_finite(h[1:], h[1:] / (2 * h[:-1]))
    return torch.cat([h.new_zeros(1), torch.where(h[:-1] > 0, w, 0.0)])


def third_order_weights(
    path: GaussianPath, ts: Tensor, h: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """(n,) each: what multiplies D_k − D_{k−1}, D_{k−1} − D_{k−2}, and the first lift.

    A difference that is missing, infinitely far or between two times of one ℓ has the
    weight 0, and the order of that step is lower.
    """
    alpha, finite = path.alpha(ts[1:]), h.isfinite()
    step = torch.where(finite, h, 1.0)
    _, i1, i2 = integrals(step)
    # The lengths of the two steps before; ∞ where there is no such step.
    before = torch.cat([h.new_full((1,), torch.inf), h[:-1]])
    earlier = torch.cat([h.new_full((1,), torch.inf), before[:-1]])
    has_line = finite & before.isfinite() & (before > 0)
    has_bend = has_line & earlier.isfinite() & (earlier > 0)
    one, two = torch.where(has_line, before, 1.0), torch.where(has_bend, earlier, 1.0)
    bend = torch.where(has_bend, alpha * (i2 + one * i1) / (one + two), 0.0)
    line = torch.where(has_line, alpha * i1, 0.0)
    # Before an infinite step the end of the lift would never be evaluated again.
    goes_on = torch.cat([finite[1:], finite.new_ones(1)])
    starts = finite & ~before.isfinite() & (step > 0) & goes_on
    lift = torch.where(starts, alpha * i1 / step, 0.0)
    return (line + bend) / one, -bend / two, lift
