"""What describes a launch, and the ladder of an operation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cuda_labs import arguments


@dataclass(frozen=True)
class Launch:
    """One launch: grid, block, arguments in the kernel's order."""

    grid: tuple[int, ...]
    block: tuple[int, ...]
    args: tuple[Any, ...]
    shared_mem: int = 0


@dataclass(frozen=True)
class Plan:
    """The launches that compute an operation, and the array that then holds it."""

    launches: tuple[Launch, ...]
    output: Any


@dataclass(frozen=True)
class Operation:
    """What all rungs of a ladder share.

    plan(rung, inputs) -> Plan; judge(inputs) -> (expected, K, scale) for
    `check.agree`; sample(shape, rng) -> inputs; shapes: sizes that every test
    uses, among them 1, a prime and what is no multiple of a tile. special: the
    shapes, and rounds: the dtype of the inputs, of a rung that has its own.
    gpu_only: the rungs in inline PTX, each with the least architecture it needs.
    variants: rungs that compute something else, such as a gradient, with the
    operation that takes this one's place for them.
    """

    name: str
    plan: Callable[[str, tuple[Any, ...]], Plan]
    judge: Callable[..., tuple[Any, int, Any]]
    sample: Callable[[tuple[int, ...], np.random.Generator], tuple[Any, ...]]
    shapes: tuple[tuple[int, ...], ...]
    special: dict[str, tuple[tuple[int, ...], ...]] = field(default_factory=dict)
    rounds: dict[str, Any] = field(default_factory=dict)
    gpu_only: dict[str, str] = field(default_factory=dict)
    variants: dict[str, Operation] = field(default_factory=dict)


def filled(like: Any, shape: Sequence[int], dtype: Any, fill: float) -> Any:
    """A filled array where `like` lives."""
    if arguments.is_device_array(like):
        import cupy  # pyright: ignore[reportMissingImports]

        return cupy.full(tuple(shape), fill, dtype)
    return np.full(tuple(shape), fill, dtype)


def up(a: int, b: int) -> int:
    """⌈a / b⌉."""
    return -(-a // b)
