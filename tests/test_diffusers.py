"""The field's reference: the same betas, grid, noise and model give the same states.

diffusers (0.42.1) is optional, as CONTRIBUTING.md says; without it these tests are
skipped. Some of its defaults and choices are not the method's, and are neither copied
nor hidden here:

* `clip_sample=True`, the default of DDIM and DDPM, cuts predictions off at ±1.
* The step i of its table is our t = (i + 1)/N: its i = 0 has had noise added once.
* `timestep_spacing="leading"`, the default of DDIM, DDPM and PNDM, starts ten steps at
  i = 900 of 1000 and not from pure noise; "trailing" is ours.
* PNDM takes 9 Runge–Kutta calls more than steps unless `skip_prk_steps=True`, and its
  last step to σ = 0 extrapolates the noise, where ours takes it as it is; up to there
  the states are equal.
* DDIM and PNDM end at the α of the table's first step, and so with noise left, unless
  `set_alpha_to_one=True` (DDIM's default, not PNDM's).
* Its tables are float32. Here the cumulative product is replaced by one in float64, so
  that the tolerance of 1e-5 is for formulas; the sigmas stay float32.
* Euler and Heun run in z = x/α against σ/α; ours are the solvers of `ode.py` on the
  path with α = 1 and σ proportional to t. Its Heun ends with a step of Euler.
* DPM-Solver++ of order 3 takes half of the second difference, and is of order 2.
"""

import importlib
import os
from typing import Any

import numpy as np
import pytest
import torch
from paths_under_test import TABLE, generator, randn

from genflow_lite import (
    GaussianMixture,
    GaussianPath,
    ddim,
    dpmpp_2m,
    dpmpp_3m,
    euler,
    from_betas,
    heun,
    plms,
    time_grid,
    velocity,
)

if os.environ.get("PEERS_REQUIRED"):
    diffusers: Any = importlib.import_module("diffusers")
else:
    diffusers = pytest.importorskip(
        "diffusers", reason="diffusers is not installed (requirements-peers.txt)"
    )

F64 = torch.float64
PATH = from_betas(TABLE)
N = 10
TRAILING: dict[str, Any] = {"timestep_spacing": "trailing"}
SAMPLE: dict[str, Any] = {"prediction_type": "sample", "clip_sample": False}


def model() -> Any:
    return GaussianMixture(
        torch.tensor([0.3, 0.7], dtype=F64),
        torch.tensor([[-2.0, 0.0], [1.0, 1.0]], dtype=F64),
        torch.tensor([0.3, 0.5], dtype=F64),
    )


def scheduler(kind: str, n: int = N, **options: Any) -> Any:
    made = getattr(diffusers, kind)(trained_betas=TABLE.tolist(), **options)
    made.alphas_cumprod = (1 - TABLE).cumprod(0)
    made.set_timesteps(n)
    return made


def agree(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> None:
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert b.dtype == F64
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def data_predictions(
    reference: Any, x: torch.Tensor, **more: Any
) -> list[torch.Tensor]:
    """The states of a scheduler that is given D at its time steps i ↔ t = (i + 1)/N."""
    denoise, states = model().denoiser(PATH), [x]
    for i in reference.timesteps:
        d = denoise(x, (i.to(F64) + 1) / len(TABLE))
        x = reference.step(d, i, x, **more).prev_sample
        states.append(x)
    return states


def test_the_trailing_grid_is_ours() -> None:
    theirs = (scheduler("DDIMScheduler", **TRAILING).timesteps.to(F64) + 1) / len(TABLE)
    ours = time_grid(PATH, N, spacing="trailing")
    torch.testing.assert_close(ours[:-1], theirs, rtol=1e-15, atol=0)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim(eta: float) -> None:
    reference, x = scheduler("DDIMScheduler", **TRAILING, **SAMPLE), randn(64, 2)
    theirs = data_predictions(reference, x, eta=eta, generator=generator(3))
    ts = time_grid(PATH, N, spacing="trailing")
    ours = ddim(model().denoiser(PATH), PATH, x, ts, eta=eta, generator=generator(3))
    agree(list(ours), theirs)


def test_ddpm() -> None:
    reference, x = scheduler("DDPMScheduler", 50, **TRAILING, **SAMPLE), randn(64, 2)
    theirs = data_predictions(reference, x, generator=generator(4))
    ts = time_grid(PATH, 50, spacing="trailing")
    ours = ddim(model().denoiser(PATH), PATH, x, ts, eta=1.0, generator=generator(4))
    agree(list(ours), theirs)


@pytest.mark.parametrize("n", [10, 25])
def test_dpm_solver_2m(n: int) -> None:
    options: dict[str, Any] = {
        "solver_order": 2,
        "prediction_type": "sample",
        **TRAILING,
    }
    reference = scheduler("DPMSolverMultistepScheduler", n, **options)
    x = randn(64, 2)
    ts = time_grid(PATH, n, spacing="trailing")
    ours = dpmpp_2m(model().denoiser(PATH), PATH, x, ts)
    agree(list(ours), data_predictions(reference, x))


SIGMA_MAX = 160.0
EDM = GaussianPath(
    alpha=torch.ones_like, sigma=lambda t: SIGMA_MAX * t, name="edm", inverse=None
)


def noise_predictions(reference: Any, z: torch.Tensor) -> list[torch.Tensor]:
    """The states of Euler or Heun, given ε at the scheduler's own sigmas."""
    denoise, states = model().denoiser(EDM), [z]
    for k, t in enumerate(reference.timesteps):
        sigma = reference.sigmas[k].to(F64)
        reference.scale_model_input(z, t)
        noise = (z - denoise(z, sigma / SIGMA_MAX)) / sigma
        z = reference.step(noise, t, z).prev_sample
        states.append(z)
    return states


def test_euler() -> None:
    reference = scheduler("EulerDiscreteScheduler", **TRAILING)
    ts = reference.sigmas.to(F64) / SIGMA_MAX
    z = SIGMA_MAX * ts[0] * randn(64, 2)
    ours = list(euler(velocity(model().denoiser(EDM), EDM), z, ts))
    agree(ours, noise_predictions(reference, z))


def test_heun() -> None:
    reference = scheduler("HeunDiscreteScheduler", use_karras_sigmas=True)
    # Its sigmas name every call, those at both ends of a step: 0, 1, 1, 2, 2, …
    sigmas = torch.cat([reference.sigmas[:1], reference.sigmas[1::2]]).to(F64)
    assert sigmas[-1] == 0
    z, ts = sigmas[0] * randn(64, 2), sigmas / SIGMA_MAX
    theirs = noise_predictions(reference, z)
    denoise = model().denoiser(EDM)
    ours = list(heun(velocity(denoise, EDM), z, ts[:-1]))
    ours.append(denoise(ours[-1], ts[-2]))  # to σ = 0 it takes Euler's step
    agree(ours, [*theirs[:-1:2], theirs[-1]])


def test_plms_and_its_last_step() -> None:
    options: dict[str, Any] = {
        "skip_prk_steps": True,
        "set_alpha_to_one": True,
        **TRAILING,
    }
    reference, x = scheduler("PNDMScheduler", **options), randn(64, 2)
    reference.final_alpha_cumprod = torch.tensor(1.0, dtype=F64)
    denoise, state, theirs = model().denoiser(PATH), x, [x]
    for i in reference.timesteps:
        t = (i.to(F64) + 1) / len(TABLE)
        alpha, sigma = PATH.alpha(t), PATH.sigma(t)
        noise = (state - alpha * denoise(state, t)) / sigma
        state = reference.step(noise, i, state).prev_sample
        theirs.append(state)
    del theirs[1]  # the guess of its first step
    ours = list(plms(denoise, PATH, x, time_grid(PATH, N, spacing="trailing")))
    agree(ours[:-1], theirs[:-1])
    assert (ours[-1] - theirs[-1]).abs().max() > 1e-3


# --- what is known of it, and not copied ---------------------------------------------


def test_its_ddim_clips_by_default() -> None:
    x = randn(64, 2)
    default = {**TRAILING, "prediction_type": "sample"}
    clipped = data_predictions(scheduler("DDIMScheduler", **default), x)[-1]
    free = data_predictions(scheduler("DDIMScheduler", **TRAILING, **SAMPLE), x)[-1]
    assert clipped.abs().max() <= 1 + 1e-6
    assert free.abs().max() > 2


def test_its_defaults_for_ten_steps() -> None:
    assert int(scheduler("DDIMScheduler").timesteps[0]) == 900
    assert len(scheduler("PNDMScheduler").timesteps) == 19
    assert len(scheduler("PNDMScheduler", skip_prk_steps=True).timesteps) == 11


def test_its_third_order_keeps_half_of_the_second_difference() -> None:
    """On D = ℓ² every error is that of one term, which can be read off a step."""
    options: dict[str, Any] = {
        "solver_order": 3,
        "lower_order_final": False,
        **TRAILING,
    }
    reference = scheduler(
        "DPMSolverMultistepScheduler", 20, prediction_type="sample", **options
    )
    x, ts = randn(8, 1), time_grid(PATH, 20, spacing="trailing")
    ell = PATH.log_snr(ts) / 2
    states = [x]
    for k, i in enumerate(reference.timesteps):
        d = torch.full_like(states[-1], float(ell[k] ** 2))
        states.append(reference.step(d, i, states[-1]).prev_sample)

    def square(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return torch.full_like(x, float(PATH.log_snr(t) / 2) ** 2)

    # One step of each from the same state, three values behind it: theirs at k = 5.
    k = 5
    h = float(ell[k + 1] - ell[k])
    ratio = float(PATH.sigma(ts[k + 1]) / PATH.sigma(ts[k]))
    drift = states[k + 1] - ratio * states[k]
    fine = np.linspace(0, h, 20_001)
    exact = float(np.trapezoid(np.exp(fine - h) * (float(ell[k]) + fine) ** 2, fine))
    curve = float(np.trapezoid(np.exp(fine - h) * fine**2, fine))
    alpha = float(PATH.alpha(ts[k + 1]))
    short = (alpha * exact - drift) / (alpha * curve)
    torch.testing.assert_close(short, torch.full_like(short, 0.5), rtol=2e-3, atol=0)
    ours = list(dpmpp_3m(square, PATH, x, ts))
    drift = ours[k + 1] - ratio * ours[k]
    torch.testing.assert_close(
        drift, torch.full_like(drift, alpha * exact), rtol=1e-6, atol=0
    )
