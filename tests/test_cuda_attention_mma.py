"""Attention in inline PTX: all but the instructions themselves is run on a CPU.

See tests/ptx_emulation.py for what stands in for each instruction.
"""

from __future__ import annotations

import numpy as np
import ptx_emulation as ptx
import pytest
import torch
import torch.nn.functional as F

from cuda_labs import Kernel, KernelError, flash_launches, ladders, nvrtc, reference

BODIES = {name: ptx.COPIES[name] for name in ("address", "cp_async")}
BODIES |= ptx.MMA
# There are no groups: everything that was asked for is waited for.
BODIES["wait_for_all"] = "copies_until(copy_group[threadIdx.x] + 1);"
SHAPES = [(1, 1, 1, 8), (2, 97, 113, 40), (1, 150, 97, 64), (1, 70, 140, 128)]


def emulated(right: str = "", wrong: str = "") -> str:
    source = ladders.load("attention", "06_mma").kernel.source
    assert right in source
    return ptx.emulated(source.replace(right, wrong) if right else source, BODIES)


def tensors(shape, dtype, seed=0, size=1.0):
    heads, n, m, d = shape
    g = torch.Generator().manual_seed(seed)
    made = [torch.randn(heads, rows, d, generator=g) for rows in (n, m, m)]
    made[0] *= size
    return [x.to(dtype) for x in made]


def run(text, inputs, *, causal=False, late=0, profile=False):
    """(o, lse) as float64 arrays, or the profile."""
    short = inputs[0].dtype == torch.bfloat16
    bits = [x.view(torch.uint16).numpy() for x in inputs]
    args, o, lse = flash_launches.arguments_of(
        *(b if short else b.view(np.float16) for b in bits), None
    )
    heads, n, d = inputs[0].shape
    head = 64 * -(-d // 64)
    options = (f"-DHEAD={head}", f"-DCAUSAL={int(causal)}", f"-DLATE={late}")
    kernel = Kernel(text, "attention", options=(*options, *["-DBF16"] * short))
    launch = ((-(-n // 128), heads), (128,), args, 768 * head)
    if profile:
        return kernel.profile(*launch)
    kernel(*launch)
    got = torch.tensor(o.view(np.uint16)).view(inputs[0].dtype)
    return got.double().numpy(), lse


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    ("late", "dtype"),
    [(0, torch.float16), (1, torch.bfloat16)],
    ids=["at once", "as late as allowed"],
)
@pytest.mark.parametrize("shape", SHAPES)
def test_as_exact_as_torch_in_16_bits(shape, late, causal, dtype) -> None:
    inputs = tensors(shape, dtype, sum(shape))
    n, m = shape[1:3]
    exact = [x.double().numpy() for x in inputs]
    expected, lse = reference.attention(*exact, causal=causal)
    mask = torch.ones(n, m, dtype=torch.bool).tril(m - n) if causal else None
    own = F.scaled_dot_product_attention(*(x[None] for x in inputs), attn_mask=mask)
    own = own[0].double().numpy()
    own[:, : max(0, n - m) if causal else 0] = 0.0
    o, found = run(emulated(), inputs, causal=causal, late=late)
    assert np.abs(o - expected).max() <= 2 * np.abs(own - expected).max()
    seen = np.isfinite(lse)
    assert np.array_equal(found[~seen], lse[~seen])
    np.testing.assert_allclose(found[seen], lse[seen], rtol=1e-6, atol=2e-6)


def test_no_race_and_no_bank_conflict() -> None:
    p = run(emulated(), tensors((1, 40, 130, 64), torch.float16), profile=True)
    assert not p.errors, str(p.errors[0])
    text = emulated()
    # Lanes read eight rows of 16 bytes, one 8 x 8 matrix, in one turn.
    number = 1 + text[: text.index("r[i] = *")].count("\n")
    assert p.lines[number].access["shared load"].requests > 0
    assert p.lines[number].bank_conflict_ways == 1


def test_a_missing_barrier_is_a_race() -> None:
    text = emulated("    __syncthreads();", "    // ")
    p = run(text, tensors((1, 40, 130, 64), torch.float16), profile=True)
    assert {f.kind for f in p.errors} & {"race", "uninitialised"}


WRONG = [
    ("own + 16 * a + lane % 16", "own + 16 * a + lane / 2"),
    ("lane / 16 * 8 + lane % 8", "lane % 16"),
    ("2 * h + lane / 8 % 2", "2 * h + lane / 16"),
    ("tv + in(16 * j + lane % 16", "tv + in(16 * j + lane / 16 * 8 + lane % 8"),
    ("2 * c + lane / 16", "c + lane / 16"),
    (
        "s[i / 4][2 * j + i % 4 / 2][i % 2 * 2]",
        "s[i / 4][2 * j + i % 2][i % 4 / 2 * 2]",
    ),
    ("out[a][e / 2][2 * h + e % 2] *= shrink", "out[a][e / 2][e % 2] *= 1.0f"),
    ("sum[a][h] *= shrink;", ""),
    ("row + m - n + 1", "row + 1"),
    ("row0 + own + m - n + 1", "row0 + own + m - n + 32"),
    ("scale *= LOG2E;", ""),
    ("log2f(total)) * LN2", "log2f(total))"),
    ("w = 1; w < 4; w *= 2)\n        larger", "w = 1; w < 2; w *= 2)\n        larger"),
    ("8 * b + 2 * (lane % 4)", "8 * b + (lane % 4)"),
    ("wait_for_all();   // of", "// of"),
    ("(col0 / 64 + 1) % STAGES", "(col0 / 64) % STAGES"),
    ("first + r < rows && 8 * q < d", "first + r < rows"),
    ("8 * h + lane / 4;\n      int seen", "8 * h + lane % 8;\n      int seen"),
]


@pytest.mark.parametrize(("right", "wrong"), WRONG)
def test_wrong_kernels_are_rejected(right, wrong) -> None:
    inputs = tensors((1, 130, 150, 40), torch.float16, 3, size=3.0)
    exact = [x.double().numpy() for x in inputs]
    expected, lse = reference.attention(*exact, causal=True)
    try:
        o, found = run(emulated(right, wrong), inputs, causal=True, late=1)
    except KernelError:
        return
    near = np.allclose(o, expected, atol=1e-2) and np.allclose(found, lse, atol=1e-3)
    assert not near


@pytest.mark.skipif(not nvrtc.available(), reason=f"no NVRTC here: {nvrtc.INSTALL}")
def test_what_the_compiler_makes_of_it() -> None:
    rung = ladders.load("attention", "06_mma")
    assert rung.gpu_only
    for kind, options in (("f16", ()), ("bf16", ("-DBF16", "-DCAUSAL=1"))):
        compiled = nvrtc.build(rung.kernel.source, options=options)
        used = compiled.resources()
        assert used.spill_stores == used.spill_loads == used.stack == 0
        instruction = f"mma.sync.aligned.m16n8k16.row.col.f32.{kind}.{kind}.f32"
        # Two products of 32 x 64 x 64 a warp, 16 x 8 x 16 at a time.
        assert compiled.ptx.count(instruction) == 2 * 32 * 64 * 64 // (16 * 8 * 16)
        assert "cp.async.cg" in compiled.ptx
