"""The ladder of each operation: kernels, launches, references and shapes.

    rung = ladders.load("matmul", 3)
    c = rung.run(a, b)
    rung.check(c, a, b)

A rung is a `.cu` file together with what its head comment calls the launch
contract: block, grid, what must be zero before, which sizes it takes.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from cuda_labs import arguments, check
from cuda_labs.kernel import Kernel
from cuda_labs.operations import OPERATIONS
from cuda_labs.plans import Operation, Plan
from cuda_labs.sim.profile import Profile

FOLDER = Path(__file__).parent / "kernels"


@dataclass(frozen=True)
class Rung:
    """A kernel of a ladder. `name` is the file's, such as "03_shared"."""

    operation: Operation
    name: str
    kernel: Kernel

    @property
    def gpu_only(self) -> bool:
        """Whether the kernel holds inline PTX, which the simulator refuses."""
        return least(self.operation.name, self.name) != ""

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes on which this rung is tested."""
        return self.operation.special.get(self.name, self.operation.shapes)

    def plan(self, *inputs: Any) -> Plan:
        """Grid, block and arguments for these inputs; the output is poisoned.

        Raises ValueError for sizes that the rung does not take, TypeError for
        inputs too few or too many or that are no arrays.
        """
        return self.operation.plan(self.name, self._rounded(inputs))

    def run(self, *inputs: Any) -> Any:
        """The result of the kernel on NumPy or CuPy arrays."""
        plan = self.plan(*inputs)
        for launch in plan.launches:
            self.kernel(launch.grid, launch.block, launch.args, launch.shared_mem)
        return plan.output

    def profile(self, *inputs: Any) -> Profile:
        """The profile of the first launch."""
        first = self.plan(*inputs).launches[0]
        return self.kernel.profile(
            first.grid, first.block, first.args, first.shared_mem
        )

    def check(self, result: Any, *inputs: Any) -> check.Comparison:
        """Compare with the reference, or raise `check.Mismatch`.

        The reference takes the inputs as the kernel did: rounded to half for
        tensor cores, and then exact.
        """
        rounded = self._rounded(inputs)
        host = tuple(x.get() if hasattr(x, "get") else x for x in rounded)
        expected, k, scale = self.operation.judge(*host)
        return check.agree(result, expected, k=k, scale=scale)

    def _rounded(self, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        wanted = _axes(self.operation.name, self.name)
        if len(inputs) != len(wanted):
            names = ", ".join(name for name, _ in wanted)
            raise TypeError(f"inputs: {names} are needed, got {len(inputs)}")
        for (name, axes), value in zip(wanted, inputs, strict=True):
            if axes:
                arguments.expect_array(name, value, axes)
        dtype = self.operation.rounds.get(self.name)
        return inputs if dtype is None else tuple(x.astype(dtype) for x in inputs)


@lru_cache(maxsize=128)
def _axes(operation: str, rung: str) -> tuple[tuple[str, int], ...]:
    """Name and number of dimensions of each input; 0 for a number."""
    own = OPERATIONS[operation]
    own = own.variants.get(rung, own)
    sample = own.sample(own.special.get(rung, own.shapes)[0], np.random.default_rng(0))
    named = [
        p.name
        for p in inspect.signature(own.judge).parameters.values()
        if p.kind is p.POSITIONAL_OR_KEYWORD
    ]
    rest = [f"input {i}" for i in range(len(named) + 1, len(sample) + 1)]
    return tuple(
        (name, getattr(x, "ndim", 0))
        for name, x in zip((*named, *rest), sample, strict=True)
    )


def operations() -> tuple[str, ...]:
    """Names of all ladders."""
    return tuple(sorted(OPERATIONS))


def rungs(operation: str, *, gpu_only: bool = False) -> tuple[str, ...]:
    """Names of a ladder's rungs, in order; with `gpu_only` those for GPUs alone too.

    Without it every rung named runs on the simulator as well.
    """
    _known(operation)
    names = sorted(p.stem for p in (FOLDER / operation).glob("[0-9][0-9]_*.cu"))
    apart = OPERATIONS[operation].gpu_only
    return tuple(name for name in names if gpu_only or name not in apart)


def least(operation: str, rung: str) -> str:
    """The least architecture that a rung needs: "" unless it is for GPUs alone."""
    _known(operation)
    return OPERATIONS[operation].gpu_only.get(rung, "")


@lru_cache(maxsize=128)
def load(operation: str, rung: int | str, *, checked: bool = True) -> Rung:
    """A rung by its number, from 1, or its name; also one for GPUs alone.

    Raises ValueError for an operation or a rung that there is not.
    """
    names = rungs(operation, gpu_only=True)
    if isinstance(rung, int):
        found = [n for n in names if int(n[:2]) == rung]
    else:
        found = [n for n in names if n == rung]
    if not found:
        raise ValueError(f"rung: one of {', '.join(names)}, got {rung!r}")
    path = FOLDER / operation / f"{found[0]}.cu"
    # "sm_90a" is an architecture of its own; "sm_80" means that or a later one.
    wanted = least(operation, found[0])
    arch = wanted if wanted.endswith("a") else None
    kernel = Kernel.from_file(path, checked=checked, arch=arch)
    own = OPERATIONS[operation]
    return Rung(own.variants.get(found[0], own), found[0], kernel)


def _known(operation: str) -> None:
    if operation not in OPERATIONS:
        names = ", ".join(operations())
        raise ValueError(f"operation: one of {names}, got {operation!r}")
