"""The long runs: the book twice over, fuzzing, and mutation of the package.

    python tools/stress.py                        all four
    python tools/stress.py fuzz mutation --minutes 30
    python tools/stress.py kernels --kernels 5000 --compiler zig

The book is run twice in parallel and must print the same both times; the property
tests draw forty times as many examples, new ones each time; the share of mutants that
are killed is reported (see tools/mutate.py); damaged CUDA kernels run through each of
the simulator's compilers, and what becomes of them is written to
``benchmarks/results/kernel_mutants.json`` (see tools/kernel_mutants.py).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTEST = [sys.executable, "-m", "pytest", "-q", "--color=no", "-n", "2"]
COMPILERS = ("g++", "zig")
PARTS = ("book", "fuzz", "mutation", "kernels")
MUTANTS = ROOT / "benchmarks" / "results" / "kernel_mutants.json"


def book() -> int:
    """The notebook test, twice."""
    command = [*PYTEST, "--dist", "loadscope", "--nbval", "book/"]
    return max(subprocess.call(command, cwd=ROOT) for _ in range(2))


def fuzz() -> int:
    """The unit and property tests with many more examples."""
    command = [*PYTEST, "tests", "--ignore=tests/browser"]
    env = os.environ | {"HYPOTHESIS_PROFILE": "stress"}
    return subprocess.call(command, cwd=ROOT, env=env)


def mutation(minutes: float, seed: int) -> int:
    """The share of broken packages that something notices."""
    command = [sys.executable, "tools/mutate.py", "--minutes", str(minutes)]
    return subprocess.call([*command, "--seed", str(seed)], cwd=ROOT)


def kernels(
    count: int, seed: int, written: Path = MUTANTS, asked: Sequence[str] = COMPILERS
) -> int:
    """Damaged kernels, `count` through each compiler that is here, side by side.

    What stands in `written` of a compiler that is not `asked` for stays there.
    """
    here = {"g++": shutil.which("g++"), "zig": importlib.util.find_spec("ziglang")}
    compilers = [name for name in asked if here[name]]
    jobs = max((os.cpu_count() or 1) // max(len(compilers), 1), 1)
    with tempfile.TemporaryDirectory() as folder:
        running = {}
        for name in compilers:
            path = Path(folder) / f"{name}.json"
            command = [sys.executable, "tools/kernel_mutants.py", "--profile"]
            command += ["--count", str(count), "--seed", str(seed)]
            command += ["--jobs", str(jobs), "--json", str(path)]
            env = os.environ | {"CUDA_LABS_CXX": name}
            running[name] = path, subprocess.Popen(command, cwd=ROOT, env=env)
        failed = [name for name, (_, process) in running.items() if process.wait()]
        found = {
            name: json.loads(path.read_text("utf-8"))
            for name, (path, _) in running.items()
            if name not in failed
        }
    kept = {}
    if written.exists():
        kept = json.loads(written.read_text("utf-8"))["compilers"]
    kept = {name: tally for name, tally in kept.items() if name not in asked}
    text = json.dumps({"compilers": kept | found}, indent=2)
    written.write_text(text + "\n", encoding="utf-8")
    print(f"written to {written}; failed: {', '.join(failed) or 'none'}")
    return int(bool(failed) or not found)


def main() -> int:
    """The command line; 0 when every part passed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--minutes", type=float, default=60.0, help="for the mutants")
    parser.add_argument("--kernels", type=int, default=5000, help="for each compiler")
    parser.add_argument("--seed", type=int, default=0, help="order of the mutants")
    parser.add_argument("--compiler", choices=COMPILERS, help="the kernels' only one")
    options = parser.parse_args()
    asked = (options.compiler,) if options.compiler else COMPILERS
    chosen = options.parts or list(PARTS)
    for part in chosen:
        if part not in PARTS:
            parser.error(f"there is no part {part!r}; there are {', '.join(PARTS)}")
    rows = []
    for part in chosen:
        print(f"\n=== {part} " + "=" * (68 - len(part)), flush=True)
        start = time.perf_counter()
        if part == "mutation":
            status = mutation(options.minutes, options.seed)
        elif part == "kernels":
            status = kernels(options.kernels, options.seed, asked=asked)
        else:
            status = {"book": book, "fuzz": fuzz}[part]()
        rows.append((part, status, time.perf_counter() - start))
    print()
    for part, status, seconds in rows:
        print(f"{part:12}{'FAILED' if status else 'passed':10}{seconds:8.1f} s")
    return int(any(status for _, status, _ in rows))


if __name__ == "__main__":
    raise SystemExit(main())
