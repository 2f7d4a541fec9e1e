"""Every sampler's method written out by hand: the loops of `overhead.py`.

Each has at most ten lines, its coefficients are Python numbers prepared beforehand,
nothing is checked and only the last state is kept. All run along one grid.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

import genflow_lite as gl
from genflow_lite._adams import adams_weights
from genflow_lite._exponential import line_weights, third_order_weights
from genflow_lite._steps import ddim_steps, lengths
from genflow_lite.ode import _ab_weights

STEPS = 50
PATH = gl.vp()
TS = gl.time_grid(PATH, STEPS, spacing="log_snr", t_max=0.99, t_min=0.01)
T, H = list(TS), TS.diff().tolist()
Loop = Callable[[Tensor, Tensor], Tensor]
"""From the start and the model's constant output to the last state."""


def model(out: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """A model that costs nothing."""
    return lambda x, t: out  # noqa: ARG005


def numbers(*columns: Tensor) -> list[list[float]]:
    """Coefficients as Python numbers."""
    return [column.tolist() for column in columns]


LEN = lengths(PATH, TS)
A, B = numbers(*ddim_steps(PATH, TS[:-1], TS[1:], LEN))
ALPHA, SIGMA = numbers(PATH.alpha(TS), PATH.sigma(TS))


def euler(x: Tensor, out: Tensor) -> Tensor:
    u = model(out)
    for k in range(STEPS):
        x = x + H[k] * u(x, T[k])
    return x


def heun(x: Tensor, out: Tensor) -> Tensor:
    u = model(out)
    for k in range(STEPS):
        k1 = u(x, T[k])
        x = x + H[k] / 2 * (k1 + u(x + H[k] * k1, T[k + 1]))
    return x


MIDDLE = [t + h / 2 for t, h in zip(T, H, strict=False)]


def rk4(x: Tensor, out: Tensor) -> Tensor:
    u = model(out)
    for k in range(STEPS):
        h = H[k]
        k1 = u(x, T[k])
        k2 = u(x + h / 2 * k1, MIDDLE[k])
        k3 = u(x + h / 2 * k2, MIDDLE[k])
        k4 = u(x + h * k3, T[k + 1])
        x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return x


AB = _ab_weights(TS, 3).tolist()


def adams_bashforth(x: Tensor, out: Tensor) -> Tensor:
    # The two Runge–Kutta steps at the start are left out, in favour of the bare loop.
    u, v1, v2 = model(out), out, out
    for k in range(STEPS):
        v = u(x, T[k])
        x = x + AB[k][0] * v + AB[k][1] * v1 + AB[k][2] * v2
        v1, v2 = v, v1
    return x


def ddim(x: Tensor, out: Tensor) -> Tensor:
    denoise = model(out)
    for k in range(STEPS):
        x = A[k] * x + B[k] * denoise(x, T[k])
    return x


def with_noise(a: Tensor, b: Tensor, c: Tensor) -> Loop:
    """x ← a x + b D + c z, the loop of every one-step sampler with noise."""
    p, q, r = numbers(a, b, c)

    def loop(x: Tensor, out: Tensor) -> Tensor:
        denoise, g = model(out), torch.Generator().manual_seed(0)
        for k in range(STEPS):
            z = torch.randn(x.shape, generator=g, dtype=x.dtype)
            x = p[k] * x + q[k] * denoise(x, T[k]) + r[k] * z
        return x

    return loop


def ancestral() -> Loop:
    kept = PATH.alpha(TS)[:-1] * PATH.sigma(TS)[1:]
    kept = kept / (PATH.alpha(TS)[1:] * PATH.sigma(TS)[:-1])
    a = PATH.sigma(TS)[1:] * kept / PATH.sigma(TS)[:-1]
    b = PATH.alpha(TS)[1:] - a * PATH.alpha(TS)[:-1]
    return with_noise(a, b, PATH.sigma(TS)[1:] * (1 - kept.square()).sqrt())


def reverse_sde() -> Loop:
    (f, g), h = PATH.sde(TS[:-1]), -TS.diff()
    pull = h * g.square() / PATH.sigma(TS[:-1]).square()
    return with_noise(1 - h * f - pull, pull * PATH.alpha(TS[:-1]), g * h.sqrt())


def langevin(x: Tensor, out: Tensor) -> Tensor:
    denoise, g = model(out), torch.Generator().manual_seed(0)
    for k in range(1, STEPS + 1):
        z = torch.randn(x.shape, generator=g, dtype=x.dtype)
        x = 0.9 * x + 0.1 * ALPHA[k] * denoise(x, T[k]) + 0.2**0.5 * SIGMA[k] * z
    return x


C = (PATH.sigma(TS[1:]) * torch.expm1(LEN)).tolist()


def plms(x: Tensor, out: Tensor) -> Tensor:
    # From the fourth step on; the three before would be cheaper.
    denoise, e1, e2, e3 = model(out), out, out, out
    for k in range(STEPS):
        d = denoise(x, T[k])
        e = (x - ALPHA[k] * d) / SIGMA[k]
        mean = (55 * e - 59 * e1 + 37 * e2 - 9 * e3) / 24
        x = A[k] * x + B[k] * d - C[k] * (mean - e)
        e1, e2, e3 = e, e1, e2
    return x


HALF = PATH.t_of_log_snr((PATH.log_snr(TS)[:-1] + PATH.log_snr(TS)[1:]) / 2)
AS, BS = numbers(*ddim_steps(PATH, TS[:-1], HALF, LEN / 2))
S = list(HALF)
TURN = (2 * PATH.alpha(TS[1:]) * (LEN / 2).sinh()).tolist()


def dpm_solver_2(x: Tensor, out: Tensor) -> Tensor:
    denoise = model(out)
    for k in range(STEPS):
        d = denoise(x, T[k])
        u = AS[k] * x + BS[k] * d
        x = A[k] * x + B[k] * d + TURN[k] * (denoise(u, S[k]) - d)
    return x


W = line_weights(LEN).tolist()


def dpmpp_2m(x: Tensor, out: Tensor) -> Tensor:
    denoise, before = model(out), out
    for k in range(STEPS):
        d = denoise(x, T[k])
        x = A[k] * x + B[k] * (d + W[k] * (d - before))
        before = d
    return x


LINE, BEND, _ = numbers(*third_order_weights(PATH, TS, LEN))


def dpmpp_3m(x: Tensor, out: Tensor) -> Tensor:
    denoise, before, slope = model(out), out, torch.zeros_like(x)
    for k in range(STEPS):
        d = denoise(x, T[k])
        change = d - before
        x = A[k] * x + B[k] * d + LINE[k] * change + BEND[k] * slope
        before, slope = d, change
    return x


AN = (PATH.sigma(TS[1:]) / PATH.sigma(TS[:-1]) * torch.exp(-LEN)).tolist()
BN = (-PATH.alpha(TS[1:]) * torch.expm1(-2 * LEN)).tolist()
CN = (PATH.sigma(TS[1:]) * (-torch.expm1(-2 * LEN)).sqrt()).tolist()


def dpmpp_2m_sde(x: Tensor, out: Tensor) -> Tensor:
    denoise, before = model(out), out
    g = torch.Generator().manual_seed(0)
    for k in range(STEPS):
        d = denoise(x, T[k])
        z = torch.randn(x.shape, generator=g, dtype=x.dtype)
        x = AN[k] * x + BN[k] * (d + W[k] * (d - before)) + CN[k] * z
        before = d
    return x


SIZE = (PATH.alpha(TS) + PATH.sigma(TS)).tolist()
TAU = (PATH.sigma(TS) / (PATH.alpha(TS) + PATH.sigma(TS))).tolist()
_TAU = torch.tensor(TAU, dtype=torch.float64)
P, Q = (adams_weights(_TAU, ahead=ahead).tolist() for ahead in (False, True))


def adams(x: Tensor, out: Tensor) -> Tensor:
    denoise, y, n = model(out), x / SIZE[0], STEPS
    v = v1 = v2 = (y - denoise(x, T[0])) / TAU[0]
    for k in range(n - 1):
        guess = y + P[k][0] * v + P[k][1] * v1 + P[k][2] * v2
        d = denoise(SIZE[k + 1] * guess, T[k + 1])
        rate = (guess - d) / TAU[k + 1]
        y = y + Q[k][0] * rate + Q[k][1] * v + Q[k][2] * v1
        v, v1, v2 = rate, v, v1
    return SIZE[n] * (y + P[-1][0] * v + P[-1][1] * v1 + P[-1][2] * v2)
