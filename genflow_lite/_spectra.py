"""The covariances of a mixture's components, each in the basis of its eigenvectors.

C_k = Q_k diag(λ_k) Q_kᵀ. Whatever a Gaussian path adds to it is a multiple of the
identity, so α² C_k + σ² I is diagonal in the same basis at every time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from genflow_lite._shapes import check_finite, holds


@final
@dataclass(frozen=True, eq=False)
class Spectra:
    """K covariance matrices by their eigenvalues and eigenvectors.

    values (K, D), not negative. basis (K, D, D) with the eigenvectors as columns, or
    None where every C_k is diagonal.
    """

    values: Tensor
    basis: Tensor | None = None

    @classmethod
    def from_stds(cls, stds: object, k: int, d: int) -> "Spectra":
        """C_k = stds_k² I of stds (K,), or diag(stds_k²) of stds (K, D)."""
        stds = check_finite(stds, name="stds")
        if stds.shape not in [(k,), (k, d)]:
            raise ValueError(
                f"stds must have shape (K,) = ({k},) or (K, D) = ({k}, {d}); "
                f"got {tuple(stds.shape)}"
            )
        if not holds(stds >= 0):
            raise ValueError(f"stds must not be negative; got {stds.min().item():.6g}")
        stds = stds if stds.ndim == 2 else stds[:, None].expand(k, d)
        return cls(stds.square())

    @classmethod
    def from_covs(cls, covs: object, k: int, d: int) -> "Spectra":
        """The covariances covs (K, D, D): symmetric, with no negative eigenvalue."""
        covs = check_finite(covs, name="covs")
        if covs.shape != (k, d, d):
            raise ValueError(
                f"covs must have shape (K, D, D) = ({k}, {d}, {d}); "
                f"got {tuple(covs.shape)}"
            )
        size = covs.abs().amax((1, 2), keepdim=True)
        if not holds((covs - covs.mT).abs() <= 1e-10 * size):
            raise ValueError("covs must be symmetric")
        values, basis = torch.linalg.eigh(0.5 * (covs + covs.mT))
        if not holds(values >= -1e-10 * size[..., 0]):
            raise ValueError(
                f"covs must have no negative eigenvalue; got {values.min().item():.6g}"
            )
        return cls(values.clamp(min=0), basis)

    def __getitem__(self, labels: Sequence[int] | Tensor) -> "Spectra":
        """Some of the covariances, in the order of the labels."""
        basis = None if self.basis is None else self.basis[labels]
        return Spectra(self.values[labels], basis)

    def rotate(self, x: Tensor) -> Tensor:
        """Q_kᵀ x_k, each (B, K, D)."""
        if self.basis is None:
            return x
        return torch.einsum("kji,bkj->bki", self.basis, x)

    def unrotate(self, local: Tensor) -> Tensor:
        """Q_k local_k, each (B, K, D)."""
        if self.basis is None:
            return local
        return torch.einsum("kij,bkj->bki", self.basis, local)

    def matrices(self, diagonal: Tensor) -> Tensor:
        """Q_k diag(diagonal_k) Q_kᵀ; diagonal (B, K, D), the result (B, K, D, D)."""
        if self.basis is None:
            return torch.diag_embed(diagonal)
        return torch.einsum("kil,bkl,kjl->bkij", self.basis, diagonal, self.basis)
