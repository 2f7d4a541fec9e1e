"""What a launch is asked for: each value checked, and in one form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Dim = int | Sequence[int]


def extents_of(name: str, value: Dim) -> tuple[int, int, int]:
    """(x, y, z) of a grid or a block; TypeError for what is no extent."""
    extents = tuple(value) if isinstance(value, Sequence) else (value,)
    whole = all(
        isinstance(v, (int, np.integer)) and not isinstance(v, bool) for v in extents
    )
    if not whole or not 1 <= len(extents) <= 3:
        raise TypeError(f"{name}: one to three integers, got {value!r}")
    x, y, z = (*(int(v) for v in extents), 1, 1)[:3]
    return x, y, z


def arguments_of(args: Sequence[Any]) -> tuple[Any, ...]:
    """The kernel's arguments; TypeError for what is no tuple or list."""
    if not isinstance(args, (tuple, list)):
        raise TypeError(f"args: a tuple of arguments, got {type(args).__name__}")
    return tuple(args)


def bytes_of(shared_mem: int) -> int:
    """Bytes of dynamic shared memory; TypeError for what is no integer."""
    if isinstance(shared_mem, bool) or not isinstance(shared_mem, (int, np.integer)):
        raise TypeError(f"shared_mem: bytes as an int, got {shared_mem!r}")
    return int(shared_mem)


def seconds_of(timeout: float) -> float:
    """A deadline; TypeError for what is no number, ValueError beyond a day."""
    number = isinstance(timeout, (int, float, np.integer, np.floating))
    if not number or isinstance(timeout, bool):
        raise TypeError(f"timeout: seconds as a number, got {timeout!r}")
    if not 0 < timeout <= 86400:
        raise ValueError(
            f"timeout: seconds, more than 0 and at most 86400, got {timeout}"
        )
    return float(timeout)


def order_of(order: str | int) -> int:
    """1 for "reversed", else 0 or the seed; ValueError for anything else."""
    if order in ("forward", "reversed"):
        return int(order == "reversed")
    if isinstance(order, int) and not isinstance(order, bool) and order >= 2:
        return 2 + (order - 2) % (2**63 - 2)
    raise ValueError(f"order: 'forward', 'reversed' or a seed from 2, got {order!r}")
