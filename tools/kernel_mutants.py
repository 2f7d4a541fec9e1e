"""Damage good kernels at random, run them, and count what becomes of it.

    python tools/kernel_mutants.py --count 500 --seed 1 --json out.json

Each mutant is a rung of a ladder with one change in its code: an operator, a number, an
index, a variable, a barrier or a whole statement. It counts when it compiles and is
launched. Whatever it does, this process must live, no array may change when a launch
fails, and a good kernel must run after it. What came of it is one of

    crash     the helper process got a signal, or ran out of stack
    endless   the deadline ended the launch
    finding   an error that the simulator names, with its line
    wrong     it ended, and the result is not that of the reference
    equal     it ended, and the result is right

With --profile a mutant that ended is profiled as well, and a race or a load of what
nothing has written makes it a finding. `$CUDA_LABS_CXX` chooses the compiler.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from kernel_changes import CHANGES

from cuda_labs import CompileError, Kernel, KernelError, check, ladders
from cuda_labs.sim import build, source

CRASHES = {"signal", "stack overflow", "crash"}
OUTCOMES = ("crash", "endless", "finding", "wrong", "equal")
SECONDS = 0.5  # for a launch of a few thousand threads


@dataclass
class Tally:
    """What became of the mutants; each of `kinds` is a finding's."""

    outcomes: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    rejected: int = 0

    @property
    def counted(self) -> int:
        """Mutants that compiled and were launched."""
        return sum(self.outcomes.values())

    def add(self, other: Tally) -> None:
        """Count `other` in."""
        self.outcomes += other.outcomes
        self.kinds += other.kinds
        self.rejected += other.rejected

    def shares(self) -> dict[str, Any]:
        """As JSON: numbers and shares."""
        total = max(self.counted, 1)
        return {
            "counted": self.counted,
            "not compiled": self.rejected,
            "outcomes": {name: self.outcomes[name] for name in OUTCOMES},
            "shares": {
                name: round(self.outcomes[name] / total, 4) for name in OUTCOMES
            },
            "findings": dict(self.kinds.most_common()),
        }


def mutate(text: str, rng: random.Random) -> str:
    """`text` with one change below its head comment."""
    bare = source.blank(text)
    begin = re.search(r"^(?:__device__|extern|template)", bare, re.M)
    places = [
        (match.span(), after)
        for pattern, choices in CHANGES
        for match in re.finditer(pattern, bare)
        if begin is None or match.start() >= begin.start()
        for after in choices
        if after != match.group()
    ]
    (start, end), after = rng.choice(places)
    return text[:start] + after.replace("{n}", text[start:end]) + text[end:]


def mutants(seed: int) -> Iterator[tuple[ladders.Rung, str]]:
    """Rungs with damaged sources, no two alike, without end."""
    rng = random.Random(seed)
    rungs = [
        ladders.load(name, rung)
        for name in ladders.operations()
        for rung in ladders.rungs(name)
    ]
    seen: set[str] = set()
    while True:
        rung = rng.choice(rungs)
        text = mutate(rung.kernel.source, rng)
        if text not in seen:
            seen.add(text)
            yield rung, text


def arrays(values: Any) -> list[np.ndarray[Any, Any]]:
    """The arrays among a launch's arguments."""
    return [x for x in values if isinstance(x, np.ndarray) and x.ndim]


def attempt(rung: ladders.Rung, text: str, tally: Tally, profile: bool) -> None:
    """Run one mutant and count it. Raises AssertionError when it did harm."""
    kernel = Kernel(text, rung.kernel.name)
    damaged = replace(rung, kernel=kernel)
    inputs = rung.operation.sample(rung.shapes[1 % len(rung.shapes)], _rng())
    plan = damaged.plan(*inputs)
    try:
        for step in plan.launches:
            before = [x.tobytes() for x in arrays(step.args)]
            try:
                kernel(
                    step.grid, step.block, step.args, step.shared_mem, timeout=SECONDS
                )
            except KernelError as error:
                if [x.tobytes() for x in arrays(step.args)] != before:
                    raise AssertionError("a failed launch changed an array") from error
                _failed(error.kind, tally)
                return
    except (CompileError, ValueError):  # what the compiler or the launch refuses
        tally.rejected += 1
        return
    if profile:
        first = damaged.plan(*inputs).launches[0]
        found = kernel.profile(
            first.grid, first.block, first.args, first.shared_mem, timeout=20.0
        )
        if found.errors:
            _failed(found.errors[0].kind, tally)
            return
    try:
        damaged.check(plan.output, *inputs)
        tally.outcomes["equal"] += 1
    except check.Mismatch:
        tally.outcomes["wrong"] += 1


def _failed(kind: str, tally: Tally) -> None:
    if kind in CRASHES:
        tally.outcomes["crash"] += 1
    elif kind == "deadline":
        tally.outcomes["endless"] += 1
    else:
        tally.outcomes["finding"] += 1
    tally.kinds[kind] += 1


def _rng() -> np.random.Generator:
    return np.random.default_rng(5)


def run(
    count: int,
    seed: int,
    profile: bool = False,
    *,
    share: tuple[int, int] = (0, 1),
    folder: Path | None = None,
) -> Tally:
    """Mutants until `count` of them have counted; then a good kernel must run.

    share: (j, n) takes every n-th mutant from the j-th on; folder: where the compiled
    ones are kept, each of them only while it runs, in place of the user's cache.
    """
    if folder is not None:
        os.environ["CUDA_LABS_CACHE"] = str(folder)
    tally = Tally()
    for rung, text in islice(mutants(seed), share[0], None, share[1]):
        if tally.counted >= count:
            break
        attempt(rung, text, tally, profile)
        for spent in folder.glob("*.so") if folder else ():
            spent.unlink()
    good = ladders.load("matmul", "03_shared")
    data = good.operation.sample((17, 31, 45), _rng())
    good.check(good.run(*data), *data)
    return tally


def divided(count: int, seed: int, profile: bool, jobs: int) -> Tally:
    """`run` by several processes, each with a share of the mutants."""
    total = Tally()
    with (
        tempfile.TemporaryDirectory(prefix="cuda_labs-mutants-") as folder,
        ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool,
    ):
        running = []
        for j in range(jobs):
            own = Path(folder, str(j))
            own.mkdir(mode=0o700)
            part = count // jobs + (j < count % jobs)
            running.append(
                pool.submit(run, part, seed, profile, share=(j, jobs), folder=own)
            )
        for part in running:
            total.add(part.result())
    return total


def main() -> int:
    """The command line; 0 when nothing did harm."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--count", type=int, default=200, help="mutants that count")
    parser.add_argument("--seed", type=int, default=0, help="which mutants")
    parser.add_argument("--json", type=Path, help="where to write the shares")
    parser.add_argument("--profile", action="store_true", help="profile them as well")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    options = parser.parse_args()
    tally = divided(options.count, options.seed, options.profile, options.jobs)
    result = {"compiler": build.compiler().family, "seed": options.seed}
    result |= tally.shares()
    text = json.dumps(result, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
