"""The assignment problem: who goes where, so that the total cost is least.

Two exact solvers, because neither is the faster one at every size: SciPy's shortest
augmenting paths for few points, POT's network simplex for many (Flamary et al. 2021).
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

SMALL = 200
"""Up to this many points the augmenting paths are faster, for few of them by far."""

MOST_PIVOTS = 10_000_000
"""Pivots of the network simplex; POT's own limit is too low for large batches."""


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """|a_i − b_j|² for points (…, B, D); (…, B, B) float64 on the CPU."""
    a, b = (v.detach().to(torch.float64).cpu() for v in (a, b))
    # Differences first: |a|² + |b|² − 2ab would lose the digits of short distances.
    exact = "donot_use_mm_for_euclid_dist"
    return torch.cdist(a, b, compute_mode=exact).square()


def best_columns(cost: Any) -> Any:
    """For each row of a finite square array its column in the plan of least cost.

    Raises RuntimeError if the simplex stops before it is done.
    """
    # Imported here, because both take longer to import than all the rest.
    if len(cost) <= SMALL:
        from scipy.optimize import linear_sum_assignment

        return linear_sum_assignment(cost)[1]
    import ot

    columns = ot.emd([], [], cost, numItermax=MOST_PIVOTS).argmax(1)
    if len(np.unique(columns)) < len(columns):
        raise RuntimeError("the network simplex stopped before it reached an optimum")
    return columns
