"""The roofline: what arithmetic and memory allow, and how near a kernel comes.

A kernel that makes F operations on B bytes takes at least max(F / P, B / W) seconds
on a machine with P operations and W bytes a second: in operations a second,
min(P, W F / B). F / B is its arithmetic intensity, P / W the ridge at which the
limit changes. Williams et al. (2009), *Roofline*.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cuda_labs.clock import Clock, measure

# Operations a clock and multiprocessor, a multiply-add being two: float on the
# ordinary units, half or bfloat16 with sums in float on the tensor cores (dense).
# NVIDIA, CUDA C++ Programming Guide, "Arithmetic Instructions", and the
# architectures' white papers.
_A_CLOCK: dict[tuple[int, int], tuple[int, int | None]] = {
    (7, 0): (128, 1024),
    (7, 5): (128, 1024),
    (8, 0): (128, 2048),
    (8, 6): (256, None),
    (8, 9): (256, None),
    (9, 0): (256, 4096),
    (10, 0): (256, 8192),
    (12, 0): (256, None),
}


@dataclass(frozen=True)
class Machine:
    """A GPU's name and its roofs.

    bandwidth: bytes a second of a copy, measured; fp32, tensor: operations a
    second at the highest clock, or None where they are not known; capability: such
    as (9, 0), or None for what is no GPU.
    """

    name: str
    bandwidth: float
    fp32: float | None = None
    tensor: float | None = None
    capability: tuple[int, int] | None = None

    def refuses(self, least: str) -> str:
        """Why a kernel that needs the architecture `least` cannot run here, or "".

        "sm_80" asks for that capability or a later one, "sm_90a" for 9.0 itself;
        "" asks for nothing.
        """
        if not least:
            return ""
        if self.capability is None:
            return f"needs a GPU ({least})"
        digits = least.removeprefix("sm_").rstrip("af")
        wanted = int(digits[:-1]), int(digits[-1])
        exact = not least.endswith(digits)
        fits = self.capability == wanted if exact else self.capability >= wanted
        return "" if fits else f"needs {least}, this is {self.capability}"

    def peak(self, unit: str) -> float | None:
        """Operations a second of "fp32" or "tensor"."""
        if unit not in ("fp32", "tensor"):
            raise ValueError(f"unit: 'fp32' or 'tensor', got {unit!r}")
        return self.fp32 if unit == "fp32" else self.tensor


@dataclass(frozen=True)
class Place:
    """Where a measured kernel stands on the roofline.

    bytes_rate, flop_rate: a second; intensity: operations a byte; least: the
    seconds that the roof allows; bound: "memory" or "compute"; share: of the roof
    that is reached, least / seconds.
    """

    bytes_rate: float
    flop_rate: float
    intensity: float
    least: float
    bound: str
    share: float


def place(
    seconds: float, nbytes: float, flops: float, machine: Machine, unit: str = "fp32"
) -> Place:
    """The place of a kernel that took `seconds` for `flops` on `nbytes`.

    nbytes: what any kernel must move, each array once. A share above 1 means that
    data stayed in a cache. Raises ValueError unless seconds and nbytes are above 0.
    """
    for name, value in (("seconds", seconds), ("nbytes", nbytes)):
        if not value > 0:
            raise ValueError(f"{name}: above 0, got {value}")
    by_memory = nbytes / machine.bandwidth
    peak = machine.peak(unit)
    by_compute = flops / peak if peak else 0.0
    least = max(by_memory, by_compute)
    return Place(
        nbytes / seconds,
        flops / seconds,
        flops / nbytes,
        least,
        "memory" if by_memory >= by_compute else "compute",
        least / seconds,
    )


def of_device(clock: Clock, cupy: Any = None) -> Machine:
    """The current GPU: a copy of 512 MB is timed, the peaks follow from its units."""
    if cupy is None:
        import cupy  # pyright: ignore[reportMissingImports]
    device = cupy.cuda.Device()
    source = cupy.zeros(1 << 27, "f4")
    target = cupy.empty_like(source)
    copy = measure(clock, lambda: cupy.copyto(target, source), repeats=20)
    runtime = cupy.cuda.runtime
    name = runtime.getDeviceProperties(device.id)["name"]
    name = name.decode() if isinstance(name, bytes) else str(name)
    digits = str(device.compute_capability)
    capability = int(digits[:-1]), int(digits[-1])
    units, kilohertz = (
        runtime.deviceGetAttribute(attribute, device.id)
        for attribute in (
            runtime.cudaDevAttrMultiProcessorCount,
            runtime.cudaDevAttrClockRate,
        )
    )
    fp32, tensor = _A_CLOCK.get(capability, (None, None))
    clocks = 1e3 * kilohertz * units
    return Machine(
        name,
        2 * source.nbytes / copy.median,
        clocks * fp32 if fp32 else None,
        clocks * tensor if tensor else None,
        capability,
    )
