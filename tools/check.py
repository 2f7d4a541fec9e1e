"""Everything that CI runs, one part after another, and a closing table.

    python tools/check.py                 all parts
    python tools/check.py lint notebooks  some of them

A part that fails does not stop the others; the exit status tells whether any did.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PY = sys.executable
PYTEST = [PY, "-m", "pytest", "-q", "--color=no", "-p", "no:cacheprovider"]
WORKERS = ["-n", "2", "--dist", "loadscope"]
CLOSING = re.compile(r"(\d+ (?:passed|failed|error|skipped).*?)(?: in [\d.]+s.*)?$")
NO_TESTS = 5  # pytest's exit status when it collected nothing

PARTS: dict[str, list[str]] = {
    "lint": [PY, "-m", "ruff", "check", "."],
    "format": [PY, "-m", "ruff", "format", "--check", "."],
    "types": [PY, "-m", "pyright"],
    "tests": [*PYTEST, *WORKERS, "tests", "--ignore=tests/browser"],
    "notebooks": [*PYTEST, *WORKERS, "--nbval", "book/"],
    "site": [PY, "tools/build_site.py", "--all"],
    # One at a time: beside a browser and JupyterLab two cores have no room for more.
    "browser": [*PYTEST, "tests/browser"],
}


class Result(NamedTuple):
    """One row of the closing table."""

    part: str
    passed: bool
    seconds: float
    note: str


def environment() -> dict[str, str]:
    """The variables that the parts run under: one thread, no network tools."""
    threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")}
    return os.environ | threads | {"PYTHONUNBUFFERED": "1", "TQDM_DISABLE": "1"}


def run(part: str) -> Result:
    """Run one part, showing its output as it comes."""
    print(f"\n=== {part} " + "=" * (68 - len(part)), flush=True)
    start = time.perf_counter()
    note = ""
    with subprocess.Popen(
        PARTS[part],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            closing = CLOSING.search(line.strip(" =\n"))
            if closing and "pytest" in PARTS[part]:
                note = closing.group(1)
        status = process.wait()
    if status == NO_TESTS:
        note = "no tests were found"
    return Result(part, status == 0, time.perf_counter() - start, note)


def table(results: list[Result]) -> str:
    """The closing table."""
    rows = [f"{'part':12}{'result':10}{'seconds':>8}   what"]
    for part, passed, seconds, note in results:
        verdict = "passed" if passed else "FAILED"
        rows.append(f"{part:12}{verdict:10}{seconds:8.1f}   {note}".rstrip())
    total = sum(result.seconds for result in results)
    passed = all(result.passed for result in results)
    rows.append(f"{'all':12}{'passed' if passed else 'FAILED':10}{total:8.1f}")
    return "\n".join(rows)


def main() -> int:
    """The command line; 0 when every part passed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}")
    chosen = parser.parse_args().parts or list(PARTS)
    for part in chosen:
        if part not in PARTS:
            parser.error(f"there is no part {part!r}; there are {', '.join(PARTS)}")
    results = [run(part) for part in chosen]
    print("\n" + "=" * 74 + "\n" + table(results), flush=True)
    return int(not all(result.passed for result in results))


if __name__ == "__main__":
    raise SystemExit(main())
