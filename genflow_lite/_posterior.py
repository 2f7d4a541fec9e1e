"""What is known of x0 once x_t is seen, for a mixture: another mixture."""

from typing import NamedTuple

import torch
from torch import Tensor


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
