"""A mixture where x_t is seen: its noisy components, and what is then known of x0.

What is known of x0 is a mixture again.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Local(NamedTuple):
    """The mixture at (x, t), each component in its own basis."""

    alpha: Tensor  # (B or 1, 1, 1)
    sigma_sq: Tensor  # (B or 1, 1, 1)
    delta: Tensor  # (B, K, D): Qᵀ (x − α m)
    var: Tensor  # (B or 1, K, D): α² λ + σ²
    log_joint: Tensor  # (B, K): log w_k N(x; α m_k, α² C_k + σ² I)


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


def lay(c: Tensor) -> Tensor:
    """A coefficient () or (B,) laid over (B, K, D)."""
    return c.reshape(-1, 1, 1)
