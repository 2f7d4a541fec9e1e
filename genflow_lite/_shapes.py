"""Shapes, and the checks of arguments that every module shares.

States are (B, *S): a batch of B things of any shape S. A time, and with it every
coefficient of a path, is either a scalar or one number for each thing, (B,).
`expand_like` is the only place where the second is laid over the first, so that a
coefficient can never run along the wrong axis when B happens to equal an extent
of S.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

State = Float[Tensor, "B *S"]
"""A batch of B things of shape S."""

Time = Float[Tensor, ""] | Float[Tensor, " B"] | float
"""A time beside a state: one for all, or one for each thing in the batch."""

Curve = Float[Tensor, "*T"]
"""A function of time, evaluated: the shape of the times."""

Instant = Curve | float
"""A time, or times of any shape, on its own."""

Numbers = Float[Tensor, " B"]
"""One number for each thing in the batch."""

Points = Float[Tensor, "B D"]
"""A batch of points in D dimensions."""

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""D(x, t) = E[x0 | x_t = x]: x (B, *S), t () or (B,), the result like x."""


def holds(condition: Tensor) -> bool:
    """Whether a condition is true everywhere, as far as that can be seen.

    Inside `torch.vmap` a tensor has no values that Python could branch on; torch
    then raises a RuntimeError, and the check is left to the caller's own eyes.
    """
    try:
        return bool(condition.all())
    except RuntimeError:
        return True


def describe(value: object) -> str:
    """A value as an error message names it: a tensor by dtype and shape."""
    if isinstance(value, Tensor):
        return f"a {value.dtype} tensor of shape {tuple(value.shape)}"
    return f"{type(value).__name__} {value!r}"


def check_floating(x: object, *, name: str) -> Tensor:
    """`x` itself where it is a floating-point tensor, otherwise TypeError."""
    if not isinstance(x, Tensor) or not x.is_floating_point():
        raise TypeError(f"{name} must be a floating-point tensor; got {describe(x)}")
    return x


def check_finite(x: object, *, name: str) -> Tensor:
    """A finite floating-point tensor, detached and widened to float64."""
    x = check_floating(x, name=name).detach().to(torch.float64)
    if not holds(x.isfinite()):
        raise ValueError(f"{name} must be finite; it holds an infinity or NaN")
    return x


def check_number(value: object, *, name: str) -> float:
    """A Python number as a float; NaN and infinities pass."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number; got {describe(value)}")
    return float(value)


def check_positive(value: object, *, name: str) -> float:
    """A positive, finite Python number as a float."""
    value = check_number(value, name=name)
    if not 0 < value < math.inf:
        raise ValueError(f"{name} must be positive and finite; got {value}")
    return value


def check_state(x: object, *, name: str = "x") -> Tensor:
    """A floating-point tensor with a batch axis, shape (B, *S)."""
    x = check_floating(x, name=name)
    if x.ndim == 0:
        raise ValueError(f"{name} must have a batch axis, shape (B, *S); got shape ()")
    return x


def check_same_shape(a: Tensor, b: Tensor, *, names: tuple[str, str]) -> None:
    """Refuse two tensors of different shapes: broadcasting would hide a mistake."""
    if a.shape != b.shape:
        raise ValueError(
            f"{names[0]} and {names[1]} must have the same shape; "
            f"got {tuple(a.shape)} and {tuple(b.shape)}"
        )


def check_time(t: object, *, name: str = "t") -> Tensor:
    """A time as a floating-point tensor with every value in [0, 1].

    A Python number becomes a float64 scalar. Raises TypeError for anything that is
    not a floating-point tensor or a number, ValueError outside [0, 1] and for NaN.
    """
    if isinstance(t, int | float) and not isinstance(t, bool):
        t = torch.tensor(t, dtype=torch.float64)
    t = check_floating(t, name=name)
    # NaN fails both comparisons, so this one condition refuses it as well.
    if not holds((t >= 0) & (t <= 1)):
        raise ValueError(
            f"{name} must lie in [0, 1] (0 is data, 1 is noise); "
            f"got values from {t.min().item():.6g} to {t.max().item():.6g}"
        )
    return t


def time_like(t: object, x: Tensor, *, name: str = "t") -> Tensor:
    """A time that fits the state x: () or (B,), at least as precise as x.

    A float32 time beside a float64 state is widened first, so that the
    coefficients of the path are evaluated in the state's precision.
    """
    t = check_time(t, name=name)
    if t.ndim > 1 or (t.ndim == 1 and t.shape[0] != x.shape[0]):
        raise ValueError(
            f"{name} must have shape () or (B,) = ({x.shape[0]},) beside a state of "
            f"shape {tuple(x.shape)}; got {tuple(t.shape)}"
        )
    return t.to(torch.promote_types(t.dtype, x.dtype))


def expand_like(c: Tensor, x: Tensor) -> Tensor:
    """A coefficient () or (B,) laid over a state (B, *S): (B, 1, ..., 1), x's dtype.

    Raises ValueError for any other shape.
    """
    if c.ndim == 1 and c.shape[0] == x.shape[0]:
        c = c.reshape(-1, *([1] * (x.ndim - 1)))
    elif c.ndim != 0:
        raise ValueError(
            f"a coefficient must have shape () or ({x.shape[0]},) beside a state of "
            f"shape {tuple(x.shape)}; got {tuple(c.shape)}"
        )
    return c.to(x.dtype)


def check_grid(
    ts: object,
    *,
    name: str = "ts",
    direction: Literal["either", "decreasing"] = "either",
) -> Tensor:
    """A time grid: float64, 1-D, at least two entries in [0, 1], strictly monotone.

    Raises TypeError for another kind or dtype, ValueError for the rest.
    """
    if not isinstance(ts, Tensor) or ts.dtype != torch.float64:
        raise TypeError(f"{name} must be a float64 tensor; got {describe(ts)}")
    if ts.ndim != 1 or ts.shape[0] < 2:
        raise ValueError(
            f"{name} must have shape (n + 1,) with n >= 1 steps; "
            f"got shape {tuple(ts.shape)}"
        )
    check_time(ts, name=name)
    steps = ts.diff()
    if direction == "decreasing" and not holds(steps < 0):
        raise ValueError(
            f"{name} must be strictly decreasing, from noise to data; "
            f"it runs from {ts[0].item():.6g} to {ts[-1].item():.6g}"
        )
    if not (holds(steps < 0) or holds(steps > 0)):
        raise ValueError(
            f"{name} must be strictly monotone; two entries are out of order"
        )
    return ts


def check_count(n: object, *, name: str, least: int = 1) -> int:
    """A Python int that is at least `least`."""
    if not isinstance(n, int) or isinstance(n, bool):
        raise TypeError(f"{name} must be an int; got {describe(n)}")
    if n < least:
        raise ValueError(f"{name} must be at least {least}; got {n}")
    return n


def check_shape(shape: object, *, name: str = "shape") -> tuple[int, ...]:
    """A tuple of ints that are not negative."""
    if not isinstance(shape, Sequence) or any(type(n) is not int for n in shape):
        raise TypeError(f"{name} must be a sequence of ints; got {describe(shape)}")
    if any(n < 0 for n in shape):
        raise ValueError(f"{name} must not hold a negative number; got {shape!r}")
    return tuple(shape)


def check_labels(labels: object, *, name: str) -> list[int]:
    """An int, or several of them, as a list of Python ints; a bool is no label."""
    if isinstance(labels, Tensor | np.ndarray | np.generic):
        labels = labels.tolist()
    many = labels if isinstance(labels, list | tuple | range) else [labels]
    found = [
        int(i)
        for i in many
        if isinstance(i, int | np.integer) and not isinstance(i, bool)
    ]
    if len(found) < len(many):
        raise TypeError(
            f"{name} must be an int or a sequence of ints; got {describe(labels)}"
        )
    return found


def check_generator(generator: object, *, name: str = "generator") -> torch.Generator:
    """A `torch.Generator`: no function here draws from the global one."""
    if not isinstance(generator, torch.Generator):
        raise TypeError(
            f"{name} must be a torch.Generator, for example "
            f"torch.Generator().manual_seed(0); got {describe(generator)}"
        )
    return generator


def check_path(denoise: Any, path: Any, *, name: str = "path") -> None:
    """Refuse a denoiser that was made for another path than the one given.

    A denoiser without a `.path` is trusted. Two path objects count as the same where
    their coefficients agree at nine times from 0 to 1.
    """
    own = getattr(denoise, "path", None)
    if own is None or own is path:
        return
    t = torch.linspace(0, 1, 9, dtype=torch.float64)
    if not (
        torch.equal(own.alpha(t), path.alpha(t))
        and torch.equal(own.sigma(t), path.sigma(t))
    ):
        raise ValueError(
            f"{name} is {path.name}, but the denoiser was made for {own.name}; "
            "give both the same path"
        )
