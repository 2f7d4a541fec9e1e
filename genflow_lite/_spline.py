"""A monotone map of the line: rational quadratics between knots, the identity outside.

Between the knots (x_k, y_k) and (x_{k+1}, y_{k+1}), with slopes d_k and d_{k+1} there,
w and h the bin's width and height, s = h/w and ξ = (x − x_k)/w,

    y = y_k + h (s ξ² + d_k ξ(1 − ξ)) / (s + (d_k + d_{k+1} − 2s) ξ(1 − ξ)),

increasing where all slopes are positive, once differentiable, and a quadratic in ξ to
invert (Gregory and Delbourgo 1982; Durkan et al. 2019).
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad, softplus

LEAST_BIN = 0.1
"""The least width and height of a bin, in units of the even one, 2 bound/K."""

LEAST_SLOPE = 0.01
"""The least slope at a knot."""


class Knots(NamedTuple):
    """Knots of a spline for each entry: x and y (..., K + 1), slopes (..., K + 1)."""

    x: Tensor
    y: Tensor
    slope: Tensor


def knots(raw: Tensor, bound: float) -> Knots:
    """Free parameters (..., 3K − 1) as knots on [−bound, bound]²; 0 is the identity.

    K widths and K heights by softmax, K − 1 inner slopes by softplus; the slopes at
    both ends are 1, so that the map joins the identity outside smoothly.
    """
    k = (raw.shape[-1] + 1) // 3
    slope = softplus(raw[..., 2 * k :] + _unit_slope(raw))
    ones = torch.ones_like(raw[..., :1])
    return Knots(
        _positions(raw[..., :k], bound),
        _positions(raw[..., k : 2 * k], bound),
        torch.cat([ones, LEAST_SLOPE + slope, ones], -1),
    )


def _unit_slope(raw: Tensor) -> Tensor:
    """The number whose softplus is 1 − LEAST_SLOPE."""
    return torch.expm1(raw.new_tensor(1 - LEAST_SLOPE)).log()


def _positions(raw: Tensor, bound: float) -> Tensor:
    """K + 1 increasing positions from exactly −bound to exactly bound."""
    k = raw.shape[-1]
    shares = LEAST_BIN / k + (1 - LEAST_BIN) * raw.softmax(-1)
    inner = bound * (2 * shares[..., :-1].cumsum(-1) - 1)
    return pad(pad(inner, (1, 0), value=-bound), (0, 1), value=bound)


def spline(x: Tensor, at: Knots, *, inverse: bool = False) -> tuple[Tensor, Tensor]:
    """The map, or its inverse, and the log of its derivative; both in the shape of x.

    Outside the box both are those of the identity. The derivative is that of the map
    asked for: that of the inverse at y is −log of the map's at x.
    """
    grid = at.y if inverse else at.x
    inside = (x >= grid[..., 0]) & (x <= grid[..., -1])
    # Points outside go through the formula at 0, or its gradient there could be NaN.
    z = torch.where(inside, x, 0.0)
    k = (z[..., None] >= grid[..., 1:-1]).sum(-1, keepdim=True)

    def left(values: Tensor) -> Tensor:
        return values.gather(-1, k)[..., 0]

    x_k, y_k = left(at.x), left(at.y)
    w, h = left(at.x.diff()), left(at.y.diff())
    d, d_next = left(at.slope[..., :-1]), left(at.slope[..., 1:])
    s = h / w
    bend = d + d_next - 2 * s
    if inverse:
        rise = z - y_k
        a = h * (s - d) + rise * bend
        b = h * d - rise * bend
        c = -s * rise
        # The root in [0, 1], in the form that subtracts no two close numbers.
        root = (b.square() - 4 * a * c).clamp(min=0).sqrt()
        xi = 2 * c / (-b - root)
    else:
        xi = (z - x_k) / w
    other = 1 - xi
    denominator = s + bend * xi * other
    slope = d_next * xi.square() + 2 * s * xi * other + d * other.square()
    log_slope = 2 * s.log() + slope.log() - 2 * denominator.log()
    if inverse:
        y, log_slope = x_k + w * xi, -log_slope
    else:
        y = y_k + h * (s * xi.square() + d * xi * other) / denominator
    return torch.where(inside, y, x), torch.where(inside, log_slope, 0.0)
