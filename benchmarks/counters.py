"""The simulator's counters beside Nsight Compute's, on kernels made for it.

    python benchmarks/counters.py            needs a GPU, CuPy and `ncu` on the PATH
    python benchmarks/counters.py --show     the simulator's side alone

Requests, sectors and shared-memory wavefronts are compared for small kernels whose
every access is `volatile`, so that the compiler neither drops nor merges one: strides,
offsets, vectors, partial warps, divergence, shared memory with conflicts and with
broadcasts. Reading the hardware's counters may need a permission that only the
machine's administrator gives; `ncu` then says so, and this program repeats it. The
result is printed and written to ``benchmarks/results/counters.json``; the exit status
is 1 when a counter differs and 2 when something needed is missing.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import record

from cuda_labs import Kernel, bench

RESULTS = record.RESULTS / "counters.json"

# Counter of ours: the profiler's metric.
METRICS = {
    "load requests": "l1tex__t_requests_pipe_lsu_mem_global_op_ld.sum",
    "store requests": "l1tex__t_requests_pipe_lsu_mem_global_op_st.sum",
    "load sectors": "l1tex__t_sectors_pipe_lsu_mem_global_op_ld.sum",
    "store sectors": "l1tex__t_sectors_pipe_lsu_mem_global_op_st.sum",
    "shared load wavefronts": "l1tex__data_pipe_lsu_wavefronts_mem_shared_op_ld.sum",
    "shared store wavefronts": "l1tex__data_pipe_lsu_wavefronts_mem_shared_op_st.sum",
}
WORDS = 1 << 14  # floats of each array


@dataclass(frozen=True)
class Micro:
    """A micro-kernel: the body of `name(x, y)` and its launch."""

    name: str
    body: str
    grid: int = 4
    block: int = 128

    @property
    def source(self) -> str:
        """The whole kernel; `t` is the thread's number in the grid."""
        return (
            f'extern "C" __global__ void {self.name}(volatile float* x, '
            "volatile float* y) {\n"
            "  int t = blockIdx.x * blockDim.x + threadIdx.x;\n"
            f"  {self.body}\n}}\n"
        )


def _micros() -> list[Micro]:
    found = [Micro("copy", "y[t] = x[t];")]
    found += [
        Micro(f"stride_{s}", f"y[t] = x[{s} * t];") for s in (2, 3, 4, 7, 8, 16, 32)
    ]
    found += [Micro(f"offset_{s}", f"y[t + {s}] = x[t + {s}];") for s in (1, 4, 8, 17)]
    found += [
        Micro("broadcast", "y[t] = x[0];"),
        Micro("same_in_warp", "y[t] = x[t / 32];"),
        Micro("reversed", "y[t] = x[511 - t];"),
        Micro("rows", "y[t] = x[t % 32 * 33 + t / 32];"),
        Micro("partial_warp", "y[t] = x[t];", grid=3, block=45),
        Micro("one_lane", "if (threadIdx.x % 32 == 5) y[t] = x[t];"),
        Micro("half_of_the_lanes", "if (t % 2) y[t] = x[t];"),
        Micro("two_branches", "if (t % 2) y[t] = x[t]; else y[t] = x[t + 1024];"),
        Micro("a_loop", "for (int i = 0; i < t % 5; ++i) y[t] = x[t + 64 * i];"),
        Micro(
            "doubles",
            "((volatile double*)y)[t] = ((volatile double*)x)[t];",
        ),
        Micro("bytes", "((volatile char*)y)[t] = ((volatile char*)x)[t];"),
    ]
    for name, index in (
        ("straight", "threadIdx.x"),
        ("two_ways", "threadIdx.x * 2"),
        ("eight_ways", "threadIdx.x * 8"),
        ("all_on_one_bank", "threadIdx.x % 32 * 32"),
        ("padded", "threadIdx.x % 32 * 33"),
        ("broadcast", "threadIdx.x / 32"),
        ("pairs", "threadIdx.x / 2"),
    ):
        body = (
            "__shared__ volatile float s[1088];\n"
            "  for (int i = threadIdx.x; i < 1088; i += blockDim.x) s[i] = 1.0f;\n"
            f"  __syncthreads();\n  y[t] = s[{index}];"
        )
        found.append(Micro(f"shared_load_{name}", body))
        body = (
            "__shared__ volatile float s[1088];\n"
            f"  s[{index}] = 1.0f;\n  __syncthreads();\n  y[t] = s[{index}];"
        )
        if name not in ("broadcast", "pairs"):  # there lanes would race
            found.append(Micro(f"shared_store_{name}", body, block=32))
    return found


MICROS = _micros()


def simulated(micro: Micro) -> dict[str, int]:
    """The simulator's counters of a micro-kernel."""
    x, y = np.ones(WORDS, np.float32), np.zeros(WORDS, np.float32)
    p = Kernel(micro.source, micro.name).profile(micro.grid, micro.block, (x, y))
    if p.errors:
        raise RuntimeError(f"{micro.name}: {p.errors[0]}")
    return {
        "load requests": p.total("global load").requests,
        "store requests": p.total("global store").requests,
        "load sectors": p.total("global load").sectors,
        "store sectors": p.total("global store").sectors,
        "shared load wavefronts": p.total("shared load").wavefronts,
        "shared store wavefronts": p.total("shared store").wavefronts,
    }


def read(report: str) -> dict[str, dict[str, int]]:
    """Metric values by kernel from what `ncu --csv` prints.

    One line for each kernel and metric, after lines of other text. Raises
    ValueError when no table is there, with what was printed instead.
    """
    lines = report.splitlines()
    start = next((i for i, text in enumerate(lines) if text.startswith('"ID"')), None)
    if start is None:
        said = " ".join(text.strip() for text in lines if "==ERROR==" in text)
        raise ValueError(said or f"ncu printed no table: {report.strip()[-400:]}")
    names = {metric: name for name, metric in METRICS.items()}
    found: dict[str, dict[str, int]] = {}
    for row in csv.DictReader(io.StringIO("\n".join(lines[start:]))):
        name = names.get(row["Metric Name"])
        if name is not None:
            kernel = row["Kernel Name"].split("(")[0]
            with contextlib.suppress(ValueError):  # "n/a": could not be collected
                value = float(row["Metric Value"].replace(",", ""))
                found.setdefault(kernel, {})[name] = round(value)
    return found


def compare(
    ours: dict[str, dict[str, int]], theirs: dict[str, dict[str, int]]
) -> list[dict[str, Any]]:
    """Every counter of every kernel, and whether both sides agree."""
    rows = []
    for kernel, counters in ours.items():
        for name, value in counters.items():
            measured = theirs.get(kernel, {}).get(name)
            rows.append(
                {
                    "kernel": kernel,
                    "counter": name,
                    "simulator": value,
                    "ncu": measured,
                    "equal": value == measured,
                }
            )
    return rows


def launch(cupy: Any) -> None:
    """Run every micro-kernel once on the GPU, for the profiler to see.

    By CuPy alone: `Kernel` starts compilers, which the profiler would follow.
    """
    x, y = cupy.ones(WORDS, "f4"), cupy.zeros(WORDS, "f4")
    for micro in MICROS:
        run = cupy.RawKernel(micro.source, micro.name)
        run((micro.grid,), (micro.block,), (x, y))
    cupy.cuda.Device().synchronize()


def profiled() -> str:
    """What `ncu` prints of this program's launches.

    Whole numbers under the metrics' own names, whatever the locale; the clocks stay
    as they are, since counts do not depend on them.
    """
    command = ["ncu", "--csv", "--print-units", "base", "--print-metric-name", "name"]
    command += ["--clock-control", "none", "--target-processes", "all"]
    command += ["--kernel-name", "regex:^(" + "|".join(m.name for m in MICROS) + ")$"]
    command += ["--metrics", ",".join(METRICS.values())]
    command += [sys.executable, __file__, "--launch"]
    plain = os.environ | {"LC_ALL": "C"}
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env=plain
    )
    return f"{done.stdout}\n{done.stderr}"


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--show", action="store_true", help="the simulator's side")
    parser.add_argument("--launch", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    cupy = None if options.show else bench.gpu()
    if options.launch:
        launch(cupy)
        return 0
    if options.show:
        for micro in MICROS:
            print(f"{micro.name:28}", *simulated(micro).values(), sep="\t")
        return 0
    if cupy is None:
        print("no GPU here, or no CuPy: --show prints the simulator's side")
        return 2
    if shutil.which("ncu") is None:
        print("ncu is not on the PATH: it comes with NVIDIA's CUDA Toolkit")
        return 2
    result = record.about(("cupy-cuda13x",), device=_name(cupy))
    try:
        theirs = read(profiled())
    except ValueError as error:
        print(f"Nsight Compute could not measure: {error}")
        return 2
    rows = compare({micro.name: simulated(micro) for micro in MICROS}, theirs)
    wrong = [row for row in rows if not row["equal"]]
    for row in wrong:
        print(
            f"{row['kernel']:28}{row['counter']:26}"
            f"simulator {row['simulator']}, ncu {row['ncu']}"
        )
    print(f"{len(rows) - len(wrong)} of {len(rows)} counters are equal")
    record.save(RESULTS, result | {"metrics": METRICS, "rows": rows})
    return int(bool(wrong))


def _name(cupy: Any) -> str:
    device = cupy.cuda.Device().id
    name = cupy.cuda.runtime.getDeviceProperties(device)["name"]
    return name.decode() if isinstance(name, bytes) else str(name)


if __name__ == "__main__":
    raise SystemExit(main())
