"""The same kernels on a GPU: every ladder, attention as a whole, and the way there.

Skipped without CuPy and a device, like everything that needs one. All instances of the
kernels in inline PTX are here: elsewhere an emulation stands in for the instructions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from attention_truth import assert_as_exact_as_torch
from test_cuda_attention_mma import SHAPES, tensors

from cuda_labs import (
    CompileError,
    Kernel,
    attention,
    check,
    decode,
    flash,
    flash_backward,
    flash_launches,
    ladders,
    reference,
    roofline,
)
from cuda_labs.clock import EventClock

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


def short_attention(
    cupy: Any, name: str, inputs: list[torch.Tensor], causal: bool
) -> tuple[np.ndarray, np.ndarray]:
    """(o in float64, lse) of a kernel on 16-bit inputs, in the instance for them."""
    bits = [cupy.asarray(x.view(torch.uint16).numpy()) for x in inputs]
    wide = inputs[0].dtype == torch.bfloat16
    q, k, v = bits if wide else [b.view("f2") for b in bits]
    if name == "05_wmma":
        o, lse = flash.forward(q, k, v, causal=causal)
    else:
        args, o, lse = flash_launches.arguments_of(q, k, v, None)
        heads, n, d = q.shape
        head = 64 * -(-d // 64)
        rung = ladders.load("attention", name).kernel
        options = (f"-DHEAD={head}", f"-DCAUSAL={int(causal)}", *["-DBF16"] * wide)
        kernel = Kernel(rung.source, rung.name, options=options, arch=rung.arch)
        threads, memory = {
            "06_mma": (128, 768 * head),
            "07_wgmma": (256, 1024 * head + 1024),
        }[name]
        kernel((-(-n // 128), heads), (threads,), args, memory)
    found = torch.tensor(o.get().view(np.uint16)).view(inputs[0].dtype)
    return found.double().numpy(), lse.get()


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["05_wmma", "06_mma", "07_wgmma"])
def test_attention_in_16_bits_on_a_gpu(
    cupy: Any, name: str, dtype: torch.dtype, causal: bool
) -> None:
    if reason := refusal(cupy, ladders.least("attention", name)):
        pytest.skip(reason)
    for shape in (*SHAPES, (3, 300, 517, 128)):
        inputs = tensors(shape, dtype, sum(shape))
        o, found = short_attention(cupy, name, inputs, causal)
        assert_as_exact_as_torch(o, found, inputs, causal, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["07_mma", "08_wgmma"])
def test_products_of_bfloat16_on_a_gpu(cupy: Any, name: str) -> None:
    if reason := refusal(cupy, ladders.least("matmul", name)):
        pytest.skip(reason)
    rung = ladders.load("matmul", name)
    kernel = Kernel(
        rung.kernel.source, "matmul", options=("-DBF16",), arch=rung.kernel.arch
    )
    for shape in (*rung.shapes, (257, 1032, 2056)):
        drawn = rung.operation.sample(shape, np.random.default_rng(0))
        bits = [(x.view(np.uint32) >> 16).astype(np.uint16) for x in drawn]
        plan = rung.operation.plan(name, moved(cupy, tuple(bits)))
        (step,) = plan.launches
        kernel(step.grid, step.block, step.args, step.shared_mem)
        exact = ((x.astype(np.uint32) << 16).view(np.float32) for x in bits)
        expected, k, scale = rung.operation.judge(*exact)
        check.agree(plan.output, expected, k=k, scale=scale)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs PyTorch with CUDA")
def test_attention_waits_for_the_stream_that_torch_works_on(cupy: Any) -> None:
    """The inputs come late, on a stream that no other waits for."""
    host: Any = [x.double() for x in tensors((2, 65, 97, 40), torch.float32)]
    ready = [x.cuda() for x in host]
    late: Any = [torch.zeros_like(x) for x in ready]
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(500_000_000)
        for x, y in zip(late, ready, strict=True):
            x.copy_(y)
            x.requires_grad_()
        o = attention(*late, causal=True)
        slopes = torch.autograd.grad(o.sin().sum(), late)
        found = [o.detach().cpu(), *(x.cpu() for x in slopes)]
    for x in host:
        x.requires_grad_()
    o = attention(*host, causal=True)
    truth = (o.detach(), *torch.autograd.grad(o.sin().sum(), host))
    for a, b in zip(found, truth, strict=True):
        torch.testing.assert_close(a, b)


def test_no_pointer_is_a_null_pointer_on_a_gpu(cupy: Any) -> None:
    source = """struct Two { int a; float b; };
    extern "C" __global__ void f(float* x, const float* y, Two t, bool c, long long i) {
      x[0] = (y == nullptr) + 10 * t.a + 100 * t.b + 10000 * c + 100000 * i;
    }"""
    two = np.array((3, 4.0), dtype=[("a", "i4"), ("b", "f4")])
    x = cupy.zeros(1, "f4")
    for value in (two, two[()]):
        x.fill(np.nan)
        Kernel(source, "f")(1, 1, (x, None, value, True, 5))
        assert x.get()[0] == 1 + 30 + 400 + 10000 + 500000


def test_what_the_compiler_rejects_on_a_gpu(cupy: Any) -> None:
    source = 'extern "C" __global__ void f(float* x) {\n  x[0] = missing;\n}'
    with pytest.raises(CompileError, match="missing") as caught:
        Kernel(source, "f")(1, 1, (cupy.zeros(1, "f4"),))
    assert "missing" in caught.value.log


@pytest.mark.parametrize("header", ["mma.h", "cooperative_groups.h", "cuda_bf16.h"])
def test_nvidias_headers_are_found_on_a_gpu(cupy: Any, header: str) -> None:
    body = 'extern "C" __global__ void f(float* x) { x[0] = 1.0f; }'
    x = cupy.zeros(1, "f4")
    Kernel(f"#include <{header}>\n{body}", "f")(1, 1, (x,))
    assert x.get()[0] == 1


def test_the_clock_and_the_roof_of_a_gpu(cupy: Any) -> None:
    clock = EventClock(cupy)
    machine = roofline.of_device(clock, cupy)
    assert 1e10 < machine.bandwidth < 2e13
    # Twice the work takes about twice the time, launches and fills left out.
    x = cupy.zeros(1 << 26, "f4")
    one = min(clock.seconds(lambda: x.fill(1)) for _ in range(9))
    two = min(clock.seconds(lambda: (x.fill(1), x.fill(2))) for _ in range(9))
    assert 1.5 < two / one < 2.5
