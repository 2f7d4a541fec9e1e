"""The mathematics of the book, small enough to read.

Three ideas carry the package. A path is a pair of functions (α, σ). Every
prediction of a network is y = a·x0 + b·ε, so any two of them differ by one
2×2 solve. A denoiser is a function D(x, t) = E[x0 | x_t]; an oracle implements
it exactly, a network approximately, and nothing else needs to know which.

Time runs from t = 0, the data, to t = 1, the noise, everywhere.
"""

from genflow_lite._shapes import Denoiser
from genflow_lite.grids import time_grid
from genflow_lite.guidance import cfg, classifier_guided, interval
from genflow_lite.likelihood import flow_log_likelihood, log_likelihood
from genflow_lite.losses import (
    denoising_loss,
    flow_matching_loss,
    gaussian_kl,
    interpolant_loss,
    variational_terms,
)
from genflow_lite.multistep import (
    adams,
    dpm_solver_2,
    dpmpp_2m,
    dpmpp_2m_sde,
    dpmpp_3m,
    gaussian_jump,
    plms,
)
from genflow_lite.nets import MLP, UNet
from genflow_lite.ode import (
    adams_bashforth,
    dormand_prince,
    euler,
    heun,
    last,
    rk4,
    velocity,
)
from genflow_lite.oracles import EmpiricalDenoiser, GaussianMixture
from genflow_lite.paths import (
    GaussianPath,
    cosine,
    from_betas,
    rectified,
    sub_vp,
    ve,
    vp,
)
from genflow_lite.predict import as_denoiser, convert
from genflow_lite.samplers import ddim, euler_maruyama, langevin

__all__ = [
    "MLP",
    "Denoiser",
    "EmpiricalDenoiser",
    "GaussianMixture",
    "GaussianPath",
    "UNet",
    "adams",
    "adams_bashforth",
    "as_denoiser",
    "cfg",
    "classifier_guided",
    "convert",
    "cosine",
    "ddim",
    "denoising_loss",
    "dormand_prince",
    "dpm_solver_2",
    "dpmpp_2m",
    "dpmpp_2m_sde",
    "dpmpp_3m",
    "euler",
    "euler_maruyama",
    "flow_log_likelihood",
    "flow_matching_loss",
    "from_betas",
    "gaussian_jump",
    "gaussian_kl",
    "heun",
    "interpolant_loss",
    "interval",
    "langevin",
    "last",
    "log_likelihood",
    "plms",
    "rectified",
    "rk4",
    "sub_vp",
    "time_grid",
    "variational_terms",
    "ve",
    "velocity",
    "vp",
]
