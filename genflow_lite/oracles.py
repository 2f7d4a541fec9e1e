"""Exact denoisers: Gaussian mixtures, and the empirical distribution of a data set.

A mixture stays a mixture along a Gaussian path. With x0 ~ Σ w_k N(m_k, C_k),

    p_t(x) = Σ w_k N(x; α m_k, α² C_k + σ² I),

so density, score, denoiser, posterior and velocity are all in closed form. Every
covariance is kept as C_k = Q_k diag(λ_k) Q_kᵀ: in the basis of the eigenvectors the
noisy covariance is diag(α² λ_k + σ²) at every t, and no matrix is ever inverted.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal, final, overload

import torch
from jaxtyping import Float
from torch import Tensor

from genflow_lite._empirical import EmpiricalDenoiser
from genflow_lite._posterior import Local, Posterior, lay
from genflow_lite._shapes import (
    Numbers,
    Points,
    Time,
    check_count,
    check_finite,
    check_generator,
    check_labels,
    check_state,
    holds,
    time_like,
)
from genflow_lite._spectra import Spectra
from genflow_lite.paths import GaussianPath
from genflow_lite.predict import PathDenoiser, check_is_path

__all__ = ["EmpiricalDenoiser", "GaussianMixture", "Posterior"]

Weights = Float[Tensor, " K"]
Means = Float[Tensor, "K D"]
Stds = Float[Tensor, "K *D"]
Covs = Float[Tensor, "K D D"]

Label = int | Sequence[int]
"""A component of a mixture, or several of them."""


@final
class GaussianMixture:
    """The mixture Σ w_k N(m_k, C_k) in D dimensions, exact at every noise level.

    weights (K,), positive; they are normalised. means (K, D). And one of
        stds (K,): C_k = stds_k² I,
        stds (K, D): C_k = diag(stds_k²),
        covs (K, D, D): symmetric, with no negative eigenvalue.
    Everything is kept in float64. A std of 0 is a point mass, which has a density
    only where σ > 0.

    States are (B, D), in one dimension too: (B, 1). A float32 state is widened, and
    every result is float64. TypeError and ValueError name a bad argument; ValueError
    is raised as well where a density does not exist. Every method passes through the
    transforms of `torch.func`.
    """

    def __init__(
        self,
        weights: Weights,
        means: Means,
        stds: Stds | None = None,
        *,
        covs: Covs | None = None,
    ) -> None:
        means = check_finite(means, name="means")
        if means.ndim != 2 or means.numel() == 0:
            raise ValueError(f"means must have shape (K, D); got {tuple(means.shape)}")
        k, d = means.shape
        weights = check_finite(weights, name="weights")
        if weights.shape != (k,):
            raise ValueError(
                f"weights must have shape (K,) = ({k},), one for each row of means; "
                f"got {tuple(weights.shape)}"
            )
        if not holds(weights > 0):
            raise ValueError(f"weights must be positive; got {weights.tolist()}")
        if (stds is None) == (covs is None):
            raise ValueError("stds or covs must be given, and not both")
        weights = weights / weights.max()  # or the sum of large weights overflows
        self.weights: Tensor = weights / weights.sum()
        self.means: Tensor = means
        self._spectra = (
            Spectra.from_stds(stds, k, d)
            if covs is None
            else Spectra.from_covs(covs, k, d)
        )

    def __repr__(self) -> str:
        k, d = self.means.shape
        return f"GaussianMixture({k} components in {d} dimensions)"

    @property
    def mean(self) -> Tensor:
        """E[x0], (D,)."""
        return self.weights @ self.means

    @property
    def covs(self) -> Tensor:
        """The covariances C_k, (K, D, D)."""
        return self._spectra.matrices(self._spectra.values[None])[0]

    @property
    def cov(self) -> Tensor:
        """Cov[x0], (D, D): within the components plus between them."""
        between = self.means - self.mean
        within = torch.einsum("k,kij->ij", self.weights, self.covs)
        return within + torch.einsum("k,ki,kj->ij", self.weights, between, between)

    def given(self, label: Label) -> "GaussianMixture":
        """The mixture of the components named by a label, or by several of them.

        Its weights are those of the components, normalised: the law of x0 given that
        its component is one of these.
        """
        labels, k = check_labels(label, name="label"), self.means.shape[0]
        known = all(0 <= i < k for i in labels)
        if not labels or not known or len(set(labels)) != len(labels):
            raise ValueError(
                f"label must name components from 0 to {k - 1}, each at most once; "
                f"got {label}"
            )
        part = object.__new__(GaussianMixture)
        part.means = self.means[labels]
        part.weights = self.weights[labels] / self.weights[labels].sum()
        part._spectra = self._spectra[labels]
        return part

    @overload
    def sample(
        self,
        n: int,
        *,
        generator: torch.Generator,
        return_labels: Literal[False] = False,
    ) -> Tensor: ...
    @overload
    def sample(
        self, n: int, *, generator: torch.Generator, return_labels: Literal[True]
    ) -> tuple[Tensor, Tensor]: ...
    def sample(
        self, n: int, *, generator: torch.Generator, return_labels: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """n independent draws of x0, (n, D); with return_labels also k, (n,) int64."""
        n = check_count(n, name="n", least=0)
        check_generator(generator)
        k, d = self.means.shape
        uniform = torch.rand(n, dtype=torch.float64, generator=generator)
        labels = torch.searchsorted(self.weights.cumsum(0), uniform, right=True)
        labels = labels.clamp(max=k - 1)
        z = torch.randn((n, d), dtype=torch.float64, generator=generator)
        drawn = self._spectra[labels]
        x0 = self.means[labels] + drawn.unrotate(drawn.values.sqrt() * z[None])[0]
        return (x0, labels) if return_labels else x0

    def log_prob(self, x: Points, t: Time, path: GaussianPath) -> Numbers:
        """log p_t(x); x (B, D), t () or (B,). Returns (B,)."""
        return self._local(x, t, path).log_joint.logsumexp(-1)

    def score(self, x: Points, t: Time, path: GaussianPath) -> Points:
        """∇ log p_t(x) = Σ_k r_k (α² C_k + σ² I)⁻¹ (α m_k − x), (B, D).

        r_k is the probability of component k given x, as in `posterior`.
        """
        at = self._local(x, t, path)
        return self._average(at.log_joint.softmax(-1), -at.delta / at.var)

    def posterior(self, x: Points, t: Time, path: GaussianPath) -> Posterior:
        """The law of x0 given x_t = x, a mixture again, as a `Posterior`.

        weights r_k = w_k N(x; α m_k, α² C_k + σ² I)/p_t(x),
        means m_k + α C_k (α² C_k + σ² I)⁻¹ (x − α m_k),
        covs σ² C_k (α² C_k + σ² I)⁻¹.
        """
        at = self._local(x, t, path)
        spectra = self._spectra
        gain = at.alpha * spectra.values / at.var
        means = self.means + spectra.unrotate(gain * at.delta)
        covs = spectra.matrices(spectra.values * at.sigma_sq / at.var)
        covs = covs.expand(*means.shape, means.shape[-1])
        return Posterior(at.log_joint.softmax(-1), means, covs)

    def denoiser(self, path: GaussianPath, label: Label | None = None) -> PathDenoiser:
        """D(x, t) = E[x0 | x_t = x], or E[x0 | x_t = x, label] of some components."""
        path = check_is_path(path)
        mixture = self if label is None else self.given(label)

        def denoise(x: Tensor, t: Tensor | float) -> Tensor:
            at = mixture._local(x, t, path)
            weights = at.log_joint.softmax(-1)
            gain = at.alpha * mixture._spectra.values / at.var
            moved = mixture._average(weights, gain * at.delta)
            return weights @ mixture.means + moved

        return PathDenoiser(denoise, path)

    def velocity(self, path: GaussianPath) -> Callable[[Tensor, Tensor], Tensor]:
        """The probability-flow velocity u(x, t) = E[α̇ x0 + σ̇ ε | x_t = x], (B, D).

        u = Σ_k r_k [α̇ m_k + ½ V̇_k V_k⁻¹ (x − α m_k)] with V_k = α² C_k + σ² I. Of the
        noise only σ² is differentiated, so that u is finite at both ends of every
        named path.
        """
        path = check_is_path(path)

        def u(x: Points, t: Time) -> Points:
            at = self._local(x, t, path)
            weights = at.log_joint.softmax(-1)
            t = time_like(t, at.delta)
            alpha_dot = lay(path.rates(t)[0])
            var_dot = 2 * at.alpha * alpha_dot * self._spectra.values
            var_dot = var_dot + lay(path.sigma_sq_rate(t))
            stretched = self._average(weights, 0.5 * var_dot / at.var * at.delta)
            return alpha_dot[..., 0] * (weights @ self.means) + stretched

        return u

    def _local(self, x: Tensor, t: Tensor | float, path: GaussianPath) -> Local:
        path = check_is_path(path)
        x = check_state(x).to(torch.float64)
        d = self.means.shape[1]
        if x.ndim != 2 or x.shape[1] != d:
            raise ValueError(
                f"x must have shape (B, D) = (B, {d}); got {tuple(x.shape)}"
            )
        t = time_like(t, x)
        alpha, sigma_sq = lay(path.alpha(t)), lay(path.sigma_sq(t))
        var = alpha.square() * self._spectra.values + sigma_sq
        if not holds(var > 0):
            raise ValueError(
                "t reaches sigma = 0, where a mixture with a singular covariance has "
                "no density; take a larger t"
            )
        delta = self._spectra.rotate(x[:, None] - alpha * self.means)
        log_normal = -0.5 * (delta.square() / var + (2 * math.pi * var).log()).sum(-1)
        return Local(alpha, sigma_sq, delta, var, self.weights.log() + log_normal)

    def _average(self, weights: Tensor, local: Tensor) -> Tensor:
        """Σ_k weights_k Q_k local_k, (B, D)."""
        return torch.einsum("bk,bkd->bd", weights, self._spectra.unrotate(local))
