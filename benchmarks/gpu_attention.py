"""Attention as a whole beside PyTorch's: what no single rung of the ladder is.

The forward pass in the widths and types that the ladder's rungs do not take as they
stand, the three kernels of the backward pass together, and decoding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gpu_library
import numpy as np

from cuda_labs import check, decode, flash, flash_backward, reference, work

# Of the largest element of the truth, in units of the type's rounding: what shows a
# wrong kernel. The tests judge the rounding itself.
TOLERANCE = 8


@dataclass(frozen=True)
class Case:
    """Something to time: its name and shape, what runs it, what it is compared with.

    exact: the float64 truth for `run`'s result, computed on request.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    run: Callable[[], Any]
    peers: gpu_library.Peers
    nbytes: int
    flops: int
    unit: str
    exact: Callable[[], Any]


@dataclass(frozen=True)
class Shapes:
    """(heads, n, m, d) of forward and backward; (heads, key heads, m, d), splits."""

    forward: tuple[tuple[int, int, int, int], ...]
    backward: tuple[tuple[int, int, int, int], ...]
    decode: tuple[tuple[int, int, int, int], ...]
    splits: tuple[int, ...]


GPU = Shapes(
    ((64, 4096, 4096, 128), (64, 4093, 4093, 128)),
    ((64, 4096, 4096, 64), (64, 4096, 4096, 128)),
    ((512, 128, 8192, 128), (64, 16, 65521, 128)),
    (1, 4, 8, 16),
)
TINY = Shapes(((2, 33, 49, 40),), ((2, 33, 33, 32),), ((4, 2, 97, 32),), (1, 3))
PARTS = ("flash", "flash_backward", "decode")


def cases(part: str, shapes: Shapes, mover: Callable[[Any], Any]) -> Iterator[Case]:
    """The cases of a part; `mover` puts an array where it is to be computed."""
    return {"flash": _forward, "flash_backward": _backward, "decode": _decode}[part](
        shapes, mover
    )


def _drawn(shapes: tuple[tuple[int, ...], ...], dtype: str) -> list[Any]:
    rng = np.random.default_rng(7)
    return [rng.standard_normal(s, dtype=np.float32).astype(dtype) for s in shapes]


def _forward(shapes: Shapes, mover: Callable[[Any], Any]) -> Iterator[Case]:
    for heads, n, m, d in shapes.forward:
        for dtype in ("float32", "float16"):
            host = _drawn(((heads, n, d), (heads, m, d), (heads, m, d)), dtype)
            q, k, v = (mover(x) for x in host)
            for causal in (False, True):
                tensors = [gpu_library.tensor(x) for x in (q, k, v)]
                yield Case(
                    "causal forward" if causal else "forward",
                    (heads, n, m, d),
                    dtype,
                    lambda q=q, k=k, v=v, c=causal: flash.forward(
                        q, k, v, causal=c, checked=False
                    )[0],
                    gpu_library.attention_forward(*tensors, causal=causal),
                    sum(x.nbytes for x in host) + host[0].nbytes,
                    work.attention(heads, n, m, d, causal),
                    "tensor" if dtype == "float16" else "fp32",
                    lambda host=host, c=causal: reference.attention(*host, causal=c)[0],
                )


def _backward(shapes: Shapes, mover: Callable[[Any], Any]) -> Iterator[Case]:
    for heads, n, m, d in shapes.backward:
        host = _drawn(
            ((heads, n, d), (heads, m, d), (heads, m, d), (heads, n, d)), "float32"
        )
        q, k, v, do = (mover(x) for x in host)
        o, lse = flash.forward(q, k, v, checked=False)
        yield Case(
            "backward",
            (heads, n, m, d),
            "float32",
            lambda q=q, k=k, v=v, o=o, lse=lse, do=do: flash_backward.backward(
                q, k, v, o, lse, do, checked=False
            )[0],
            gpu_library.attention_backward(
                *(gpu_library.tensor(x) for x in (q, k, v, do)), causal=False
            ),
            2 * sum(x.nbytes for x in host[:3]) + 2 * host[3].nbytes,
            5 * work.attention(heads, n, m, d) // 2,
            "fp32",
            lambda host=host: reference.attention_backward(*host)[0],
        )


def _decode(shapes: Shapes, mover: Callable[[Any], Any]) -> Iterator[Case]:
    for heads, kept, m, d in shapes.decode:
        host = _drawn(((heads, 1, d), (kept, m, d), (kept, m, d)), "float32")
        q, k, v = (mover(x) for x in host)
        group = heads // kept
        # The queries that share a key head become its n queries: PyTorch, too, then
        # reads every key once.
        tensors = [gpu_library.tensor(x) for x in (q.reshape(kept, group, d), k, v)]
        peers = gpu_library.attention_forward(*tensors, causal=False)
        for splits in shapes.splits:
            yield Case(
                f"decode, {splits} parts",
                (heads, kept, m, d),
                "float32",
                lambda q=q, k=k, v=v, s=splits: decode.split_kv(q, k, v, splits=s),
                peers,
                sum(x.nbytes for x in host) + host[0].nbytes,
                work.attention(heads, 1, m, d),
                "fp32",
                lambda host=host, group=group: reference.attention(
                    host[0], *(x.repeat(group, 0) for x in host[1:])
                )[0],
            )


def agrees(result: Any, exact: Any, dtype: str) -> float:
    """The largest error over what is allowed. Raises `check.Mismatch` above 1."""
    host = np.asarray(result.get() if hasattr(result, "get") else result)
    scale = max(float(np.abs(exact).max()), 1e-30)
    worst = float(np.abs(host.astype(np.float64) - exact).max()) / scale
    allowed = TOLERANCE * check.epsilon(dtype)
    if not worst <= allowed:
        raise check.Mismatch(f"off by {worst:.2g} of the largest element")
    return worst / allowed
