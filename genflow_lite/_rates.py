"""An elementwise function of time together with its derivative."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.func import jvp, vjp

from genflow_lite._shapes import holds


def with_rate(function: Callable[[Tensor], Tensor], t: Tensor) -> tuple[Tensor, Tensor]:
    """The function and its derivative at a checked t, by automatic differentiation.

    The Jacobian is diagonal, so its product with ones is the derivative from either
    side. Reverse mode comes first because forward mode is several times slower where
    tensors meet Python numbers, and solvers and losses ask at every step. Where a
    derivative is infinite, reverse mode may meet 0·∞; there forward mode decides.
    """
    value = function(t)
    rate = _by_tape(function, t, value)
    if rate is None:
        value, pull = vjp(function, t)[:2]
        (rate,) = pull(torch.ones_like(t))
    if not holds(rate.isfinite()):
        value, rate = jvp(function, (t,), (torch.ones_like(t),))[:2]
    return value, rate


def _by_tape(
    function: Callable[[Tensor], Tensor], t: Tensor, value: Tensor
) -> Tensor | None:
    """The derivative by plain autograd, several times cheaper than `vjp`.

    None where somebody may want to differentiate the derivative, in t or in a parameter
    of the function, or where there is no tape: in inference mode, and inside the
    transforms of `torch.func`, which refuse a leaf of their own.
    """
    watched = (
        t.requires_grad or value.requires_grad or torch.is_inference_mode_enabled()
    )
    if watched or forward_ad.unpack_dual(value).tangent is not None:
        return None
    try:
        leaf = t.detach().requires_grad_()
    except RuntimeError:
        return None
    with torch.enable_grad():
        moved = function(leaf)
        if not moved.requires_grad:
            return torch.zeros_like(t)
        return torch.autograd.grad(moved, leaf, torch.ones_like(t))[0]
