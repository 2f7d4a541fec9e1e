"""Every benchmark, one after another, and a closing table.

    python benchmarks/all.py                 all that this machine can run
    python benchmarks/all.py book digits     some of them

Each writes its own JSON to ``benchmarks/results``. One that fails, for want of a peer
of ``requirements-peers.txt`` for example, does not stop the others; the exit status
tells whether any did. Close other programs first: they measure times.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from cuda_labs import bench

HERE = Path(__file__).resolve().parent
ANYWHERE = (
    "book",
    "samplers",
    "overhead",
    "likelihood",
    "digits",
    "checkerboard",
    "attention",
    "simulator",
)
ON_A_GPU = ("gpu", "counters")
PARTS = (*ANYWHERE, *ON_A_GPU)


def main() -> int:
    """The command line; 0 when every benchmark ran to its end."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}")
    everything = PARTS if bench.gpu() else ANYWHERE
    chosen = parser.parse_args().parts or list(everything)
    for part in chosen:
        if part not in PARTS:
            parser.error(f"there is no part {part!r}; there are {', '.join(PARTS)}")
    rows = []
    for part in chosen:
        print(f"\n=== {part} " + "=" * (68 - len(part)), flush=True)
        start = time.perf_counter()
        script = str(HERE / f"{part}.py")
        done = subprocess.run([sys.executable, script], cwd=HERE.parent, check=False)
        rows.append((part, done.returncode == 0, time.perf_counter() - start))
    print("\n" + "=" * 74)
    for part, ran, seconds in rows:
        print(f"{part:12}{'measured' if ran else 'FAILED':10}{seconds:8.1f} s")
    return int(not all(ran for _, ran, _ in rows))


if __name__ == "__main__":
    raise SystemExit(main())
