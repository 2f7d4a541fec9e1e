"""Every ladder on a GPU beside the library that does the same, in one run.

    python benchmarks/gpu.py                        all ladders
    python benchmarks/gpu.py matmul matmul:08_wgmma some of them
    python benchmarks/gpu.py decode --add           the others' rows are kept

Needs an NVIDIA GPU, CuPy, and a build of PyTorch with CUDA. Each part runs in a
process of its own, so that a kernel which breaks the device's context harms no other;
"matmul:08_wgmma" is a part because it is written in inline PTX. Times are medians of
many runs between CUDA events with an empty L2 cache, TF32 is off, sizes are odd as
well as round, and each result is compared with the float64 reference first: at the
sizes of the tests always, at the size that is timed where the reference is cheap
enough. Attention is compared with every backend that PyTorch has for the tensors, by
name, and once more as a whole in the parts "flash", "flash_backward" and "decode".
The result is printed and, after each part, written to ``benchmarks/results/gpu.json``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gpu_attention
import gpu_library
import gpu_report
import record
import torch
from gpu_report import Row
from gpu_rows import Bench, known, parts, run

from cuda_labs import bench, roofline, work
from cuda_labs.clock import EventClock

RESULTS = record.RESULTS / "gpu.json"
PACKAGES = ("torch", "cupy-cuda13x", "numpy", "nvidia-cuda-nvrtc")


def on_gpu(cupy: Any) -> Bench:
    """The GPU as a bench."""
    gpu_library.full_precision()
    clock = EventClock(cupy)
    machine = roofline.of_device(clock, cupy)
    return Bench(
        clock,
        machine,
        cupy.asarray,
        lambda rung: work.sizes(rung).gpu,
        gpu_attention.GPU,
        {},
        lambda: _alive(cupy),
    )


def _alive(cupy: Any) -> bool:
    """Whether the device's context outlived the last error."""
    try:
        cupy.cuda.Device().synchronize()
    except Exception:
        return False
    return True


def about_gpu(cupy: Any) -> dict[str, Any]:
    """The driver and the versions of CUDA in use."""
    runtime = cupy.cuda.runtime
    query = ["nvidia-smi", "--format=csv,noheader"]
    query.append("--query-gpu=name,driver_version,clocks.max.sm,power.limit")
    try:
        said = subprocess.run(query, capture_output=True, text=True, check=False)
        card = said.stdout.strip().splitlines()
    except OSError:
        card = []
    return {
        "device": card[0] if card else "unknown to nvidia-smi",
        "CUDA of the driver": runtime.driverGetVersion(),
        "CUDA runtime": runtime.runtimeGetVersion(),
        "CUDA of torch": torch.version.cuda,
    }


def here(part: str, path: Path) -> int:
    """Measure one part in this process and write its rows to `path`."""
    cupy = bench.gpu()
    if cupy is None or not torch.cuda.is_available():
        print("a GPU, CuPy and a build of PyTorch with CUDA are needed")
        return 2
    there = on_gpu(cupy)
    result = {"about": about_gpu(cupy), "machine": asdict(there.machine)}
    rows: list[Row] = []
    for row in run(part, there):
        print(gpu_report.line(row), flush=True)
        rows.append({"part": part} | row)
        path.write_text(json.dumps(result | {"rows": rows}), encoding="utf-8")
    return int(any("failed" in row for row in rows))


def kept(parts: list[str], about: dict[str, Any]) -> list[Row]:
    """The rows of other parts, measured before with the same device and driver."""
    last = record.load(RESULTS)
    if last.get("about") != about:
        return []
    again = set(parts)
    return [
        row
        for row in last["rows"]
        if not {row["part"], f"{row['operation']}:{row['rung']}"} & again
    ]


def main() -> int:
    """The command line; 0 when every part ran and no kernel was wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(parts())}")
    parser.add_argument("--here", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--minutes", type=float, default=8.0, help="for one part")
    parser.add_argument("--add", action="store_true", help="keep the others' rows")
    options = parser.parse_args()
    chosen = options.parts or parts()
    for part in chosen:
        if not known(part):
            parser.error(f"there is no part {part!r}; there are {', '.join(parts())}")
    if options.here:
        return here(chosen[0], options.here)
    if bench.gpu() is None:
        print("no GPU here: `python -m cuda_labs.bench` shows the counters instead")
        return 2
    result = record.about(PACKAGES)
    rows: list[Row] = []
    failed = False
    for part in chosen:
        found, done = measured(part, options.minutes)
        failed |= not done
        if not found:
            continue
        if options.add and not rows:
            rows = kept(chosen, found["about"])
        rows += found.pop("rows")
        result |= found
        result |= {"rows": rows, "goals": gpu_report.verdicts(rows)}
        record.save(RESULTS, result)
    for verdict in result.get("goals", []):
        word = "reached" if verdict["reached"] else "missed"
        name = f"{verdict['goal']} {tuple(verdict['shape'])} {verdict['dtype']}"
        print(f"{name:52}{verdict['fraction']:6.2f} of {verdict['wanted']:.2f} {word}")
    return int(failed)


def measured(part: str, minutes: float) -> tuple[dict[str, Any], bool]:
    """What a process of its own finds of a part, and whether all went well."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.json"
        command = [sys.executable, __file__, part, "--here", str(path)]
        try:
            done = subprocess.run(command, check=False, timeout=60 * minutes)
            well = done.returncode == 0
        except subprocess.TimeoutExpired:
            print(f"{part}: ended after {minutes:g} minutes")
            well = False
        return (json.loads(path.read_text("utf-8")) if path.exists() else {}), well


if __name__ == "__main__":
    raise SystemExit(main())
