"""What a sampler costs beside the network: time per step against its own bare loop.

    python benchmarks/overhead.py           every sampler of every library
    python benchmarks/overhead.py dpmpp_2m  some of ours

The bare loop is what you would write by hand for this one method: at most ten lines
with the coefficients as Python numbers prepared before, no checks, the same dtype,
nothing kept but the last state. The model costs nothing: it returns a tensor that lies
there. Times are the least of many runs of 50 steps on one thread, the two loops taking
turns, so that a busy machine disturbs both alike. What a sampler does once, at the
call (its checks and coefficients), stands apart as `setup`; the bare loop has none.

Two shapes in float64: 1024 × 2, where every operation is a call and hardly any
arithmetic, and 16 × 3 × 32 × 32, where it is mostly memory. The result is printed and
written to ``benchmarks/results/overhead.json``. Close other programs first.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

import genflow_lite as gl
from genflow_lite._adams import adams_weights
from genflow_lite._exponential import line_weights, third_order_weights
from genflow_lite._steps import ddim_steps, lengths
from genflow_lite.ode import _ab_weights

RESULTS = Path(__file__).resolve().parent / "results" / "overhead.json"
GOAL = 1.3
SHAPES = {"1024 x 2": (1024, 2), "16 x 3 x 32 x 32": (16, 3, 32, 32)}
STEPS, ROUNDS = 50, 40
PATH = gl.vp()
TS = gl.time_grid(PATH, STEPS, spacing="log_snr", t_max=0.99, t_min=0.01)
T, H = list(TS), TS.diff().tolist()
Loop = Callable[[Tensor, Tensor], Tensor]
"""From the start and the model's constant output to the last state."""


class Pair(NamedTuple):
    """A sampler and the loop that does the same by hand."""

    name: str
    ours: Callable[[Tensor, Tensor], Iterator[Tensor]]
    bare: Loop


def model(out: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """A model that costs nothing."""
    return lambda x, t: out  # noqa: ARG005


def numbers(*columns: Tensor) -> list[list[float]]:
    """Coefficients as Python numbers."""
    return [column.tolist() for column in columns]


LEN = lengths(PATH, TS)
A, B = numbers(*ddim_steps(PATH, TS[:-1], TS[1:], LEN))
ALPHA, SIGMA = numbers(PATH.alpha(TS), PATH.sigma(TS))

# --- the bare loops ------------------------------------------------------------------


def bare_euler(x: Tensor, out: Tensor) -> Tensor:
    u = model(out)
    for k in range(STEPS):
        x = x + H[k] * u(x, T[k])
    return x


def bare_heun(x: Tensor, out: Tensor) -> Tensor:
    u = model(out)
    for k in range(STEPS):
        k1 = u(x, T[k])
        x = x + H[k] / 2 * (k1 + u(x + H[k] * k1, T[k + 1]))
    return x


MIDDLE = [t + h / 2 for t, h in zip(T, H, strict=False)]


def bare_rk4(x: Tensor, out: Tensor) -> Tensor:
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


def bare_adams_bashforth(x: Tensor, out: Tensor) -> Tensor:
    # The two Runge–Kutta steps at the start are left out, in favour of the bare loop.
    u, v1, v2 = model(out), out, out
    for k in range(STEPS):
        v = u(x, T[k])
        x = x + AB[k][0] * v + AB[k][1] * v1 + AB[k][2] * v2
        v1, v2 = v, v1
    return x


def bare_ddim(x: Tensor, out: Tensor) -> Tensor:
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


def bare_langevin(x: Tensor, out: Tensor) -> Tensor:
    denoise, g = model(out), torch.Generator().manual_seed(0)
    for k in range(1, STEPS + 1):
        z = torch.randn(x.shape, generator=g, dtype=x.dtype)
        x = 0.9 * x + 0.1 * ALPHA[k] * denoise(x, T[k]) + 0.2**0.5 * SIGMA[k] * z
    return x


C = (PATH.sigma(TS[1:]) * torch.expm1(LEN)).tolist()


def bare_plms(x: Tensor, out: Tensor) -> Tensor:
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


def bare_dpm_solver_2(x: Tensor, out: Tensor) -> Tensor:
    denoise = model(out)
    for k in range(STEPS):
        d = denoise(x, T[k])
        u = AS[k] * x + BS[k] * d
        x = A[k] * x + B[k] * d + TURN[k] * (denoise(u, S[k]) - d)
    return x


W = line_weights(LEN).tolist()


def bare_dpmpp_2m(x: Tensor, out: Tensor) -> Tensor:
    denoise, before = model(out), out
    for k in range(STEPS):
        d = denoise(x, T[k])
        x = A[k] * x + B[k] * (d + W[k] * (d - before))
        before = d
    return x


LINE, BEND, _ = numbers(*third_order_weights(PATH, TS, LEN))


def bare_dpmpp_3m(x: Tensor, out: Tensor) -> Tensor:
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


def bare_dpmpp_2m_sde(x: Tensor, out: Tensor) -> Tensor:
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


def bare_adams(x: Tensor, out: Tensor) -> Tensor:
    denoise, y, n = model(out), x / SIZE[0], STEPS
    v = v1 = v2 = (y - denoise(x, T[0])) / TAU[0]
    for k in range(n - 1):
        guess = y + P[k][0] * v + P[k][1] * v1 + P[k][2] * v2
        d = denoise(SIZE[k + 1] * guess, T[k + 1])
        rate = (guess - d) / TAU[k + 1]
        y = y + Q[k][0] * rate + Q[k][1] * v + Q[k][2] * v1
        v, v1, v2 = rate, v, v1
    return SIZE[n] * (y + P[-1][0] * v + P[-1][1] * v1 + P[-1][2] * v2)


# --- ours ----------------------------------------------------------------------------


def pairs() -> list[Pair]:
    """Every sampler and solver of the package."""

    def generator() -> torch.Generator:
        return torch.Generator().manual_seed(0)

    def of_u(solver: Callable[..., Any], bare: Loop) -> Pair:
        name = solver.__name__
        return Pair(name, lambda x, out: solver(model(out), x, TS), bare)

    def of_d(sampler: Callable[..., Any], bare: Loop, name: str = "", **k: Any) -> Pair:
        def ours(x: Tensor, out: Tensor) -> Iterator[Tensor]:
            more = {"generator": generator()} if k.get("noisy") else {}
            more |= {key: value for key, value in k.items() if key != "noisy"}
            return sampler(model(out), PATH, x, TS, **more)

        return Pair(name or sampler.__name__, ours, bare)

    return [
        of_u(gl.euler, bare_euler),
        of_u(gl.heun, bare_heun),
        of_u(gl.rk4, bare_rk4),
        of_u(gl.adams_bashforth, bare_adams_bashforth),
        of_d(gl.ddim, bare_ddim),
        of_d(gl.ddim, ancestral(), "ddim, eta = 1", eta=1.0, noisy=True),
        of_d(gl.euler_maruyama, reverse_sde(), noisy=True),
        of_d(gl.langevin, bare_langevin, steps=1, noisy=True),
        of_d(gl.plms, bare_plms),
        of_d(gl.dpm_solver_2, bare_dpm_solver_2),
        of_d(gl.dpmpp_2m, bare_dpmpp_2m),
        of_d(gl.dpmpp_2m_sde, bare_dpmpp_2m_sde, eta=1.0, noisy=True),
        of_d(gl.dpmpp_3m, bare_dpmpp_3m),
        of_d(gl.adams, bare_adams),
    ]


# --- the peers, against the same bare loops ------------------------------------------


class PeerPair(NamedTuple):
    """A peer's loop over its own sampler, and the bare loop of the same method."""

    name: str
    library: str
    run: Loop
    bare: Loop


def _diffusers() -> Iterator[PeerPair]:
    library = importlib.import_module("diffusers")

    def peer(kind: str, bare: Loop, **options: Any) -> PeerPair:
        scheduler = getattr(library, kind)(**options)

        def run(x: Tensor, out: Tensor) -> Tensor:
            scheduler.set_timesteps(STEPS)
            denoise = model(out)
            for t in scheduler.timesteps:
                x = scheduler.scale_model_input(x, t)
                x = scheduler.step(denoise(x, t), t, x, return_dict=False)[0]
            return x

        return PeerPair(kind, "diffusers", run, bare)

    yield peer("DDIMScheduler", bare_ddim, clip_sample=False)
    yield peer("EulerDiscreteScheduler", bare_euler)
    yield peer("PNDMScheduler", bare_plms, skip_prk_steps=True)
    yield peer("DPMSolverMultistepScheduler", bare_dpmpp_2m, solver_order=2)


def _k_diffusion() -> Iterator[PeerPair]:
    from peers import k_sampling

    k = k_sampling()
    grid = k.get_sigmas_karras(STEPS, 0.01, 80.0).double()

    def peer(name: str, bare: Loop) -> PeerPair:
        def run(x: Tensor, out: Tensor) -> Tensor:
            return getattr(k, name)(model(out), x, grid, disable=True)

        return PeerPair(name, "k-diffusion", run, bare)

    yield peer("sample_euler", bare_euler)
    yield peer("sample_heun", bare_heun)
    yield peer("sample_dpmpp_2m", bare_dpmpp_2m)


def _flow_matching() -> Iterator[PeerPair]:
    solver = importlib.import_module("flow_matching.solver.ode_solver").ODESolver

    def peer(method: str, bare: Loop) -> PeerPair:
        grid = torch.linspace(0, 1, STEPS + 1, dtype=torch.float64)

        def run(x: Tensor, out: Tensor) -> Tensor:
            def velocity(x: Tensor, t: Tensor) -> Tensor:  # noqa: ARG001
                return out

            made = solver(velocity)
            return made.sample(x, step_size=None, method=method, time_grid=grid)

        return PeerPair(method, "flow_matching", run, bare)

    yield peer("euler", bare_euler)
    yield peer("rk4", bare_rk4)


def peer_pairs() -> list[PeerPair]:
    """Some samplers of every peer that is installed."""
    found: list[PeerPair] = []
    for library in (_diffusers, _k_diffusion, _flow_matching):
        try:
            found.extend(library())
        except ModuleNotFoundError as missing:
            print(f"{library.__name__.lstrip('_')} is left out: {missing}")
    return found


# --- timing --------------------------------------------------------------------------


def least(rounds: int, *runs: Callable[[], float]) -> list[float]:
    """The least time of each run, which take turns."""
    times = [[run() for run in runs] for _ in range(rounds)]
    return [min(column) for column in zip(*times, strict=True)]


def clock(work: Callable[[], Any]) -> float:
    """Seconds of some work."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(pair: Pair, x: Tensor, out: Tensor) -> dict[str, float]:
    """Microseconds per step of a sampler and its bare loop, and of its set-up."""
    setups: list[float] = []

    def ours() -> float:
        start = time.perf_counter()
        states = pair.ours(x, out)
        next(states)
        setups.append(time.perf_counter() - start)
        return clock(lambda: gl.last(states))

    own, bare = least(ROUNDS, ours, lambda: clock(lambda: pair.bare(x, out)))
    return {
        "us_per_step": round(own / STEPS * 1e6, 2),
        "bare_us_per_step": round(bare / STEPS * 1e6, 2),
        "ratio": round(own / bare, 3),
        "setup_us": round(min(setups) * 1e6, 1),
    }


def compare_peer(pair: PeerPair, x: Tensor, out: Tensor) -> dict[str, float]:
    """The same for a peer, whose set-up is part of its run."""
    own, bare = least(
        max(3, ROUNDS // 8),
        lambda: clock(lambda: pair.run(x, out)),
        lambda: clock(lambda: pair.bare(x, out)),
    )
    return {
        "us_per_step": round(own / STEPS * 1e6, 2),
        "bare_us_per_step": round(bare / STEPS * 1e6, 2),
        "ratio": round(own / bare, 3),
    }


def show(name: str, row: dict[str, float]) -> None:
    setup = f"{row['setup_us']:10.0f}" if "setup_us" in row else ""
    times = f"{row['us_per_step']:10.2f}{row['bare_us_per_step']:10.2f}"
    print(f"{name:46}{times}{row['ratio']:8.2f}{setup}", flush=True)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", help="samplers of ours; all by default")
    wanted = parser.parse_args().names
    torch.set_num_threads(1)
    chosen = [pair for pair in pairs() if not wanted or pair.name in wanted]
    others = [] if wanted else peer_pairs()
    load = round(os.getloadavg()[0], 2)
    tables: dict[str, Any] = {}
    gc.disable()
    for shape_name, shape in SHAPES.items():
        x, out = (torch.randn(shape, dtype=torch.float64) for _ in range(2))
        titles = f"{'us/step':>10}{'bare':>10}{'ratio':>8}{'setup us':>10}"
        print(f"{shape_name:46}{titles}")
        rows: list[dict[str, Any]] = []
        for pair in chosen:
            rows.append({"sampler": pair.name, "library": "genflow_lite"})
            rows[-1] |= compare(pair, x, out)
            show(pair.name, rows[-1])
        for other in others:
            rows.append({"sampler": other.name, "library": other.library})
            rows[-1] |= compare_peer(other, x, out)
            show(f"{other.library}: {other.name}", rows[-1])
        tables[shape_name] = rows
    ratios = [r["ratio"] for rows in tables.values() for r in rows if "setup_us" in r]
    print(f"ours: at most {max(ratios):.2f} times the bare loop; the goal is {GOAL}")
    if wanted:
        return 0
    packages = {"torch": torch.__version__}
    for name in ("diffusers", "k-diffusion", "flow_matching"):
        try:
            packages[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    meta = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load before": load,
        "python": platform.python_version(),
        "packages": packages,
        "steps": STEPS,
        "goal": GOAL,
        "largest ratio of ours": max(ratios),
    }
    text = json.dumps({"meta": meta, "tables": tables}, indent=1, ensure_ascii=False)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(text + "\n", encoding="utf-8")
    print(f"written to {RESULTS.relative_to(RESULTS.parents[2])}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
