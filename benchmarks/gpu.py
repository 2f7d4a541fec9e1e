"""Every ladder on a GPU beside the library that does the same, in one run.

    python benchmarks/gpu.py                        all ladders
    python benchmarks/gpu.py matmul matmul:08_wgmma some of them

Needs an NVIDIA GPU, CuPy, and a build of PyTorch with CUDA. Each part runs in a
process of its own, so that a kernel which breaks the device's context harms no other;
"matmul:08_wgmma" is a part because it is written in inline PTX. Times are medians of
many runs between CUDA events with an empty L2 cache, TF32 is off, sizes are odd as
well as round, and each result is compared with the float64 reference first: at the
sizes of the tests always, at the size that is timed where the reference is cheap
enough. Attention is compared with every backend that PyTorch has for the tensors, by
name, and once more as a whole in the parts "flash", "flash_backward" and "decode".
The result is printed and written to ``benchmarks/results/gpu.json``.
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
from gpu_rows import Bench, parts, run

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
    )


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
    rows: list[Row] = []
    for row in run(part, there):
        print(gpu_report.line(row), flush=True)
        rows.append(row)
        result = {"about": about_gpu(cupy), "machine": asdict(there.machine)}
        path.write_text(json.dumps(result | {"rows": rows}), encoding="utf-8")
    return int(any("failed" in row for row in rows))


def main() -> int:
    """The command line; 0 when every part ran and no kernel was wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(parts())}")
    parser.add_argument("--here", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--minutes", type=float, default=8.0, help="for one part")
    options = parser.parse_args()
    chosen = options.parts or parts()
    for part in chosen:
        if part not in parts():
            parser.error(f"there is no part {part!r}; there are {', '.join(parts())}")
    if options.here:
        return here(chosen[0], options.here)
    if bench.gpu() is None:
        print("no GPU here: `python -m cuda_labs.bench` shows the counters instead")
        return 2
    result = record.about(PACKAGES, parts=chosen)
    rows: list[Row] = []
    failed = False
    for part in chosen:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "rows.json"
            command = [sys.executable, __file__, part, "--here", str(path)]
            try:
                done = subprocess.run(
                    command, check=False, timeout=60 * options.minutes
                )
                failed |= done.returncode != 0
            except subprocess.TimeoutExpired:
                print(f"{part}: ended after {options.minutes:g} minutes")
                failed = True
            if path.exists():
                found = json.loads(path.read_text("utf-8"))
                rows += found.pop("rows")
                result |= found
    result |= {"rows": rows, "goals": gpu_report.verdicts(rows)}
    for verdict in result["goals"]:
        word = "reached" if verdict["reached"] else "missed"
        name = f"{verdict['goal']} {tuple(verdict['shape'])} {verdict['dtype']}"
        print(f"{name:52}{verdict['fraction']:6.2f} of {verdict['wanted']:.2f} {word}")
    record.save(RESULTS, result)
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
