"""The same kernels on a GPU: every ladder, and attention as a whole.

Skipped without CuPy and a device, like everything that needs one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cuda_labs import decode, flash, flash_backward, ladders, reference, roofline

ALL = [
    (operation, name)
    for operation in ladders.operations()
    for name in ladders.rungs(operation, gpu_only=True)
]


@pytest.fixture(scope="module")
def cupy() -> Any:
    """CuPy with a device."""
    module = pytest.importorskip("cupy")
    try:
        there = module.cuda.runtime.getDeviceCount()
    except module.cuda.runtime.CUDARuntimeError:
        there = 0
    if not there:
        pytest.skip("no GPU")
    return module


def refusal(cupy: Any, least: str) -> str:
    """Why the device cannot run a rung that needs `least`, or nothing."""
    digits = str(cupy.cuda.Device().compute_capability)
    found = int(digits[:-1]), int(digits[-1])
    return roofline.Machine("this device", 1.0, capability=found).refuses(least)


def moved(cupy: Any, data: tuple[Any, ...]) -> tuple[Any, ...]:
    """Arrays on the device, numbers as they are."""
    return tuple(cupy.asarray(x) if isinstance(x, np.ndarray) else x for x in data)


@pytest.mark.parametrize(("operation", "name"), ALL)
def test_every_rung_is_right_on_a_gpu(cupy: Any, operation: str, name: str) -> None:
    if reason := refusal(cupy, ladders.least(operation, name)):
        pytest.skip(reason)
    rung = ladders.load(operation, name)
    for shape in rung.shapes:
        data = rung.operation.sample(shape, np.random.default_rng(0))
        on_device = moved(cupy, data)
        rung.check(rung.run(*on_device), *on_device)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("n", "m", "d"), [(1, 1, 8), (97, 113, 40), (130, 64, 128)])
def test_attention_and_its_gradients_on_a_gpu(
    cupy: Any, n: int, m: int, d: int, causal: bool
) -> None:
    rng = np.random.default_rng(n)
    q, do = (rng.standard_normal((3, n, d)) for _ in range(2))
    k, v = (rng.standard_normal((3, m, d)) for _ in range(2))
    a, b, c, g = moved(cupy, (q, k, v, do))
    o, lse = flash.forward(a, b, c, causal=causal)
    gradients = flash_backward.backward(a, b, c, o, lse, g, causal=causal)
    how: Any = {"causal": causal, "scale": None}
    exact = reference.attention(q, k, v, **how)
    slopes = reference.attention_backward(q, k, v, do, **how)
    for ours, truth in zip((o, lse, *gradients), (*exact, *slopes), strict=True):
        np.testing.assert_allclose(ours.get(), truth, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("splits", [1, 7, 40])
def test_decoding_on_a_gpu(cupy: Any, splits: int) -> None:
    rng = np.random.default_rng(splits)
    q = rng.standard_normal((8, 1, 64))
    k, v = (rng.standard_normal((2, 311, 64)) for _ in range(2))
    ours = decode.split_kv(*moved(cupy, (q, k, v)), splits=splits)
    k, v = (np.repeat(x, 4, axis=0) for x in (k, v))
    truth = reference.attention(q, k, v, causal=False, scale=None)[0]
    np.testing.assert_allclose(ours.get(), truth, rtol=1e-9, atol=1e-11)
