"""Other libraries' samplers, each with the bare loop of its method, for overhead.py."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import bare
import torch
from bare import STEPS, Loop, model
from k_sampling import k_sampling
from torch import Tensor


class PeerPair(NamedTuple):
    """A peer's loop over its own sampler, and the bare loop of the same method."""

    name: str
    library: str
    run: Loop
    bare: Loop


def _diffusers() -> Iterator[PeerPair]:
    library = importlib.import_module("diffusers")

    def peer(kind: str, loop: Loop, **options: Any) -> PeerPair:
        scheduler = getattr(library, kind)(**options)

        def run(x: Tensor, out: Tensor) -> Tensor:
            scheduler.set_timesteps(STEPS)
            denoise = model(out)
            for t in scheduler.timesteps:
                x = scheduler.scale_model_input(x, t)
                x = scheduler.step(denoise(x, t), t, x, return_dict=False)[0]
            return x

        return PeerPair(kind, "diffusers", run, loop)

    yield peer("DDIMScheduler", bare.ddim, clip_sample=False)
    yield peer("EulerDiscreteScheduler", bare.euler)
    yield peer("PNDMScheduler", bare.plms, skip_prk_steps=True)
    yield peer("DPMSolverMultistepScheduler", bare.dpmpp_2m, solver_order=2)


def _k_diffusion() -> Iterator[PeerPair]:
    k = k_sampling()
    grid = k.get_sigmas_karras(STEPS, 0.01, 80.0).double()

    def peer(name: str, loop: Loop) -> PeerPair:
        def run(x: Tensor, out: Tensor) -> Tensor:
            return getattr(k, name)(model(out), x, grid, disable=True)

        return PeerPair(name, "k-diffusion", run, loop)

    yield peer("sample_euler", bare.euler)
    yield peer("sample_heun", bare.heun)
    yield peer("sample_dpmpp_2m", bare.dpmpp_2m)


def _flow_matching() -> Iterator[PeerPair]:
    solver = importlib.import_module("flow_matching.solver.ode_solver").ODESolver

    def peer(method: str, loop: Loop) -> PeerPair:
        grid = torch.linspace(0, 1, STEPS + 1, dtype=torch.float64)

        def run(x: Tensor, out: Tensor) -> Tensor:
            def velocity(x: Tensor, t: Tensor) -> Tensor:  # noqa: ARG001
                return out

            made = solver(velocity)
            return made.sample(x, step_size=None, method=method, time_grid=grid)

        return PeerPair(method, "flow_matching", run, loop)

    yield peer("euler", bare.euler)
    yield peer("rk4", bare.rk4)


def peer_pairs() -> list[PeerPair]:
    """Some samplers of every peer that is installed."""
    found: list[PeerPair] = []
    for library in (_diffusers, _k_diffusion, _flow_matching):
        try:
            found.extend(library())
        except ModuleNotFoundError as missing:
            print(f"{library.__name__.lstrip('_')} is left out: {missing}")
    return found
