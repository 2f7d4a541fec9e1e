"""Other libraries' samplers behind one face, for the benchmarks beside this file.

A peer gets a model D(z, e) in the coordinates z = x/α, e = σ/α, and starts from e₀ ε
at the level e₀ of its own choosing. Where a library looks its noise level up in a
table by a rounded time step, the model is evaluated at the level that the library's
formulas use at that step, which is to its advantage.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from k_sampling import k_sampling
from torch import Tensor

Model = Callable[[Tensor, float], Tensor]
"""D(z, e) = E[x0 | z]: z (B, D) float64, the result like z."""

BETAS = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)


class Run(NamedTuple):
    """A sampler made ready: the level at which it starts, and the way from there."""

    start: float
    go: Callable[[Model, Tensor], Tensor]


class Peer(NamedTuple):
    """A library's sampler: ``ready(calls, level)`` starts near ``level``, ∞ for all."""

    name: str
    library: str
    ready: Callable[[int, float], Run]


def table_up_to(level: float) -> Tensor:
    """The first betas of DDPM's table, a multiple of 100 of them, up to a level σ/α."""
    bars = (1 - BETAS).cumprod(0)[99::100]
    levels = ((1 - bars) / bars).sqrt()
    return BETAS[: 100 * (1 + int((levels - min(level, 1e9)).abs().argmin()))]


# --- diffusers -----------------------------------------------------------------------


def _scheduler(kind: str, level: float, **options: Any) -> Any:
    made = getattr(importlib.import_module("diffusers"), kind)
    table = table_up_to(level)
    return made(num_train_timesteps=len(table), trained_betas=table.tolist(), **options)


def _by_table(kind: str, calls: int, level: float, **options: Any) -> Run:
    """DDIM and PNDM: x on the VP path, the noise level from the table of ᾱ."""
    scheduler = (
        _scheduler(kind, level, clip_sample=False, **options)
        if (kind == "DDIMScheduler")
        else _scheduler(kind, level, **options)
    )
    # PNDM asks twice for the second of its steps.
    scheduler.set_timesteps(calls - 1 if kind == "PNDMScheduler" else calls)
    bars = scheduler.alphas_cumprod.double()

    def go(model: Model, z: Tensor) -> Tensor:
        bar = bars[int(scheduler.timesteps[0])]
        x = bar.sqrt() * z
        for t in scheduler.timesteps:
            alpha, sigma = bars[int(t)].sqrt(), (1 - bars[int(t)]).sqrt()
            noise = (x - alpha * model(x / alpha, float(sigma / alpha))) / sigma
            x = scheduler.step(noise, int(t), x).prev_sample
        return x

    bar = bars[int(scheduler.timesteps[0])]
    return Run(float(((1 - bar) / bar).sqrt()), go)


def _by_sigma(kind: str, calls: int, level: float, **options: Any) -> Run:
    """DPM-Solver++, UniPC, DEIS: x on the VP path, the noise level from the sigmas."""
    scheduler = _scheduler(kind, level, **options)
    scheduler.set_timesteps(calls)
    sigmas = scheduler.sigmas.double().tolist()

    def go(model: Model, z: Tensor) -> Tensor:
        x = z / math.hypot(1, sigmas[0])
        for k, t in enumerate(scheduler.timesteps):
            alpha = 1 / math.hypot(1, sigmas[k])
            d = model(x / alpha, sigmas[k])
            x = scheduler.step((x / alpha - d) / sigmas[k], t, x).prev_sample
        return x

    return Run(sigmas[0], go)


def _in_sigma(kind: str, calls: int, level: float, **options: Any) -> Run:
    """Euler, Heun, LMS: z itself, with sigma as the clock."""
    scheduler = _scheduler(kind, level, **options)
    scheduler.set_timesteps((calls + 1) // 2 if "Heun" in kind else calls)
    sigmas = scheduler.sigmas.double().tolist()

    def go(model: Model, z: Tensor) -> Tensor:
        for k, t in enumerate(scheduler.timesteps):
            scheduler.scale_model_input(z, t)
            z = scheduler.step((z - model(z, sigmas[k])) / sigmas[k], t, z).prev_sample
        return z

    return Run(sigmas[0], go)


def _diffusers() -> Iterator[Peer]:
    importlib.import_module("diffusers")

    def peer(name: str, way: Callable[..., Run], kind: str, **options: Any) -> Peer:
        def ready(calls: int, level: float) -> Run:
            return way(kind, calls, level, **options)

        return Peer(name, "diffusers", ready)

    trailing = {"timestep_spacing": "trailing"}
    spacings = {
        "trailing": trailing,
        "Karras": {"use_karras_sigmas": True},
        "exponential": {"use_exponential_sigmas": True},
    }
    yield peer("DDIM, trailing", _by_table, "DDIMScheduler", **trailing)
    skip = {"skip_prk_steps": True, "set_alpha_to_one": True}
    yield peer("PLMS, trailing", _by_table, "PNDMScheduler", **trailing, **skip)
    for name, spacing in spacings.items():
        for order in (2, 3):
            yield peer(
                f"DPM-Solver++({order}M), {name}",
                _by_sigma,
                "DPMSolverMultistepScheduler",
                solver_order=order,
                **spacing,
            )
            yield peer(
                f"UniPC-{order}, {name}",
                _by_sigma,
                "UniPCMultistepScheduler",
                solver_order=order,
                **spacing,
            )
        yield peer(
            f"DEIS-3, {name}",
            _by_sigma,
            "DEISMultistepScheduler",
            solver_order=3,
            **spacing,
        )
    for name in ("trailing", "Karras"):
        spacing = spacings[name]
        yield peer(f"Euler, {name}", _in_sigma, "EulerDiscreteScheduler", **spacing)
    yield peer("Heun, Karras", _in_sigma, "HeunDiscreteScheduler", **spacings["Karras"])
    yield peer("LMS, Karras", _in_sigma, "LMSDiscreteScheduler", **spacings["Karras"])


# --- k-diffusion ---------------------------------------------------------------------


def _k_diffusion() -> Iterator[Peer]:
    k = k_sampling()

    def peer(name: str, sample: str, spacing: str, two: bool, **options: Any) -> Peer:
        def ready(calls: int, level: float) -> Run:
            top, n = min(level, 80.0), (calls + 1) // 2 if two else calls
            grid = getattr(k, f"get_sigmas_{spacing}")(n, 0.01, top).double()

            def go(model: Model, z: Tensor) -> Tensor:
                def denoise(z: Tensor, sigma: Tensor) -> Tensor:
                    return model(z, float(sigma[0]))

                return getattr(k, sample)(denoise, z, grid, disable=True, **options)

            return Run(float(grid[0]), go)

        return Peer(name, "k-diffusion", ready)

    for spacing in ("karras", "exponential"):
        name = spacing.capitalize() if spacing == "karras" else spacing
        yield peer(f"Heun, {name}", "sample_heun", spacing, True)
        yield peer(f"LMS-4, {name}", "sample_lms", spacing, False)
        yield peer(f"DPM-Solver++(2M), {name}", "sample_dpmpp_2m", spacing, False)
        yield peer(
            f"DPM-Solver++(3M), {name}",
            "sample_dpmpp_3m_sde",
            spacing,
            False,
            eta=0.0,
            noise_sampler=lambda *_: None,
        )


# --- flow_matching -------------------------------------------------------------------


def _flow_matching() -> Iterator[Peer]:
    solver = importlib.import_module("flow_matching.solver.ode_solver").ODESolver

    def peer(method: str, stages: int) -> Peer:
        def ready(calls: int, level: float) -> Run:
            t0, n = (1.0 if level == math.inf else level / (1 + level)), calls // stages
            grid = torch.linspace(1 - t0, 1, n + 1, dtype=torch.float64)

            def go(model: Model, z: Tensor) -> Tensor:
                def velocity(x: Tensor, t: Tensor) -> Tensor:
                    # Its clock runs from noise at 0 to data at 1. RK4's last stage
                    # stands at the data themselves, where the velocity is 0/0.
                    noise = max(1 - float(t), 1e-9)
                    data = 1 - noise
                    # At data = 0 the level is infinite; the largest double will do.
                    if data < 1e-12:
                        return model(x, math.inf) - x
                    return (model(x / data, noise / data) - x) / noise

                start = z if t0 == 1 else z * (1 - t0)
                options = {"step_size": None, "method": method, "time_grid": grid}
                return solver(velocity).sample(start, **options)

            return Run(level, go)

        return Peer(f"{method}, uniform", "flow_matching", ready)

    yield from (peer("euler", 1), peer("midpoint", 2), peer("rk4", 4))


def all_peers() -> list[Peer]:
    """Every sampler of every peer that is installed; says which library is not."""
    found: list[Peer] = []
    for library in (_diffusers, _k_diffusion, _flow_matching):
        try:
            found.extend(library())
        except ModuleNotFoundError as missing:
            name = library.__name__.lstrip("_")
            print(f"{name} is left out: {missing} (see requirements-peers.txt)")
    return found
