"""Break genflow_lite on purpose and see whether anything notices.

    python tools/mutate.py --minutes 60 --seed 0

Every mutant changes one sign, factor, index or comparison in a copy of the package
(Cosmic Ray finds the places and makes the change). It is killed when a unit test or a
check of the book fails: first the tests named after the module, then the others, then
the chapters. Mutants are tried in a random order that the seed fixes, until the time
is up; a later run goes on where this one stopped, as long as the module is unchanged.
The account is printed and written to ``benchmarks/results/mutation.json``.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator
from package_mutants import Mutant, mutants

ROOT = Path(__file__).resolve().parents[1]
LOG = ROOT / "_build" / "mutation.jsonl"
RESULTS = ROOT / "benchmarks" / "results" / "mutation.json"
COPIED = ("genflow_lite", "tests", "book", "conftest.py", "pyproject.toml", "_toc.yml")
PYTEST = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]


def tests_of(module: str) -> list[str]:
    """The test files named after a module: of ``ode`` test_ode and test_ode_…"""
    name = "test_" + Path(module).stem.strip("_")
    return sorted(
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tests").glob("test_*.py")
        if path.stem == name or path.stem.startswith(name + "_")
    )


def other_tests(own: list[str]) -> list[str]:
    """The other unit tests of the package's mathematics."""
    kinds = ("citations", "cuda", "explorer", "ledger", "modules", "no_network")
    kinds += ("counters_", "gpu_", "notebooks", "simulator_", "tiled_", "verify")
    avoid = tuple(f"test_{kind}" for kind in kinds)
    return sorted(
        name
        for path in (ROOT / "tests").glob("test_*.py")
        if not path.name.startswith(avoid)
        and (name := path.relative_to(ROOT).as_posix()) not in own
    )


class Trial:
    """A copy of the tree in which one module at a time is broken."""

    def __init__(self, folder: Path, book: bool) -> None:
        self.folder, self.book = folder, book
        for name in COPIED:
            source, target = ROOT / name, folder / name
            if source.is_dir():
                ignore = shutil.ignore_patterns("_vendor", "__pycache__")
                shutil.copytree(source, target, ignore=ignore)
            else:
                shutil.copy2(source, target)

    def fails(self, arguments: list[str], limit: float) -> bool:
        """Does this pytest run fail (or hang, which a reader would notice too)?"""
        env = os.environ | {"PYTHONPATH": str(self.folder), "OMP_NUM_THREADS": "1"}
        env |= {"PYTHONDONTWRITEBYTECODE": "1", "MKL_NUM_THREADS": "1"}
        try:
            done = subprocess.run(
                [*PYTEST, *arguments],
                cwd=self.folder,
                env=env,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=limit,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return True
        return done.returncode not in (0, 5)

    def judge(self, mutant: Mutant) -> str:
        """Who kills the mutant: 'own tests', 'other tests', 'book' or 'nobody'."""
        target = self.folder / mutant.module
        healthy = target.read_text("utf-8")
        operator = get_operator(mutant.operator)()
        broken = mutate_code(healthy, operator, mutant.occurrence)
        if broken is None or broken == healthy:
            return "no change"
        target.write_text(broken, encoding="utf-8")
        try:
            own = tests_of(mutant.module)
            if own and self.fails(own, 300):
                return "own tests"
            if self.fails(other_tests(own), 600):
                return "other tests"
            if self.book and self.fails(["--nbval", "book/"], 1200):
                return "book"
        finally:
            target.write_text(healthy, encoding="utf-8")
        return "nobody"


def account(all_mutants: list[Mutant], verdicts: dict[str, str], seed: int) -> dict:
    """The share that was killed, by module, and every survivor."""
    tried = [m for m in all_mutants if m.key in verdicts]
    counted = [m for m in tried if verdicts[m.key] != "no change"]
    modules: dict[str, dict[str, int]] = {}
    for mutant in counted:
        row = modules.setdefault(mutant.module, {"tried": 0, "killed": 0})
        row["tried"] += 1
        row["killed"] += verdicts[mutant.key] != "nobody"
    killed = sum(row["killed"] for row in modules.values())
    killers = ("own tests", "other tests", "book")
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "seed": seed,
        "possible": len(all_mutants),
        "tried": len(counted),
        "killed": killed,
        "share": round(killed / len(counted), 4) if counted else None,
        "killed by": {
            who: sum(verdicts[m.key] == who for m in counted) for who in killers
        },
        "modules": modules,
        "survivors": [
            f"{m.module}:{m.line} in {m.definition}: {m.operator.removeprefix('core/')}"
            for m in counted
            if verdicts[m.key] == "nobody"
        ],
    }


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=60.0, help="time to spend")
    parser.add_argument("--seed", type=int, default=0, help="order of the mutants")
    parser.add_argument("--no-book", action="store_true", help="unit tests only")
    parser.add_argument("--only", default="", help="modules whose name contains this")
    options = parser.parse_args()
    everything = [m for m in mutants() if options.only in m.module]
    order = everything.copy()
    random.Random(options.seed).shuffle(order)
    LOG.parent.mkdir(exist_ok=True)
    verdicts: dict[str, str] = {}
    if LOG.exists():
        for line in LOG.read_text("utf-8").splitlines():
            entry = json.loads(line)
            verdicts[entry["key"]] = entry["verdict"]
    deadline = time.monotonic() + 60 * options.minutes
    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(Path(folder), not options.no_book)
        if trial.fails(other_tests([]), 1200):
            print("mutate: the tests fail before anything is broken", file=sys.stderr)
            return 1
        for mutant in order:
            if time.monotonic() > deadline:
                break
            if mutant.key in verdicts:
                continue
            verdict = verdicts[mutant.key] = trial.judge(mutant)
            with LOG.open("a", encoding="utf-8") as log:
                log.write(json.dumps({"key": mutant.key, "verdict": verdict}) + "\n")
            print(f"{verdict:12} {mutant.module}:{mutant.line} {mutant.operator}")
    result = account(everything, verdicts, options.seed)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    for line in result["survivors"]:
        print("survived:", line)
    if not result["tried"]:
        print("no mutant was tried: give it more minutes")
        return 1
    print(
        f"{result['killed']} of {result['tried']} mutants killed "
        f"({100 * result['share']:.1f} %), of {result['possible']} possible"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
