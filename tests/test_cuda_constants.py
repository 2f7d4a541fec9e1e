"""A kernel reads `__constant__` variables; whatever stores to one is found."""

from __future__ import annotations

import numpy as np
import pytest

from cuda_labs import Kernel, KernelError
from cuda_labs.sim.variables import plain_name

STORES = {
    "plain": "w[t] = 2.0f;",
    "through a pointer": "float *p = (float *)w; p[t] = 2.0f;",
    "atomic": "atomicAdd(&w[t], 1.0f);",
    "wide": "*(float4 *)w = make_float4(1, 2, 3, 4);",
    "copied": "memcpy(&w[t], y, 4);",
}
DECLARED = {
    "global": ("__constant__ float w[32];", "w"),
    "static": ("static __constant__ float w[32] = {1, 2};", "w"),
    "last of several": ("__constant__ float v, w[32];", "w"),
    "device too": ("__device__ __constant__ float w[32];", "w"),
    "in a namespace": ("namespace n { __constant__ float w[32]; }\n", "n::w"),
    "in one without a name": ("namespace { __constant__ float w[32]; }\n", "w"),
}


def kernel(before: str, body: str) -> Kernel:
    text = (
        f'{before}\nextern "C" __global__ void f(float* y) {{ int t = threadIdx.x;\n'
        f"{body}\n}}"
    )
    return Kernel(text, "f")


def failure(k: Kernel, how: str = "checked") -> tuple[str, int | None, str]:
    """Kind, line and message of the only finding; the argument stays as it was."""
    y = np.full(32, 7, np.float32)
    if how == "checked":
        with pytest.raises(KernelError) as caught:
            k(1, 32, (y,))
        told = caught.value.kind, caught.value.line, str(caught.value)
    else:
        (found,) = k.profile(1, 32, (y,)).errors
        assert found.fatal
        told = found.kind, found.line, found.message
    assert np.array_equal(y, np.full(32, 7, np.float32))
    return told


@pytest.mark.parametrize("how", ["checked", "profiled"])
@pytest.mark.parametrize("store", STORES)
def test_a_store_to_constant_memory_is_found(store: str, how: str) -> None:
    k = kernel(DECLARED["global"][0], f"y[t] = w[t];\n{STORES[store]}")
    kind, line, message = failure(k, how)
    assert (kind, line) == ("constant memory", 4)
    assert "thread (0, 0, 0)" in message
    assert "at byte 0 of w, which has 128 bytes" in message


@pytest.mark.parametrize("declared", DECLARED)
def test_however_it_is_declared(declared: str) -> None:
    before, name = DECLARED[declared]
    k = kernel(before, f"{name}[t] = y[t]; __syncwarp(); y[t] = {name}[31 - t];")
    kind, _, message = failure(k)
    assert kind == "constant memory"
    assert "of w, which has 128 bytes" in message


def test_a_constant_that_c_plus_plus_keeps_too() -> None:
    # Of a pointer that may lead elsewhere the compiler cannot know the store's end.
    k = kernel(
        "__constant__ const float w[3] = {1, 2, 3};",
        "const float* p = y[t] > 9 ? y : w; ((float*)p)[t % 3] = 0;",
    )
    kind, _, message = failure(k)
    assert kind == "constant memory"
    assert "at byte 0 of w, which has 12 bytes" in message


@pytest.mark.parametrize(
    ("before", "body"),
    [
        ("__device__ float w[32];", "w[t] = t; y[t] = w[t];"),
        ("__constant__ float v[2]; __device__ float w[32];", "w[t] = t; y[t] = w[t];"),
        ("__constant__ float ww; __device__ float w[32];", "w[t] = t; y[t] = w[t];"),
        ("// __constant__\n__device__ float w[32];", "w[t] = t; y[t] = w[t];"),
        ("struct P { float w; }; __constant__ P c[1];", "y[t] = t + c[0].w;"),
        ("", "__shared__ float w[32]; w[t] = t; y[t] = w[t];"),
    ],
)
def test_other_variables_may_be_stored_to(before: str, body: str) -> None:
    y = np.zeros(32, np.float32)
    k = kernel(before, body)
    k(1, 32, (y,))
    assert np.array_equal(y, np.arange(32, dtype=np.float32))
    assert not k.profile(1, 32, (y,)).errors


@pytest.mark.parametrize(
    ("symbol", "name"),
    [
        ("w", "w"),
        ("_ZL1w", "w"),
        ("_ZN2ns1wE", "w"),
        ("_ZN2nsL5tableE", "table"),
        ("_ZN12_GLOBAL__N_11wE", "w"),
        ("_Z1wIfE", "w"),
        ("_ZZ1fPfE1s", "s"),
        ("_Zodd", "_Zodd"),
    ],
)
def test_names_as_the_source_has_them(symbol: str, name: str) -> None:
    assert plain_name(symbol) == name
