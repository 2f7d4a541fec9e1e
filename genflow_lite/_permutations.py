"""The permutation test: a distance beside what shuffled labels make of it.

Under the null hypothesis that two samples come from one distribution, the labels "x"
and "y" say nothing. Draw them again and again without replacement, and the distances
that come out are a sample of the null distribution.
"""

import math
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from genflow_lite._shapes import check_count, check_generator


class TwoSample(NamedTuple):
    """A distance between two samples, and the same distance after shuffling labels.

    value: the distance. null_mean, null_std: mean and standard deviation over the
    permutations. p_value: (1 + #{permuted ≥ value}) / (1 + permutations), never 0, and
    valid for every sample size (Phipson and Smyth, 2010). The last three are NaN
    when no permutations were asked for.
    """

    value: float
    null_mean: float
    null_std: float
    p_value: float


def shuffles(
    x: Tensor, y: Tensor, permutations: int, generator: Generator | None
) -> Tensor:
    """(1 + permutations, N) rows with 1 for "x" and 0 for "y"; row 0 is the truth."""
    if check_count(permutations, name="permutations", least=0):
        check_generator(generator)
    labels = torch.zeros(
        1 + permutations, len(x) + len(y), dtype=x.dtype, device=x.device
    )
    labels[0, : len(x)] = 1
    for row in labels[1:]:
        shuffled = torch.randperm(len(row), generator=generator, device=x.device)
        row[shuffled[: len(x)]] = 1
    return labels


def two_sample(values: Tensor) -> TwoSample:
    """values[0] beside the mean, spread and ranks of values[1:]."""
    value, null = float(values[0]), values[1:]
    if len(null) == 0:
        return TwoSample(value, math.nan, math.nan, math.nan)
    # Labellings that are equal up to the order of summation count as ties.
    ties = 1e-12 * float(values.abs().max())
    extreme = int((null >= value - ties).sum())
    spread = float(null.std(correction=0))
    return TwoSample(value, float(null.mean()), spread, (1 + extreme) / (1 + len(null)))
