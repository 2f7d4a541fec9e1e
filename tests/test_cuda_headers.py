"""Where NVIDIA's headers are looked for, without any of them."""

from __future__ import annotations

import importlib
import importlib.util
import shutil
import types
from pathlib import Path

import pytest

from cuda_labs import _headers, nvrtc


def toolkit(root: Path, *names: str) -> Path:
    """A folder of that layout, with these files below its include."""
    for name in names:
        path = root / "include" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


@pytest.fixture
def nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without wheels, toolkit, nvcc or CuPy."""
    real = importlib.import_module
    empty = types.SimpleNamespace(__path__=[])

    def found(name: str, package: str | None = None):
        return empty if name == "nvidia" else real(name, package)

    monkeypatch.setattr(importlib, "import_module", found)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(_headers, "USUAL", tmp_path / "usual")
    for variable in ("CUDA_PATH", "CUDA_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(empty, "__path__", [str(tmp_path / "wheels")])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    return tmp_path


def test_nothing_is_found_where_nothing_is(nothing: Path) -> None:
    assert nvrtc.include_paths() == []


def test_a_toolkit_of_cuda_13_has_a_folder_of_its_own_for_nv_and_cuda(
    nothing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = toolkit(nothing / "k", "cuda_fp16.h", "crt/mma.h", "cccl/nv/target")
    monkeypatch.setenv("CUDA_PATH", str(root))
    monkeypatch.setenv("CUDA_HOME", str(root))
    include = root / "include"
    assert nvrtc.include_paths() == [include, include / "cccl"]


def test_wheels_that_lack_a_part_are_completed_by_a_toolkit(
    nothing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where PyTorch brings the runtime's wheel, but not that of crt/."""
    wheel = toolkit(nothing / "wheels" / "cu13", "cuda_fp16.h", "cccl/nv/target")
    own = [wheel / "include", wheel / "include" / "cccl"]
    usual = toolkit(nothing / "usual", "cuda_fp16.h", "crt/mma.h", "nv/target")
    assert nvrtc.include_paths() == [*own, usual / "include"]
    # The one that nvcc belongs to goes first, and is enough.
    active = toolkit(nothing / "active", "crt/mma.h")
    (active / "bin").mkdir()
    (active / "bin" / "nvcc").touch()
    (nothing / "nvcc").symlink_to(active / "bin" / "nvcc")
    monkeypatch.setattr(shutil, "which", lambda name: str(nothing / name))
    assert nvrtc.include_paths() == [*own, active / "include"]
    # Wheels that have it all are not mixed with another version.
    toolkit(nothing / "wheels" / "cu13", "crt/mma.h")
    assert nvrtc.include_paths() == own


def test_cupys_own_headers_come_last(
    nothing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = toolkit(nothing / "cupy" / "_core", "cupy/complex.cuh") / "include"
    spec = types.SimpleNamespace(submodule_search_locations=[str(nothing / "cupy")])
    monkeypatch.setattr(importlib.util, "find_spec", {"cupy": spec}.get)
    assert nvrtc.include_paths() == [own]
    usual = toolkit(nothing / "usual", "cuda_fp16.h") / "include"
    assert nvrtc.include_paths() == [usual, own]


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ('k.cu(1): error: cannot open source file "crt/mma.h"', True),
        ('error: could not open source file "nv/target" (no directories)', True),
        ('error: cannot open source file "cuda_fp16.h"', True),
        ('error: cannot open source file "vector"', False),
        ('error: identifier "missing" is undefined', False),
    ],
)
def test_a_missing_header_of_nvidias_names_the_packages(log: str, said: bool) -> None:
    assert ("nvidia-cuda-crt" in nvrtc.hint(log)) == said


def test_nvrtc_itself_says_so_in_words_that_are_understood(nothing: Path) -> None:
    if not nvrtc.available():
        pytest.skip(nvrtc.INSTALL)
    source = '#include <mma.h>\nextern "C" __global__ void f(int* x) { *x = 1; }'
    with pytest.raises(nvrtc.CompileError, match=r"mma.h(.|\n)*nvidia-cuda-crt"):
        nvrtc.build(source)
