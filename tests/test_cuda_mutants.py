"""Two hundred damaged kernels: whatever they do, no data of Python come to harm."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import numpy as np
import pytest

from cuda_labs import Kernel, KernelError, ladders

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
import kernel_mutants as km  # pyright: ignore[reportMissingImports]
import stress  # pyright: ignore[reportMissingImports]

COUNT = 200


def test_two_hundred_mutants() -> None:
    tally = km.run(COUNT, seed=0)
    shares = tally.shares()
    assert shares["counted"] == COUNT
    assert sum(shares["outcomes"].values()) == COUNT
    # What they are depends on the compiler in a few cases, not in the large.
    assert shares["outcomes"]["finding"] > COUNT / 5
    assert shares["outcomes"]["wrong"] > COUNT / 10
    assert shares["outcomes"]["equal"] < COUNT / 2
    assert tally.kinds["out of bounds"] > COUNT / 10
    assert tally.rejected < COUNT


def test_a_mutant_has_one_change_and_the_seed_decides_which() -> None:
    first = [text for _, text in zip(range(30), km.mutants(3), strict=False)]
    again = [text for _, text in zip(range(30), km.mutants(3), strict=False)]
    assert first == again
    assert first != [text for _, text in zip(range(30), km.mutants(4), strict=False)]
    rung = ladders.load("matmul", "03_shared")
    good = rung.kernel.source.splitlines()
    rng = random.Random(1)
    for _ in range(200):
        bad = km.mutate(rung.kernel.source, rng).splitlines()
        assert len(bad) == len(good)
        assert sum(a != b for a, b in zip(good, bad, strict=True)) == 1
        assert bad[:10] == good[:10]  # the head comment


def outcome(body: str, profile: bool = False) -> km.Tally:
    """What a vector addition with this body counts as."""
    rung = ladders.load("vector_add", 1)
    source = (
        'extern "C" __global__ void vector_add(const float* a, const float* b, '
        "float* c, int n) {\n  __shared__ float s[32];\n"
        "  int i = blockIdx.x * blockDim.x + threadIdx.x;\n" + body + "\n}\n"
    )
    tally = km.Tally()
    km.attempt(rung, source, tally, profile)
    return tally


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("if (i < n) c[i] = a[i] + b[i];", "equal"),
        ("if (i < n) c[i] = a[i] - b[i];", "wrong"),
        ("c[i + n] = a[0];", "finding"),
        ("while (i >= 0) i = i | 1; c[0] = i;", "endless"),
        ("volatile char big[1 << 19]; big[i] = 1; c[0] = big[i];", "crash"),
    ],
)
def test_outcomes(body: str, expected: str) -> None:
    tally = outcome(body)
    assert tally.outcomes == {expected: 1}
    assert tally.shares()["shares"][expected] == 1


def test_races_count_when_profiled() -> None:
    body = (
        "s[threadIdx.x % 32] = i;\n  if (i < n) c[i] = a[i] + b[i];\n"
        "  if (s[0] < 0) c[0] = 0;"
    )
    assert outcome(body).outcomes == {"equal": 1}
    tally = outcome(body, profile=True)
    assert tally.outcomes == {"finding": 1}
    assert tally.kinds == {"race": 1}


def test_what_does_not_compile_does_not_count() -> None:
    tally = outcome("c[i] = missing;")
    assert (tally.counted, tally.rejected) == (0, 1)


def test_the_long_run_goes_through_every_compiler(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    started = []

    class Fake:
        def __init__(self, command, *, cwd, env) -> None:
            self.name = env["CUDA_LABS_CXX"]
            started.append((self.name, command[command.index("--count") + 1]))
            path = Path(command[command.index("--json") + 1])
            path.write_text(json.dumps({"counted": 7, "compiler": self.name}))

        def wait(self) -> int:
            return int(self.name == broken)

    monkeypatch.setattr(stress.shutil, "which", lambda name: "/bin/g++")
    monkeypatch.setattr(stress.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(stress.subprocess, "Popen", Fake)
    broken = ""
    assert stress.kernels(7, 0, tmp_path / "k.json") == 0
    assert started == [("g++", "7"), ("zig", "7")]
    found = json.loads((tmp_path / "k.json").read_text())["compilers"]
    assert found["zig"] == {"counted": 7, "compiler": "zig"}
    broken = "zig"
    assert stress.kernels(7, 0, tmp_path / "k.json") == 1
    assert set(json.loads((tmp_path / "k.json").read_text())["compilers"]) == {"g++"}


def test_harm_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed launch that leaves its mark on an array is a failure of the test."""

    def careless(self, grid, block, args, shared_mem=0, **_):
        args[0][...] = 7
        raise KernelError("out of bounds", "made up")

    monkeypatch.setattr(Kernel, "__call__", careless)
    rung = ladders.load("vector_add", 1)
    with pytest.raises(AssertionError, match="changed an array"):
        km.attempt(rung, rung.kernel.source, km.Tally(), False)
    assert np.isfinite(km.arrays((np.zeros(3), np.int32(1)))).all()
