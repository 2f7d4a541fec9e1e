"""The complete programs: NVIDIA's compilers accept them, and the book shows them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from cuda_labs import nvrtc

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = ROOT / "cuda_labs" / "programs" / "vector_add.cu"
RUNG = ROOT / "cuda_labs" / "kernels" / "vector_add" / "01_naive.cu"


def kernel_of(path: Path) -> str:
    found = re.search(r'extern "C" __global__.*?\n}\n', path.read_text(), re.DOTALL)
    assert found
    return found[0]


def test_its_kernel_is_that_of_the_ladder() -> None:
    assert kernel_of(PROGRAM) == kernel_of(RUNG)


def test_every_call_of_the_runtime_is_checked() -> None:
    body = PROGRAM.read_text().split("// Host part.")[1]
    calls = re.findall(r"\bcuda[A-Z]\w*\(", body)
    assert len(calls) >= 20
    assert len(re.findall(r"CHECK\(cuda[A-Z]\w*\(", body)) == len(calls)
    assert body.count("<<<") == body.count("CHECK(cudaGetLastError())") == 2


def test_the_chapter_shows_this_file() -> None:
    notebook = json.loads((ROOT / "book" / "cuda_start.ipynb").read_text("utf-8"))
    prose = ["".join(cell["source"]) for cell in notebook["cells"]]
    listing = f"```c++\n{PROGRAM.read_text().rstrip()}\n```"
    assert sum(listing in text for text in prose) == 1


@pytest.mark.skipif(not nvrtc.available(), reason=f"no NVRTC here: {nvrtc.INSTALL}")
def test_the_device_part_compiles() -> None:
    text = PROGRAM.read_text()
    device = text.split("// Device part.")[1].split("// Host part.")[0]
    used = nvrtc.build(device).resources("vector_add")
    assert used.spill_stores == used.stack == 0


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc here")
def test_the_whole_program_compiles_without_a_warning(tmp_path: Path) -> None:
    command = ["nvcc", "-std=c++17", "-arch=sm_90", "-Werror", "all-warnings"]
    command += ["-Xcompiler", "-Wall,-Wextra,-Werror", "-o", str(tmp_path / "program")]
    done = subprocess.run(
        [*command, str(PROGRAM)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "program").exists()
