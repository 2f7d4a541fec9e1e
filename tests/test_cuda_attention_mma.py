"""Attention in inline PTX: all but the instructions themselves is run on a CPU.

See tests/ptx_emulation.py for what stands in for each instruction, and here for the
two forms of wgmma that attention needs (PTX ISA 9.0, "Register Fragments for
wgmma.mma_async.m64nNk16", A in registers and D).
"""

from __future__ import annotations

import numpy as np
import ptx_emulation as ptx
import pytest
import torch
from attention_truth import assert_as_exact_as_torch

from cuda_labs import Kernel, KernelError, flash_launches, ladders, nvrtc, reference

COMMON = r"""
typedef unsigned long long word_;
struct Product { float* d; const unsigned* p; word_ a, b; int add; };
__device__ Product products[256][64];
__device__ int waiting[256];
// The descriptor's fields, in bytes.
__device__ unsigned field(word_ d, int low) { return (d >> low & 0x3fff) << 4; }
__device__ float element(word_ d, unsigned offset) {
  assert(d >> 62 == 1 && (d >> 49 & 7) == 0);  // 128-byte swizzle, base offset 0
  unsigned at = field(d, 0) + offset;
  at ^= (at >> 7 & 7) << 4;  // chunks of 16 bytes by the number of the 128
  return widened(*(const unsigned short*)at_shared(at));
}
// k runs fastest; or the rows do, with k along the rows of 128 bytes.
__device__ float of_rows(word_ d, int row, int k) {
  return element(d, row % 8 * 128 + row / 8 * field(d, 32) + 2 * k);
}
__device__ float of_columns(word_ d, int k, int n) {
  return element(d, 2 * n + k % 8 * 128 + k / 8 * field(d, 32));
}
__device__ __noinline__ void product_now(const Product& x) {
  int warp = threadIdx.x / 32 % 4, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  float a[2][16];
  for (int k = 0; k < 16; ++k) {
    for (int h = 0; h < 2; ++h) {
      if (x.p == nullptr) {
        a[h][k] = of_rows(x.a, 16 * warp + g + 8 * h, k);
      } else {
        unsigned held = __shfl_sync(~0u, x.p[k / 8 * 2 + h], 4 * g + k % 8 / 2);
        a[h][k] = widened(held >> 16 * (k % 2));
      }
    }
  }
  for (int i = 0; i < 32; ++i) {
    int n = i / 4 * 8 + 2 * t + i % 2, h = i / 2 % 2;
    float sum = x.add ? x.d[i] : 0.0f;
    for (int k = 0; k < 16; ++k)
      sum += a[h][k] * (x.p ? of_columns(x.b, k, n) : of_rows(x.b, n, k));
    x.d[i] = sum;
  }
}
"""
ASK = """
  if (!LATE) { product_now(x); return; }
  assert(waiting[threadIdx.x] < 64);
  products[threadIdx.x][waiting[threadIdx.x]++] = x;"""
WGMMA = {
    "fence_async": "",
    "wgmma_fence": "",
    "wgmma_commit": "",
    "wgmma_qk": "Product x = {d, nullptr, a, b, add};" + ASK,
    "wgmma_pv": "Product x = {d, a, 0, b, 1};" + ASK,
    "wgmma_wait": """
  for (int i = 0; i < waiting[threadIdx.x]; ++i) product_now(products[threadIdx.x][i]);
  waiting[threadIdx.x] = 0;""",
}
COPIES = {name: ptx.COPIES[name] for name in ("address", "cp_async")}
# There are no groups: everything that was asked for is waited for.
COPIES["wait_for_all"] = "copies_until(copy_group[threadIdx.x] + 1);"
BODIES = {"06_mma": COPIES | ptx.MMA, "07_wgmma": COPIES | WGMMA}
EXTRA = {"06_mma": ptx.COMMON, "07_wgmma": ptx.COMMON + COMMON}
RUNGS = sorted(BODIES)
SHAPES = [(1, 1, 1, 8), (2, 33, 113, 40), (1, 150, 97, 64), (1, 70, 140, 128)]


def emulated(name: str, right: str = "", wrong: str = "") -> str:
    source = ladders.load("attention", name).kernel.source
    assert right in source
    if right:
        source = source.replace(right, wrong)
    return ptx.emulated(source, BODIES[name], EXTRA[name])


def tensors(shape, dtype, seed=0, size=1.0):
    heads, n, m, d = shape
    g = torch.Generator().manual_seed(seed)
    made = [torch.randn(heads, rows, d, generator=g) for rows in (n, m, m)]
    made[0] *= size
    return [x.to(dtype) for x in made]


def prepared(name, text, inputs, causal, late):
    """The kernel, its launch, and the results among its arguments."""
    short = inputs[0].dtype == torch.bfloat16
    bits = [x.view(torch.uint16).numpy() for x in inputs]
    q, k, v = (b if short else b.view(np.float16) for b in bits)
    args, o, lse = flash_launches.arguments_of(q, k, v, None)
    heads, n, d = inputs[0].shape
    head = 64 * -(-d // 64)
    options = (f"-DHEAD={head}", f"-DCAUSAL={int(causal)}", f"-DLATE={late}")
    kernel = Kernel(text, "attention", options=(*options, *["-DBF16"] * short))
    memory = 768 * head if name == "06_mma" else 1024 * head + 1024
    threads = 128 if name == "06_mma" else 256
    return kernel, ((-(-n // 128), heads), (threads,), args, memory), o, lse


def run(name, text, inputs, *, causal=False, late=0):
    """(o, lse), o in float64."""
    kernel, launch, o, lse = prepared(name, text, inputs, causal, late)
    kernel(*launch)
    got = torch.tensor(o.view(np.uint16)).view(inputs[0].dtype)
    return got.double().numpy(), lse


def profiled(name, text):
    inputs = tensors((1, 40, 130, 64), torch.float16)
    kernel, launch, _, _ = prepared(name, text, inputs, causal=False, late=0)
    return kernel.profile(*launch)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    ("late", "dtype"),
    [(0, torch.float16), (1, torch.bfloat16)],
    ids=["at once", "as late as allowed"],
)
@pytest.mark.parametrize("name", RUNGS)
def test_as_exact_as_torch_in_16_bits(name, late, causal, dtype) -> None:
    text = emulated(name)
    for shape in SHAPES:
        inputs = tensors(shape, dtype, sum(shape))
        o, found = run(name, text, inputs, causal=causal, late=late)
        assert_as_exact_as_torch(o, found, inputs, causal, rtol=1e-6, atol=2e-6)


@pytest.mark.parametrize("name", RUNGS)
def test_no_race_and_no_bank_conflict(name) -> None:
    text = emulated(name)
    p = profiled(name, text)
    assert not p.errors, str(p.errors[0])
    if name == "06_mma":
        # Lanes read eight rows of 16 bytes, one 8 x 8 matrix, in one turn.
        number = 1 + text[: text.index("r[i] = *")].count("\n")
        assert p.lines[number].access["shared load"].requests > 0
        assert p.lines[number].bank_conflict_ways == 1


@pytest.mark.parametrize("name", RUNGS)
def test_a_missing_barrier_is_a_race(name) -> None:
    text = emulated(name, "    __syncthreads();", "    // ")
    p = profiled(name, text)
    assert {f.kind for f in p.errors} & {"race", "uninitialised"}


BOTH = [
    ("sum[a][h] *= shrink;", "sum[h] *= shrink;", ""),
    ("scale *= LOG2E;", "scale *= LOG2E;", ""),
    ("row + m - n + 1", "row + m - n + 1", "row + 1"),
    ("wait_for_all();", "wait_for_all();", "//"),
    ("&& 8 * q < d", "&& 8 * q < d", ""),
    ("larger == none ? 0.0f : larger", "larger == none ? 0.0f : larger", "larger"),
]
WRONG = [
    *[("06_mma", mine, wrong) for mine, _, wrong in BOTH],
    *[("07_wgmma", mine, wrong) for _, mine, wrong in BOTH],
    ("06_mma", "own + 16 * a + lane % 16", "own + 16 * a + lane / 2"),
    ("06_mma", "lane / 16 * 8 + lane % 8", "lane % 16"),
    ("06_mma", "2 * h + lane / 8 % 2", "2 * h + lane / 16"),
    ("06_mma", "2 * j + i % 4 / 2][i % 2 * 2]", "2 * j + i % 2][i % 4 / 2 * 2]"),
    ("06_mma", "out[a][e / 2][2 * h + e % 2] *= shrink", ""),
    ("06_mma", "row0 + own + m - n + 1", "row0 + own + m - n + 32"),
    ("06_mma", "(col0 / 64 + 1) % STAGES", "(col0 / 64) % STAGES"),
    ("07_wgmma", "out[e / 16][e % 16 / 2 * 4 + 2 * h + e % 2] *= shrink", ""),
    ("07_wgmma", "(address(tiles) + 1023) / 1024 * 1024", "address(tiles)"),
    ("07_wgmma", "64ull << 32", "32ull << 32"),
    ("07_wgmma", "8192 * (h / 4 + group)", "8192 * (h / 4)"),
    ("07_wgmma", "(q % 8 ^ r % 8)", "(q % 8)"),
    ("07_wgmma", "8192 * c + 2048 * j", "8192 * c + 1024 * j"),
    ("07_wgmma", "pair(s[2 * i], s[2 * i + 1])", "pair(s[i], s[i + 16])"),
    ("07_wgmma", "stage + t % STAGES", "stage + (t + 1) % STAGES"),
    ("07_wgmma", "    wgmma_wait();\n", ""),
    ("07_wgmma", "stage + (t + 2) % STAGES", "stage + (t + 1) % STAGES"),
    ("07_wgmma", "h > 0);", "1);"),
]


@pytest.mark.parametrize(("name", "right", "wrong"), WRONG)
def test_wrong_kernels_are_rejected(name, right, wrong) -> None:
    try:
        text = emulated(name, right, wrong)
        for shape in ((1, 130, 150, 40), (1, 70, 20, 40)):
            inputs = tensors(shape, torch.float16, 3, size=3.0)
            exact = [x.double().numpy() for x in inputs]
            expected, lse = reference.attention(*exact, causal=True)
            o, found = run(name, text, inputs, causal=True, late=1)
            np.testing.assert_allclose(o, expected, atol=1e-2)
            np.testing.assert_allclose(found, lse, atol=1e-3)
    except (AssertionError, KernelError):
        return
    pytest.fail("the mistake was not noticed")


@pytest.mark.skipif(not nvrtc.available(), reason=f"no NVRTC here: {nvrtc.INSTALL}")
@pytest.mark.parametrize("name", RUNGS)
def test_what_the_compiler_makes_of_it(name) -> None:
    rung = ladders.load("attention", name)
    assert rung.gpu_only
    for kind, options in (("f16", ()), ("bf16", ("-DBF16", "-DCAUSAL=1"))):
        compiled = nvrtc.build(
            rung.kernel.source, arch=rung.kernel.arch or "sm_80", options=options
        )
        used = compiled.resources()
        assert used.spill_stores == used.spill_loads == used.stack == 0
        # Two products of 32 x 64 x 64 a warp, 16 x 8 x 16 at a time; or 64 x 64 x 64
        # a warpgroup, 64 x 64 x 16 at a time.
        instruction, count = {
            "06_mma": (f"mma.sync.aligned.m16n8k16.row.col.f32.{kind}.{kind}.f32", 128),
            "07_wgmma": (
                f"wgmma.mma_async.sync.aligned.m64n64k16.f32.{kind}.{kind}",
                8,
            ),
        }[name]
        assert compiled.ptx.count(instruction) == count
        assert "cp.async.cg" in compiled.ptx
        # ptxas says so when wgmma cannot run beside what follows it.
        assert "serialized" not in compiled.log
