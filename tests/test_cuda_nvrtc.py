"""NVIDIA's compiler through its wheel, and what it says of every kernel."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from cuda_labs import nvrtc
from cuda_labs.operations import OPERATIONS

KERNELS = Path(nvrtc.__file__).parent / "kernels"
SOURCES = sorted(KERNELS.rglob("*.cu"))

needs_nvrtc = pytest.mark.skipif(
    not nvrtc.available(), reason=f"no NVRTC here: {nvrtc.INSTALL}"
)


def least(path: Path) -> str:
    """The least architecture of a kernel in inline PTX, else ""."""
    return OPERATIONS[path.parent.name].gpu_only.get(path.stem, "")


COMPILED = [
    pytest.param(path, arch, id=f"{path.parent.name}/{path.stem}-{arch}")
    for path in SOURCES
    for arch in (["sm_90a"] if least(path) == "sm_90a" else ["sm_80", "sm_90"])
]


@needs_nvrtc
@pytest.mark.parametrize(("path", "arch"), COMPILED)
def test_every_kernel_compiles_without_spills(path: Path, arch: str) -> None:
    compiled = nvrtc.build(path.read_text(), arch=arch, filename=path.name)
    used = compiled.resources(path.parent.name)
    assert 8 <= used.registers <= 255
    assert used.spill_stores == used.spill_loads == used.stack == 0
    assert compiled.cubin.startswith(b"\x7fELF")
    assert f".target {arch}" in compiled.ptx
    assert f".visible .entry {path.parent.name}(" in compiled.ptx


@needs_nvrtc
def test_readme_tables_are_what_the_compiler_says() -> None:
    if nvrtc.version() != (13, 0):
        pytest.skip("the tables are those of NVRTC 13.0")
    rows = 0
    for path in SOURCES:
        table = (path.parent / "README.md").read_text()
        match = re.search(rf"^\| {path.stem} \| .* \| (\d+) \| (\d+) \|$", table, re.M)
        assert match, f"{path.name} has no row in its README"
        arch = "sm_90a" if least(path) == "sm_90a" else "sm_90"
        used = nvrtc.build(path.read_text(), arch=arch).resources()
        assert (used.registers, used.shared) == tuple(map(int, match.groups())), path
        rows += 1
    assert rows == len(SOURCES) >= 24


def test_kernel_files_keep_the_rules_of_the_house() -> None:
    for path in SOURCES:
        text = path.read_text()
        # Inline PTX comes with a function for each instruction it uses.
        limit = 190 if "asm volatile" in text else 120
        assert len(text.splitlines()) <= limit, path
        assert max(map(len, text.splitlines())) <= 80, path
        assert text.count("__global__") == 1, path
        assert "main(" not in text, path
        head = text.split("extern")[0]
        for word in ("Index map", "Shared", "Launch", "Traffic"):
            assert re.search(rf"^// {word} ", head, re.M), (path, word)
        assert ("Change" in head) == (not path.name.startswith("01")), path


@needs_nvrtc
def test_shared_bytes_are_those_of_the_declaration() -> None:
    source = """
    extern "C" __global__ void f(float* x, int k) {
      __shared__ double a[37]; __shared__ char b[3];
      a[threadIdx.x % 37] = x[threadIdx.x]; b[threadIdx.x % 3] = threadIdx.x;
      __syncthreads();
      x[threadIdx.x] = a[k % 37] + b[k % 3];
    }"""
    assert nvrtc.build(source).resources("f").shared == 37 * 8 + 3


@needs_nvrtc
def test_a_spilling_kernel_is_seen() -> None:
    source = """
    extern "C" __global__ void f(const float* x, float* y) {
      float r[96];
      #pragma unroll
      for (int i = 0; i < 96; ++i) r[i] = x[i * 7];
      __syncthreads();  // every load comes before every use
      #pragma unroll
      for (int i = 0; i < 96; ++i) y[i * 5] = r[95 - i] * r[i];
    }"""
    used = nvrtc.build(source, options=["--maxrregcount=32"]).resources()
    assert used.registers <= 32
    assert used.spill_stores > 0
    assert used.spill_loads > 0


@needs_nvrtc
def test_template_instances_and_several_kernels() -> None:
    source = """
    template <typename T> __global__ void scale(T* x, T s) { x[threadIdx.x] *= s; }
    extern "C" __global__ void clear(float* x) { x[threadIdx.x] = 0.0f; }"""
    compiled = nvrtc.build(source, names=["scale<float>", "scale<double>"])
    assert len(compiled.kernels) == 3
    assert compiled.lowered["scale<float>"] != compiled.lowered["scale<double>"]
    wide = compiled.resources("scale<double>").registers
    assert wide >= compiled.resources("scale<float>").registers
    with pytest.raises(ValueError, match="choose one of"):
        compiled.resources()
    with pytest.raises(KeyError, match="no kernel 'fill'"):
        compiled.resources("fill")


@needs_nvrtc
@pytest.mark.parametrize(
    "header",
    ["cuda_fp16.h", "cuda_bf16.h", "mma.h", "cooperative_groups.h", "cuda_pipeline.h"],
)
def test_device_headers_are_found(header: str) -> None:
    source = f'#include <{header}>\nextern "C" __global__ void f(int* x) {{ *x = 1; }}'
    assert "f" in nvrtc.build(source).kernels


@needs_nvrtc
def test_a_rejected_source_carries_the_log_with_its_line() -> None:
    source = 'extern "C" __global__ void f(float* x) {\n  x[0] = missing;\n}'
    with pytest.raises(nvrtc.CompileError, match=r"k\.cu\(2\).*missing") as caught:
        nvrtc.build(source, filename="k.cu")
    assert "missing" in caught.value.log
    with pytest.raises(ValueError, match="arch: such as"):
        nvrtc.build("", arch="compute_90")


def test_without_the_wheel_the_error_names_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = importlib.import_module

    def absent(name: str, package: str | None = None):
        if name.startswith(("cuda", "nvidia")):
            raise ImportError(name)
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", absent)
    assert not nvrtc.available()
    with pytest.raises(nvrtc.CompilerMissing, match="pip install cuda-bindings"):
        nvrtc.build("")
