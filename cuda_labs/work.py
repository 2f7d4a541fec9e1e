"""What an operation asks for, whatever the kernel: bytes, arithmetic, sizes.

The bytes are those of its inputs and results, each once: no kernel moves fewer. The
arithmetic is that of the definition; a multiply-add counts as two operations, and
what only moves or counts data has none.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cuda_labs.ladders import Rung
from cuda_labs.plans import Plan

Shape = tuple[int, ...]

# Names of tensor-core instructions in a source.
_TENSOR = re.compile(r"\bwmma::mma_sync\b|\bmma\.sync\b|\bwgmma\.mma_async\b")


@dataclass(frozen=True)
class Work:
    """Least bytes, operations, and the unit, "fp32" or "tensor", that makes them."""

    nbytes: int
    flops: int
    unit: str


def _matmul(a: Any, b: Any) -> int:
    return 2 * a.shape[0] * a.shape[1] * b.shape[1]


def _stencil(u: Any, _: float) -> int:
    return 7 * max(u.shape[0] - 2, 0) * max(u.shape[1] - 2, 0)


def pairs(n: int, m: int, causal: bool = False) -> int:
    """Query-key pairs of a head; causal: key j ≤ i + m − n, bottom-right aligned."""
    if not causal:
        return n * m
    rows = min(n, m)  # rows that see anything see m, m − 1, ... keys
    return rows * m - rows * (rows - 1) // 2


def attention(heads: int, n: int, m: int, d: int, causal: bool = False) -> int:
    """Operations of a forward pass: two products of n × m × d a head.

    The exponentials are not counted, as is the custom; the backward pass makes five
    products where this makes two. Dao (2023), *FlashAttention-2*, §4.1.
    """
    return 4 * heads * pairs(n, m, causal) * d


def _attention(causal: bool) -> Callable[..., int]:
    def flops(q: Any, k: Any, *_: Any) -> int:
        heads, n, d = q.shape
        return attention(heads, n, k.shape[1], d, causal)

    return flops


def _keys_backward(q: Any, k: Any, *_: Any) -> int:
    """The gradients of K and V: four of the five products."""
    return 2 * attention(q.shape[0], q.shape[1], k.shape[1], q.shape[2])


# By ladder, or by rung where one does something else.
FLOPS: dict[str | tuple[str, str], Callable[..., int]] = {
    "vector_add": lambda a, b: a.size,  # noqa: ARG005 (as the inputs come)
    "reduction": lambda x: x.size,
    "scan": lambda x: x.size,
    "stencil": _stencil,
    "matmul": _matmul,
    # The maximum, a difference, an exponential, a sum and a quotient.
    "softmax": lambda x: 5 * x.size,
    "attention": _attention(False),
    ("attention", "03_flash_fwd_causal"): _attention(True),
    ("attention", "04_flash_bwd"): _keys_backward,
}


@dataclass(frozen=True)
class Sizes:
    """Sizes to time on a GPU, a round one first, and to count on a CPU."""

    gpu: tuple[Shape, ...]
    cpu: Shape


# By ladder, or by rung where one has sizes of its own.
SIZES: dict[str | tuple[str, str], Sizes] = {
    "vector_add": Sizes(((1 << 26,), (67_108_859,)), (1 << 14,)),
    "transpose": Sizes(((8192, 8192), (8191, 8193)), (96, 96)),
    "reduction": Sizes(((1 << 27,), (134_217_689,)), (1 << 14,)),
    "scan": Sizes(((1 << 24,), (16_777_213,)), (1 << 13,)),
    "histogram": Sizes(((1 << 26,), (67_108_859,)), (1 << 14,)),
    "stencil": Sizes(((8192, 8192), (8191, 8193)), (96, 96)),
    "matmul": Sizes(((4096, 4096, 4096), (4089, 4104, 4088)), (128, 128, 128)),
    "softmax": Sizes(((8192, 4096), (8191, 4099), (1, 1 << 24)), (64, 500)),
    # Here one thread has a whole row: one huge row would take half a minute.
    ("softmax", "01_three_pass"): Sizes(((8192, 4096), (8191, 4099)), (64, 500)),
    # Heads of all sequences, queries, keys, width.
    "attention": Sizes(((64, 4096, 4096, 64), (64, 4093, 4093, 64)), (2, 96, 96, 64)),
    # Its inputs hold whole matrices of probabilities while they are made.
    ("attention", "04_flash_bwd"): Sizes(
        ((16, 4096, 4096, 64), (16, 4093, 4093, 64)), (2, 96, 96, 64)
    ),
}


def sizes(rung: Rung) -> Sizes:
    """The sizes of a rung or its operation; of one not listed, the tested ones."""
    name = rung.operation.name
    listed = SIZES.get((name, rung.name), SIZES.get(name))
    if listed is not None:
        return listed
    return Sizes((rung.shapes[-1],), rung.shapes[-1])


def of(rung: Rung, inputs: tuple[Any, ...], plan: Plan) -> Work:
    """The work of `rung` on `inputs`, as the kernel takes them, and its plan."""
    name = rung.operation.name
    count = FLOPS.get((name, rung.name), FLOPS.get(name))
    flops = count(*inputs) if count else 0
    unit = "tensor" if _TENSOR.search(rung.kernel.source) else "fp32"
    return Work(_bytes(inputs) + _bytes(plan.output), flops, unit)


def _bytes(values: Any) -> int:
    """Bytes of arrays, however nested; values beside them do not count."""
    if isinstance(values, (tuple, list)):
        return sum(_bytes(value) for value in values)
    return int(values.nbytes) if getattr(values, "ndim", 0) else 0
