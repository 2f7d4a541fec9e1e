"""Exact denoisers: Gaussian mixtures, and the empirical distribution of a data set.

A mixture stays a mixture along a Gaussian path. With x0 ~ Σ w_k N(m_k, C_k),

    p_t(x) = Σ w_k N(x; α m_k, α² C_k + σ² I),

so density, score, denoiser, posterior and velocity are all in closed form. Every
covariance is kept as C_k = Q_k diag(λ_k) Q_kᵀ: in the basis of the eigenvectors the
noisy covariance is diag(α² λ_k + σ²) at every t, and no matrix is ever inverted.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, final

import torch
from torch import Tensor

from genflow_lite._shapes import (
    check_count,
    check_floating,
    check_generator,
    check_state,
    describe,
    expand_like,
    holds,
    time_like,
)
from genflow_lite.paths import GaussianPath
from genflow_lite.predict import PathDenoiser, check_is_path


class Posterior(NamedTuple):
    """The law of x0 given x_t: the mixture Σ_k weights_k N(means_k, covs_k).

    weights (B, K), means (B, K, D), covs (B, K, D, D).
    """

    weights: Tensor
    means: Tensor
    covs: Tensor

    @property
    def mean(self) -> Tensor:
        """E[x0 | x_t], (B, D)."""
        return torch.einsum("bk,bkd->bd", self.weights, self.means)

    @property
    def cov(self) -> Tensor:
        """Cov[x0 | x_t], (B, D, D): within the components plus between them."""
        between = self.means - self.mean[:, None]
        return torch.einsum("bk,bkij->bij", self.weights, self.covs) + torch.einsum(
            "bk,bki,bkj->bij", self.weights, between, between
        )


class _Local(NamedTuple):
    """The mixture at (x, t) in each component's own basis."""

    alpha: Tensor  # (B or 1, 1, 1)
    sigma_sq: Tensor  # (B or 1, 1, 1)
    delta: Tensor  # (B, K, D): Qᵀ (x − α m)
    var: Tensor  # (B or 1, K, D): α² λ + σ²
    log_joint: Tensor  # (B, K): log w_k N(x; α m_k, α² C_k + σ² I)


@final
class GaussianMixture:
    """The mixture Σ w_k N(m_k, C_k) in D dimensions, exact at every noise level.

    weights (K,), positive; they are normalised. means (K, D). Then one of
        stds (K,): C_k = stds_k² I,
        stds (K, D): C_k = diag(stds_k²),
        covs (K, D, D): symmetric, not negative definite in any direction.
    Everything is kept in float64. A std of 0 is a point mass, whose density exists
    only where σ > 0.

    States are (B, D), also in one dimension: (B, 1). A float32 state is widened, and
    every result is float64. Methods raise ValueError for a state of another shape and
    where a density does not exist. All of them pass through `torch.func` transforms.
    """

    def __init__(
        self,
        weights: Tensor,
        means: Tensor,
        stds: Tensor | None = None,
        *,
        covs: Tensor | None = None,
    ) -> None:
        self.means = _finite(means, "means")
        if self.means.ndim != 2 or 0 in self.means.shape:
            raise ValueError(f"means must have shape (K, D); got {_shape(means)}")
        k, d = self.means.shape
        weights = _finite(weights, "weights")
        if weights.shape != (k,) or not holds(weights > 0):
            raise ValueError(
                f"weights must be positive and of shape (K,) = ({k},), as means has "
                f"{k} rows; got {weights.tolist()}"
            )
        self.weights = weights / weights.sum()
        if (stds is None) == (covs is None):
            raise ValueError("stds or covs must be given, and not both")
        if stds is not None:
            self._eigenvalues, self._basis = _from_stds(stds, k, d), None
        else:
            self._eigenvalues, self._basis = _from_covs(covs, k, d)

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
        return self._unrotate_matrix(self._eigenvalues[None])[0]

    @property
    def cov(self) -> Tensor:
        """Cov[x0], (D, D): within the components plus between them."""
        between = self.means - self.mean
        within = torch.einsum("k,kij->ij", self.weights, self.covs)
        return within + torch.einsum("k,ki,kj->ij", self.weights, between, between)

    def given(self, label: int | Sequence[int]) -> "GaussianMixture":
        """The mixture of the components named by a label, or by several of them."""
        labels = [label] if isinstance(label, int) else list(label)
        k = self.means.shape[0]
        if not labels or not all(isinstance(i, int) and 0 <= i < k for i in labels):
            raise ValueError(
                f"label must name components from 0 to {k - 1}; got {label}"
            )
        part = object.__new__(GaussianMixture)
        part.means = self.means[labels]
        part.weights = self.weights[labels] / self.weights[labels].sum()
        part._eigenvalues = self._eigenvalues[labels]
        part._basis = None if self._basis is None else self._basis[labels]
        return part

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
        z = self._eigenvalues.sqrt()[labels] * z
        if self._basis is not None:
            z = torch.einsum("nij,nj->ni", self._basis[labels], z)
        x0 = self.means[labels] + z
        return (x0, labels) if return_labels else x0

    def log_prob(self, x: Tensor, t: Tensor | float, path: GaussianPath) -> Tensor:
        """log p_t(x); x (B, D), t () or (B,). Returns (B,)."""
        return self._local(x, t, path).log_joint.logsumexp(-1)

    def score(self, x: Tensor, t: Tensor | float, path: GaussianPath) -> Tensor:
        """∇ log p_t(x) = Σ_k r_k (α² C_k + σ² I)⁻¹ (α m_k − x), (B, D)."""
        at = self._local(x, t, path)
        return self._average(at, -at.delta / at.var)

    def posterior(self, x: Tensor, t: Tensor | float, path: GaussianPath) -> Posterior:
        """The law of x0 given x_t = x: a mixture again.

        weights r_k = w_k N(x; α m_k, α² C_k + σ² I)/p_t(x),
        means m_k + α C_k (α² C_k + σ² I)⁻¹ (x − α m_k),
        covs σ² C_k (α² C_k + σ² I)⁻¹.
        """
        at = self._local(x, t, path)
        means = self.means + self._unrotate(self._gain(at) * at.delta)
        variances = self._eigenvalues * at.sigma_sq / at.var
        covs = self._unrotate_matrix(variances).expand(*means.shape, means.shape[-1])
        return Posterior(at.log_joint.softmax(-1), means, covs)

    def denoiser(
        self, path: GaussianPath, label: int | Sequence[int] | None = None
    ) -> PathDenoiser:
        """D(x, t) = E[x0 | x_t = x], or E[x0 | x_t = x, label] of some components."""
        path = check_is_path(path)
        mixture = self if label is None else self.given(label)

        def denoise(x: Tensor, t: Tensor) -> Tensor:
            at = mixture._local(x, t, path)
            prior = at.log_joint.softmax(-1) @ mixture.means
            return prior + mixture._average(at, mixture._gain(at) * at.delta)

        return PathDenoiser(denoise, path)

    def velocity(self, path: GaussianPath) -> Callable[[Tensor, Tensor], Tensor]:
        """The probability-flow velocity u(x, t) = E[α̇ x0 + σ̇ ε | x_t = x], (B, D).

        u = Σ_k r_k [α̇ m_k + ½ V̇_k V_k⁻¹ (x − α m_k)] with V_k = α² C_k + σ² I. Only
        σ² is differentiated, so u is finite at both ends of every named path.
        """
        path = check_is_path(path)

        def u(x: Tensor, t: Tensor) -> Tensor:
            at = self._local(x, t, path)
            t = time_like(t, x)
            alpha_dot = _lay(path.rates(t)[0])
            var_dot = 2 * at.alpha * alpha_dot * self._eigenvalues
            var_dot = var_dot + _lay(path.sigma_sq_rate(t))
            drift = alpha_dot[..., 0] * (at.log_joint.softmax(-1) @ self.means)
            return drift + self._average(at, 0.5 * var_dot / at.var * at.delta)

        return u

    def _local(self, x: Tensor, t: Tensor | float, path: GaussianPath) -> _Local:
        path = check_is_path(path)
        x = check_state(x).to(torch.float64)
        d = self.means.shape[1]
        if x.ndim != 2 or x.shape[1] != d:
            raise ValueError(f"x must have shape (B, D) = (B, {d}); got {_shape(x)}")
        t = time_like(t, x)
        assert path.sigma_sq is not None  # set by __post_init__
        alpha, sigma_sq = _lay(path.alpha(t)), _lay(path.sigma_sq(t))
        var = alpha.square() * self._eigenvalues + sigma_sq
        if not holds(var > 0):
            raise ValueError(
                "t reaches sigma = 0, where a mixture with a singular covariance has "
                "no density; stop at a larger t"
            )
        delta = x[:, None] - alpha * self.means
        if self._basis is not None:
            delta = torch.einsum("kji,bkj->bki", self._basis, delta)
        log_normal = -0.5 * (delta.square() / var + (2 * math.pi * var).log()).sum(-1)
        return _Local(alpha, sigma_sq, delta, var, self.weights.log() + log_normal)

    def _gain(self, at: _Local) -> Tensor:
        """α λ / (α² λ + σ²), the gain of the posterior mean."""
        return at.alpha * self._eigenvalues / at.var

    def _average(self, at: _Local, local: Tensor) -> Tensor:
        """Σ_k r_k Q_k local_k, (B, D)."""
        return torch.einsum(
            "bk,bkd->bd", at.log_joint.softmax(-1), self._unrotate(local)
        )

    def _unrotate(self, local: Tensor) -> Tensor:
        if self._basis is None:
            return local
        return torch.einsum("kij,bkj->bki", self._basis, local)

    def _unrotate_matrix(self, diagonal: Tensor) -> Tensor:
        if self._basis is None:
            return torch.diag_embed(diagonal)
        return torch.einsum("kil,bkl,kjl->bkij", self._basis, diagonal, self._basis)


@final
class EmpiricalDenoiser:
    """The exact denoiser of a finite data set, each point equally likely.

        D(x, t) = Σ_i softmax_i(−|x − α x_i|²/(2 σ²)) x_i

    data (N, *S), kept in float64; x (B, *S), t () or (B,). At α = 0 it is the data's
    mean; at σ = 0 its limit, the data point nearest to x/α (the mean of those that
    tie). The sum runs over blocks of the data, so that about `block` numbers are held
    at a time. It is what a network with unlimited capacity would learn: a memory.
    """

    def __init__(self, data: Tensor, path: GaussianPath, *, block: int = 2**21) -> None:
        self.data = _finite(data, "data")
        if self.data.ndim == 0 or self.data.numel() == 0:
            raise ValueError(
                f"data must have shape (N, *S), N >= 1; got {_shape(data)}"
            )
        self.path = check_is_path(path)
        self._block = check_count(block, name="block")

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        x = check_state(x).to(torch.float64)
        if x.shape[1:] != self.data.shape[1:]:
            raise ValueError(
                f"x must have shape (B, *S) with S = {_shape(self.data)[1:]} as the data "
                f"has; got {_shape(x)}"
            )
        t = time_like(t, x)
        flat = x.reshape(x.shape[0], -1)
        points = self.data.reshape(self.data.shape[0], -1)
        alpha = expand_like(self.path.alpha(t), flat)
        # At σ = 0 the smallest positive scale turns every point but the nearest off.
        scale = (2 * self.path.sigma_sq(t)).clamp(min=1e-300)
        scale = scale.expand(x.shape[0])[:, None]
        rows = max(1, self._block // max(1, flat.numel()))
        nearest = torch.full_like(scale, math.inf)
        total, sums = torch.zeros_like(scale), torch.zeros_like(flat)
        for part in points.split(rows):
            gaps = flat[:, None] - alpha[..., None] * part
            squares = gaps.square().sum(-1)
            # Shifting all exponents changes nothing, so no gradient need pass.
            closest = torch.minimum(nearest, squares.detach().amin(1, keepdim=True))
            kept = ((closest - nearest) / scale).exp()
            new = ((closest - squares) / scale).exp()
            total = total * kept + new.sum(1, keepdim=True)
            sums = sums * kept + new @ part
            nearest = closest
        return (sums / total).reshape(x.shape)


def _lay(c: Tensor) -> Tensor:
    """A coefficient () or (B,) laid over (B, K, D)."""
    return c.reshape(-1, 1, 1)


def _shape(x: object) -> object:
    return tuple(x.shape) if isinstance(x, Tensor) else describe(x)


def _finite(x: object, name: str) -> Tensor:
    """A finite floating-point tensor, detached and in float64."""
    x = check_floating(x, name=name).detach().to(torch.float64)
    if not holds(x.isfinite()):
        raise ValueError(f"{name} must be finite")
    return x


def _from_stds(stds: Tensor, k: int, d: int) -> Tensor:
    stds = _finite(stds, "stds")
    if stds.shape not in [(k,), (k, d)] or not holds(stds >= 0):
        raise ValueError(
            f"stds must not be negative and have shape (K,) = ({k},) or (K, D) = "
            f"({k}, {d}); got shape {_shape(stds)}"
        )
    return (stds if stds.ndim == 2 else stds[:, None].expand(k, d)).square()


def _from_covs(covs: Tensor | None, k: int, d: int) -> tuple[Tensor, Tensor]:
    covs = _finite(covs, "covs")
    if covs.shape != (k, d, d):
        raise ValueError(
            f"covs must have shape (K, D, D) = ({k}, {d}, {d}); got {_shape(covs)}"
        )
    size = covs.abs().amax((1, 2), keepdim=True)
    if not holds((covs - covs.mT).abs() <= 1e-10 * size):
        raise ValueError("covs must be symmetric")
    eigenvalues, basis = torch.linalg.eigh(0.5 * (covs + covs.mT))
    if not holds(eigenvalues >= -1e-10 * size[..., 0]):
        raise ValueError("covs must have no negative eigenvalue")
    return eigenvalues.clamp(min=0), basis
