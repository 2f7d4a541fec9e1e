"""The simulator with the compiler of the ziglang wheel alone."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
CHOSEN = {
    "test_cuda_ladders.py": "is_right and checked and (matmul or scan)",
    "test_cuda_async.py": "arrive or nothing or buffered or group",
    "test_cuda_workers.py": "bits or lowest",
    "test_cuda_profile.py": "strided or nested or break or later",
    "test_cuda_findings.py": "lock or shadow",
    "test_cuda_forms_others.py": "only_ever or by_hand or (profile_is and pointers)",
    "test_cuda_count_oracle.py": "not plain",
    "test_cuda_pasted.py": "",
    "test_cuda_complex.py": "arithmetic or moved or pairs or (over and tan)",
    "test_cuda_errors.py": "recursion or silent or over_an_end or never_closed",
}


@pytest.mark.skipif(
    importlib.util.find_spec("ziglang") is None, reason="no zig: pip install ziglang"
)
@pytest.mark.skipif(os.environ.get("CUDA_LABS_CXX") == "zig", reason="it is zig")
@pytest.mark.parametrize("file", sorted(CHOSEN))
def test_the_same_tests_pass_with_zig(file: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-x", str(TESTS / file)]
    command += ["-k", CHOSEN[file], "-p", "no:cacheprovider"]
    done = subprocess.run(
        command,
        env={**os.environ, "CUDA_LABS_CXX": "zig"},
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout


@pytest.mark.skipif(
    importlib.util.find_spec("ziglang") is None, reason="no zig: pip install ziglang"
)
def test_zig_keeps_no_kernel_in_a_cache_of_its_own(tmp_path: Path) -> None:
    code = """
        import numpy as np
        from cuda_labs import Kernel
        for n in range(3):
            text = 'extern "C" __global__ void f(int* x) { x[0] = %d; }' % n
            x = np.zeros(1, np.int32)
            Kernel(text, "f")(1, 1, (x,))
            assert x[0] == n
    """
    own = tmp_path / "zig"
    places = {"CUDA_LABS_CACHE": str(tmp_path / "ours"), "TMPDIR": str(tmp_path)}
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={
            **os.environ,
            **places,
            "CUDA_LABS_CXX": "zig",
            "ZIG_GLOBAL_CACHE_DIR": str(own),
        },
        cwd=TESTS.parent,
        check=True,
        timeout=300,
    )
    names = [path.name for path in own.rglob("*")]
    assert not [name for name in names if "stdin" in name], names
    assert {path.name for path in tmp_path.iterdir()} <= {"zig", "ours"}


@pytest.mark.skipif(
    importlib.util.find_spec("ziglang") is None, reason="no zig: pip install ziglang"
)
def test_zig_builds_for_every_processor_of_a_kind() -> None:
    # Beyond what each x86-64 or Arm processor has: the makers' later extensions.
    code = """
        import numpy as np
        from cuda_labs import Kernel
        text = '''extern "C" __global__ void f(int* x) {
        #if defined(__SSE3__) || defined(__AVX__) || defined(__ARM_FEATURE_SVE)
          x[0] = 2;
        #else
          x[0] = 1;
        #endif
        }'''
        x = np.zeros(1, np.int32)
        Kernel(text, "f")(1, 1, (x,))
        assert x[0] == 1
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, "CUDA_LABS_CXX": "zig"},
        cwd=TESTS.parent,
        check=True,
        timeout=300,
    )
