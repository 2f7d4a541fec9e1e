"""benchmarks/gpu.py from end to end: a clock that is told what to say, the simulator
for the GPU, PyTorch on the CPU for the library."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import test_cuda_tensor_cores as tensor_cores
import torch

from cuda_labs import Kernel, bench, check, ladders
from cuda_labs.roofline import Machine

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import gpu  # pyright: ignore[reportMissingImports] # noqa: E402
import gpu_attention  # pyright: ignore[reportMissingImports] # noqa: E402
import gpu_library  # pyright: ignore[reportMissingImports] # noqa: E402
import gpu_report  # pyright: ignore[reportMissingImports] # noqa: E402
import gpu_rows  # pyright: ignore[reportMissingImports] # noqa: E402
import record  # pyright: ignore[reportMissingImports] # noqa: E402

OURS, THEIRS = 4e-6, 3e-6


class Fake:
    """A clock for which a rung takes OURS and a library call THEIRS."""

    def seconds(self, run, before=None):
        if before is not None:
            before()
        run()
        # `bench.timed` alone prepares its runs; `whole` is told apart by its name.
        ours = before is not None or "gpu_attention" in run.__code__.co_filename
        return OURS if ours else THEIRS


def simulated() -> gpu_rows.Bench:
    return gpu_rows.Bench(
        Fake(),
        Machine("simulator", 4e12, 6e13, 8e14),
        lambda x: x,
        lambda rung: (rung.shapes[1 % len(rung.shapes)],),
        gpu_attention.TINY,
        {"repeats": 1, "warmup": 1},
    )


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """`main` as it is, but that a part runs in this process and not on a GPU."""
    monkeypatch.setattr(gpu, "on_gpu", lambda cupy: simulated())
    monkeypatch.setattr(gpu, "about_gpu", lambda cupy: {"device": "simulator"})
    monkeypatch.setattr(bench, "gpu", lambda: types.SimpleNamespace())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu, "RESULTS", tmp_path / "gpu.json")
    monkeypatch.setattr(record, "ROOT", tmp_path)
    started = []

    def run_here(command, *, check, timeout):
        _, script, part, flag, path = command
        assert Path(script).name == "gpu.py"
        assert flag == "--here"
        started.append(part)
        return subprocess.CompletedProcess(command, gpu.here(part, Path(path)))

    fake = types.SimpleNamespace(run=run_here, TimeoutExpired=subprocess.TimeoutExpired)
    monkeypatch.setattr(gpu, "subprocess", fake)
    return started


def test_every_ladder_has_its_rows(
    started: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    assert gpu.main() == 0, capsys.readouterr().out
    assert started == gpu_rows.parts()
    result = json.loads((tmp_path / "gpu.json").read_text())
    assert result["about"]["device"] == "simulator"
    assert result["machine"]["bandwidth"] == 4e12
    assert {"date", "packages", "processor"} <= set(result)

    rows = {(r["operation"], r["rung"]): r for r in result["rows"]}
    for name in ladders.operations():
        apart = set(ladders.rungs(name, gpu_only=True)) - set(ladders.rungs(name))
        for rung in ladders.rungs(name, gpu_only=True):
            row = rows[name, rung]
            assert ("skipped" in row) == (rung in apart)
            if rung in apart:
                assert row["skipped"].startswith("needs a GPU")
                continue
            assert row["median"] == OURS
            assert 0 <= row["worst"] <= 1
            assert row["worst of the tests"] <= 1
            if row["library"]:
                assert row["fraction"] == pytest.approx(THEIRS / OURS)
    without = {name for (name, _), r in rows.items() if not r.get("library", True)}
    assert without <= {"stencil", "attention", "flash"}
    assert rows["matmul", "01_naive"]["GB/s"] == pytest.approx(
        4 * (17 * 31 + 31 * 45 + 17 * 45) / OURS / 1e9
    )
    assert rows["matmul", "06_wmma"]["dtype"] == "float16"
    assert rows["matmul", "06_wmma"]["library"] == "torch.matmul, float16"
    assert rows["decode", "decode, 3 parts"]["fraction"] == pytest.approx(0.75)
    assert rows["flash_backward", "backward"]["library"].startswith("SDPA backward")
    reached = {g["goal"]: g["reached"] for g in result["goals"]}
    assert reached["matmul"] is False  # 0.75 of 0.9
    assert reached["matmul:06_wmma"] is True  # of 0.35
    assert reached["flash_backward"] is True  # of 0.6
    out = capsys.readouterr().out
    assert "0.75 of torch copy" in out
    assert "flash_backward" in out


def test_a_wrong_kernel_is_a_row_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    rung = ladders.load("transpose", 1)
    source = rung.kernel.source.replace("cols", "rows")
    broken = dataclasses.replace(rung, kernel=Kernel(source, "transpose"))
    load = ladders.load
    monkeypatch.setattr(
        ladders,
        "load",
        lambda op, name: broken if name == "01_naive" else load(op, name),
    )
    rows = {row["rung"]: row for row in gpu_rows.run("transpose", simulated())}
    assert "failed" in rows["01_naive"]
    assert rows["02_shared"]["median"] == OURS
    assert "failed: " in gpu_report.line(rows["01_naive"])


def test_parts_are_written_as_they_come_and_may_be_added(
    started: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def measure(*arguments: str) -> set[tuple[str, str]]:
        monkeypatch.setattr(sys, "argv", ["gpu.py", *arguments])
        gpu.main()
        result = json.loads((tmp_path / "gpu.json").read_text())
        pairs = [(row["part"], row["rung"]) for row in result["rows"]]
        assert len(set(pairs)) == len(pairs)
        return set(pairs)

    adds = {("vector_add", r) for r in ladders.rungs("vector_add")}
    assert measure("vector_add") == adds
    sums = {("reduction", r) for r in ladders.rungs("reduction")}
    assert measure("reduction", "--add") == adds | sums
    # Any rung is a part, and takes the place of the one measured with its ladder.
    one = {("reduction:01_atomic", "01_atomic")}
    assert measure("reduction:01_atomic", "--add") == (
        adds | one | sums - {("reduction", "01_atomic")}
    )
    # What was measured with another driver does not stand beside it.
    monkeypatch.setattr(gpu, "about_gpu", lambda cupy: {"device": "another"})
    assert measure("vector_add", "--add") == adds
    assert measure("reduction") == sums
    with pytest.raises(SystemExit):
        measure("reduction:09_none")
    assert "there is no part 'reduction:09_none'" in capsys.readouterr().err

    # One that hangs costs its own rows, and so does an end before time.
    run_here = gpu.subprocess.run
    ends: list[BaseException] = [subprocess.TimeoutExpired("gpu.py", 480)]

    def ended(command, *, check, timeout):
        if command[2] == "scan":
            raise ends.pop()
        return run_here(command, check=check, timeout=timeout)

    monkeypatch.setattr(gpu.subprocess, "run", ended)
    assert measure("vector_add", "scan") == adds
    assert "scan: ended after 8 minutes" in capsys.readouterr().out
    ends.append(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        measure("reduction", "scan")
    result = json.loads((tmp_path / "gpu.json").read_text())
    assert {(row["part"], row["rung"]) for row in result["rows"]} == sums


def test_after_a_lost_context_the_rest_of_a_part_says_whose_error_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lost = []

    def rows(rung, there):
        head = {"operation": "transpose", "rung": rung.name}
        if rung.name == "02_shared":
            lost.append(rung)
            yield head | {"failed": "CUDARuntimeError: cudaErrorIllegalAddress"}
        yield head | {"shape": [1], "median": 1.0}

    monkeypatch.setattr(gpu_rows, "_rows", rows)
    there = dataclasses.replace(simulated(), alive=lambda: not lost)
    found = list(gpu_rows.run("transpose", there))
    assert [row["rung"] for row in found] == list(ladders.rungs("transpose"))
    assert "median" in found[0]
    assert "failed" in found[1]
    for row in found[2:]:
        assert row["skipped"] == (
            f"after 02_shared nothing runs: measure transpose:{row['rung']}"
        )
    # A kernel that is merely wrong does not end the part.
    there = dataclasses.replace(there, alive=lambda: True)
    assert sum("median" in row for row in gpu_rows.run("transpose", there)) == 4


def test_whether_the_device_is_alive_is_asked_of_it() -> None:
    def broken() -> None:
        raise RuntimeError("cudaErrorIllegalAddress")

    for synchronize, answer in ((lambda: None, True), (broken, False)):
        device = types.SimpleNamespace(synchronize=synchronize)
        cuda = types.SimpleNamespace(Device=lambda device=device: device)
        assert gpu._alive(types.SimpleNamespace(cuda=cuda)) is answer


def test_wrong_attention_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    right = gpu_attention.flash.forward

    def wrong(q, k, v, **options):
        o, lse = right(q, k, v, **options)
        return o * np.asarray(1.001, o.dtype), lse

    monkeypatch.setattr(gpu_attention.flash, "forward", wrong)
    (row,) = gpu_rows.run("flash", simulated())
    assert "off by 0.001" in row["failed"]


@pytest.mark.parametrize("name", ["07_mma", "08_wgmma"])
def test_rungs_for_a_gpu_alone_in_both_types(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU of the right kind, with stand-ins for the instructions."""
    rung = ladders.load("matmul", name)
    kernel = Kernel(tensor_cores.emulated(name).kernel.source, "matmul")
    stand_in = dataclasses.replace(rung, kernel=kernel)
    monkeypatch.setattr(ladders, "load", lambda operation, rung: stand_in)
    there = dataclasses.replace(
        simulated(), machine=Machine("m", 4e12, 6e13, 8e14, (9, 0))
    )
    rows = list(gpu_rows.run(f"matmul:{name}", there))
    assert [row["dtype"] for row in rows] == ["float16", "bfloat16"]
    assert [row["library"].split()[-1] for row in rows] == ["float16", "bfloat16"]
    assert all(0 <= row["worst"] <= 1 for row in rows)
    # The reference must be that of the bits as bfloat16.
    wrong = dataclasses.replace(gpu_rows.bfloat16(stand_in), operation=rung.operation)
    with pytest.raises((check.Mismatch, TypeError)):
        gpu_rows.tested(wrong, there)


def test_the_best_rung_of_a_ladder_decides() -> None:
    def row(rung: str, fraction: float, shape=(8,), operation="softmax"):
        head = {"operation": operation, "rung": rung, "shape": list(shape)}
        return head | {"fraction": fraction}

    rows = [
        row("01", 0.5),
        row("02", 1.1),
        row("03", 0.9),
        row("03", 1.1, (1, 1 << 24)),
        row("07_mma", 0.5, operation="matmul"),
        row("03", 0.95, operation="matmul"),
        row("x", 0.3, operation="stencil"),
        {"operation": "scan", "rung": "01", "skipped": "why"},
        # Half the speed of the fastest peer, but that of the one that is meant.
        row("06_mma", 0.5, operation="attention")
        | {"median": 2.0, "peers": {"SDPA, cuDNN": 1.0, "SDPA, flash": 2.0}},
    ]
    found = {(g["goal"], *g["shape"]): g for g in gpu_report.verdicts(rows)}
    assert found["softmax", 8]["rung"] == "02"
    assert found["softmax", 8]["reached"]
    assert not found["softmax", 1, 1 << 24]["reached"]  # one huge row asks for 2
    assert not found["matmul:07_mma", 8]["reached"]
    assert found["matmul", 8]["reached"]
    assert found["attention:06_mma", 8]["reached"]
    assert found["attention:06_mma", 8]["against"] == "SDPA, flash"
    assert len(found) == 5


def test_the_peers_compute_what_the_ladders_do() -> None:
    """What a library is timed on is the operation itself (but a copy's speed)."""
    for name in ladders.operations():
        for rung_name in ladders.rungs(name):
            rung = ladders.load(name, rung_name)
            data = bench.data(rung, rung.shapes[1])
            expected, _, _ = rung.operation.judge(*data)
            peers = gpu_library.peers(name, rung_name, data)
            for peer, run in peers.items():
                got = np.asarray(torch.as_tensor(run()), dtype=np.float64)
                if peer == "torch copy":
                    got = got.T
                got = got.reshape(expected.shape)
                # A row of −∞ alone: PyTorch has NaN where the ladder has zeros.
                seen = np.isfinite(got)
                limit = 2e-2 if data[0].dtype == np.float16 else 1e-4
                size = np.abs(expected).max()
                assert np.abs(got - expected)[seen].max() <= limit * size, peer
                assert seen.all() or name == "softmax"


def test_a_library_that_fails_costs_its_own_number_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def peers(*_):
        return {"good": lambda: None, "bad": lambda: 1 / 0}

    monkeypatch.setattr(gpu_library, "peers", peers)
    row = next(iter(gpu_rows.run("transpose", simulated())))
    assert row["library"] == "good"
    assert list(row["peers"]) == ["good"]
    assert row["peers that failed"] == {"bad": "ZeroDivisionError: division by zero"}


def test_bits_of_bfloat16_are_read_as_such() -> None:
    x = torch.tensor([1.0, -2.5, 3e38], dtype=torch.bfloat16)
    bits = x.view(torch.int16).numpy().view(np.uint16)
    assert torch.equal(gpu_library.tensor(bits), x)


def test_without_a_gpu_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(bench, "gpu", lambda: None)
    monkeypatch.setattr(sys, "argv", ["gpu.py", "matmul"])
    assert gpu.main() == 2
    assert "no GPU here" in capsys.readouterr().out
    assert gpu.here("matmul", tmp_path / "x") == 2
    assert not (tmp_path / "x").exists()
