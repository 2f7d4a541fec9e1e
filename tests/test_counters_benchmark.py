"""benchmarks/counters.py: its micro-kernels' counts by hand, and what it reads."""

from __future__ import annotations

import itertools
import subprocess
import sys
import types
from pathlib import Path

import pytest

from cuda_labs import bench

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import counters  # pyright: ignore[reportMissingImports]
import record  # pyright: ignore[reportMissingImports]

# Load requests, load sectors and shared load wavefronts, by hand: 16 warps.
BY_HAND = {
    "copy": (16, 16 * 4, 0),
    "stride_2": (16, 16 * 8, 0),
    "stride_7": (16, 16 * 28, 0),
    "stride_32": (16, 16 * 32, 0),
    "offset_1": (16, 16 * 5, 0),
    "offset_8": (16, 16 * 4, 0),
    "broadcast": (16, 16, 0),
    "rows": (16, 16 * 32, 0),
    # Blocks of 45 threads begin at bytes 0, 180 and 360.
    "partial_warp": (6, 4 + 2 + 5 + 3 + 5 + 2, 0),
    "two_branches": (32, 32 * 4, 0),
    # t % 5 rounds: some lane of every warp makes four.
    "a_loop": (16 * 4, 16 * 4 * 4, 0),
    "doubles": (16, 16 * 8, 0),
    "bytes": (16, 16, 0),
    "shared_load_straight": (0, 0, 16),
    "shared_load_eight_ways": (0, 0, 16 * 8),
    "shared_load_all_on_one_bank": (0, 0, 16 * 32),
    "shared_load_padded": (0, 0, 16),
    "shared_load_broadcast": (0, 0, 16),
}


@pytest.mark.parametrize("name", sorted(BY_HAND))
def test_counts_by_hand(name: str) -> None:
    (micro,) = (m for m in counters.MICROS if m.name == name)
    found = counters.simulated(micro)
    names = ("load requests", "load sectors", "shared load wavefronts")
    assert tuple(found[n] for n in names) == BY_HAND[name]


# As `ncu --csv` prints it: other text first, a thousands separator, quoted cells.
REPORT = """==PROF== Connected to process 7
==PROF== Profiling "copy": 0%....50%....100% - 1 pass
"ID","Process ID","Process Name","Host Name","Kernel Name","Context","Stream",\
"Block Size","Grid Size","Device","CC","Section Name","Metric Name","Metric Unit",\
"Metric Value"
"0","7","python","127.0.0.1","copy(volatile float *, volatile float *)","1","7",\
"(128, 1, 1)","(4, 1, 1)","0","9.0","Command line profiler metrics",\
"l1tex__t_requests_pipe_lsu_mem_global_op_ld.sum","request","16"
"0","7","python","127.0.0.1","copy(volatile float *, volatile float *)","1","7",\
"(128, 1, 1)","(4, 1, 1)","0","9.0","Command line profiler metrics",\
"l1tex__t_sectors_pipe_lsu_mem_global_op_ld.sum","sector","1,064"
"""


def test_the_profilers_table_is_read() -> None:
    found = counters.read(REPORT)
    assert found == {"copy": {"load requests": 16, "load sectors": 1064}}
    ours = {"copy": {"load requests": 16, "load sectors": 64, "store sectors": 1}}
    rows = counters.compare(ours, found)
    assert [row["equal"] for row in rows] == [True, False, False]
    assert rows[2]["ncu"] is None
    absent = REPORT.replace('"1,064"', '"n/a"')
    assert counters.read(absent) == {"copy": {"load requests": 16}}
    refused = "==ERROR== ERR_NVGPUCTRPERM - The user does not have permission"
    with pytest.raises(ValueError, match="does not have permission"):
        counters.read(f"==PROF== Connected\n{refused}\n")
    with pytest.raises(ValueError, match="no table: Segmentation"):
        counters.read("Segmentation fault")


def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, report: str) -> int:
    """`main` where a GPU and ncu seem to be, and ncu prints `report`."""
    properties = types.SimpleNamespace(getDeviceProperties=lambda i: {"name": b"H"})
    device = types.SimpleNamespace(id=0)
    cuda = types.SimpleNamespace(Device=lambda: device, runtime=properties)
    monkeypatch.setattr(bench, "gpu", lambda: types.SimpleNamespace(cuda=cuda))
    monkeypatch.setattr(counters.shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(counters, "RESULTS", tmp_path / "counters.json")
    monkeypatch.setattr(record, "ROOT", tmp_path)
    monkeypatch.setattr(counters, "MICROS", counters.MICROS[:1])

    def fake(command, **given):
        assert command[0] == "ncu"
        assert command[-2:] == [counters.__file__, "--launch"]
        options = dict(itertools.pairwise(command))
        # Not scaled, not labelled, without a locale's marks; the clocks are let be.
        assert options["--print-units"] == "base"
        assert options["--print-metric-name"] == "name"
        assert options["--clock-control"] == "none"
        assert given["env"]["LC_ALL"] == "C"
        return subprocess.CompletedProcess(command, 0, report, "==PROF== done")

    monkeypatch.setattr(counters, "subprocess", types.SimpleNamespace(run=fake))
    monkeypatch.setattr(sys, "argv", ["counters.py"])
    return counters.main()


def test_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = counters.simulated(counters.MICROS[0])
    head, row = REPORT[: REPORT.index('"0","7"')], REPORT.splitlines()[3]
    start = row[: row.index('"l1tex')]
    table = head + "".join(
        f'{start}"{metric}","","{values[name]}"\n'
        for name, metric in counters.METRICS.items()
    )
    assert run(monkeypatch, tmp_path, table) == 0
    assert "6 of 6 counters are equal" in capsys.readouterr().out
    assert (tmp_path / "counters.json").exists()
    assert run(monkeypatch, tmp_path, table.replace('"64"', '"63"')) == 1
    assert "simulator 64, ncu 63" in capsys.readouterr().out
    assert run(monkeypatch, tmp_path, "==ERROR== no permission") == 2


def test_the_profiled_launches_are_those_that_are_simulated() -> None:
    launched = []

    def raw_kernel(source: str, name: str):
        assert f"void {name}(" in source
        return lambda grid, block, args: launched.append((name, grid, block))

    device = types.SimpleNamespace(synchronize=lambda: None)
    cuda = types.SimpleNamespace(Device=lambda: device)
    counters.launch(
        types.SimpleNamespace(
            RawKernel=raw_kernel, cuda=cuda, ones=lambda *_: 1, zeros=lambda *_: 0
        )
    )
    assert launched == [(m.name, (m.grid,), (m.block,)) for m in counters.MICROS]


def test_what_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["counters.py"])
    monkeypatch.setattr(bench, "gpu", lambda: None)
    assert counters.main() == 2
    assert "no GPU here" in capsys.readouterr().out
    monkeypatch.setattr(bench, "gpu", lambda: object())
    monkeypatch.setattr(counters.shutil, "which", lambda name: None)
    assert counters.main() == 2
    assert "ncu is not on the PATH" in capsys.readouterr().out
