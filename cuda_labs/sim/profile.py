"""What a profiled launch found, by source line.

The counts follow the definitions of NVIDIA's profiler (Nsight Compute,
*Kernel Profiling Guide*, "Memory Tables"). They are source-level: ptxas may
merge or drop loads. Nothing here is a time.

request: a warp's load or store with at least one active lane. Its lanes are at one
place in the source, by the same calls, and in the same round of each loop around it;
what a round does before it leaves a loop for good is no part of the loop. A structure
that is moved whole takes as many requests as there are pieces of its alignment.
sectors: different 32-byte segments that a request touches; ideal: the fewest
that hold its bytes. wavefronts: turns in which shared memory serves a request;
in each phase (32 lanes of up to 4 bytes, 16 of 8, 8 of 16) the largest number
of different words in one of the 32 banks. Wide shared accesses and the loads of
`nvcuda::wmma` are a model, not measured on a GPU. An
asynchronous copy counts as an "async load" of global and an "async store" to
shared memory, apart from the loads and stores of the other kinds.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cuda_labs.errors import KernelError
from cuda_labs.sim import build, display, elf, unit, wire
from cuda_labs.sim.findings import Finding, in_words

KINDS = {
    0: "global load",
    1: "global store",
    2: "shared load",
    3: "shared store",
    4: "global atomic",
    5: "shared atomic",
    6: "variable",
    7: "async load",
    8: "async store",
}
_ERRORS = {"race", "uninitialised", "not arrived"}
_IN_SECTORS = ("global load", "global store", "async load")
_IN_WAVEFRONTS = ("shared load", "shared store", "async store")
_LINE_FLAG = 1 << 31


@dataclass
class Access:
    """Requests of one kind; every field is a sum over requests but `most`.

    lanes: active lanes; bytes: those that the lanes asked for; most: the
    largest number of sectors, or of turns in a phase, of any one request.
    """

    requests: int = 0
    lanes: int = 0
    sectors: int = 0
    ideal_sectors: int = 0
    wavefronts: int = 0
    ideal_wavefronts: int = 0
    bytes: int = 0
    most: int = 0

    def add(self, other: Access) -> None:
        """Count `other` in."""
        for name in ("requests", "lanes", "sectors", "ideal_sectors", "bytes"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.wavefronts += other.wavefronts
        self.ideal_wavefronts += other.ideal_wavefronts
        self.most = max(self.most, other.most)


@dataclass
class Line:
    """The accesses of one source line, by kind."""

    access: dict[str, Access] = field(default_factory=dict)

    def total(self, space: str) -> Access:
        """Loads and stores of "global" or "shared" memory together."""
        sum_ = Access()
        for kind in (f"{space} load", f"{space} store"):
            if kind in self.access:
                sum_.add(self.access[kind])
        return sum_

    @property
    def requests(self) -> int:
        """Warp-level loads and stores of global memory."""
        return self.total("global").requests

    @property
    def sectors_per_request(self) -> float:
        """Sectors for each request of global memory; 4 is a full float warp."""
        return _ratio(self.total("global").sectors, self.total("global").requests)

    @property
    def bank_conflict_ways(self) -> float:
        """Turns for each phase of shared memory; 1 is free of conflicts."""
        shared = self.total("shared")
        return _ratio(shared.wavefronts, shared.ideal_wavefronts)

    @property
    def bank_conflicts(self) -> int:
        """Turns beyond the fewest possible."""
        shared = self.total("shared")
        return shared.wavefronts - shared.ideal_wavefronts


@dataclass(frozen=True, repr=False)
class Profile:
    """Counts and findings of one launch.

    errors: findings that make the kernel wrong; notes: worth knowing; lines:
    accesses by source line; footprint: bytes of the global sectors touched at
    least once.
    """

    source: str
    errors: tuple[Finding, ...]
    notes: tuple[Finding, ...]
    lines: dict[int, Line]
    footprint: int

    @classmethod
    def of_failure(cls, error: KernelError, source: str) -> Profile:
        """The profile of a launch that a fatal finding ended."""
        finding = Finding(
            error.kind, str(error), error.line, block=error.block, fatal=True
        )
        return cls(source, (finding,), (), {}, 0)

    @classmethod
    def of_reply(
        cls,
        reply: wire.Reply,
        built: build.Built,
        source: str,
    ) -> Profile:
        """The profile of a launch that ended well."""
        line_at = elf.lines_of(built.path, unit.SOURCE_NAME)

        def line(place: int) -> int:
            return place - _LINE_FLAG if place >= _LINE_FLAG else line_at(place)

        lines: dict[int, Line] = {}
        for place, kind, *counts in wire.COUNTER.iter_unpack(reply.counters):
            requests, lanes, sectors, ideal, waves, least, size, most = counts
            access = Access(requests, lanes, sectors, ideal, waves, least, size, most)
            at = lines.setdefault(line(place), Line()).access
            at.setdefault(KINDS[kind], Access()).add(access)
        found = [
            in_words(f, line, built, reply.arrays)
            for f in wire.FOUND.iter_unpack(reply.found)
        ]
        errors = tuple(f for f in found if f.kind in _ERRORS)
        notes = tuple(f for f in found if f.kind not in _ERRORS)
        return cls(source, errors, notes, dict(sorted(lines.items())), _bytes(reply))

    def total(self, kind: str) -> Access:
        """All accesses of a kind: one of `KINDS`' values."""
        if kind not in KINDS.values():
            raise ValueError(f"kind: one of {sorted(KINDS.values())}, got {kind!r}")
        sum_ = Access()
        for line in self.lines.values():
            if kind in line.access:
                sum_.add(line.access[kind])
        return sum_

    @property
    def requested_bytes(self) -> int:
        """32 bytes for each sector requested: an upper bound of traffic."""
        return 32 * sum(self.total(kind).sectors for kind in _IN_SECTORS)

    @property
    def table(self) -> list[dict[str, int | float | str]]:
        """One row for each line and kind of access."""
        rows: list[dict[str, int | float | str]] = []
        for number, line in self.lines.items():
            for kind, a in line.access.items():
                row: dict[str, int | float | str] = {"line": number, "access": kind}
                row["requests"] = a.requests
                row["lanes"] = _ratio(a.lanes, a.requests)
                if kind in _IN_SECTORS:
                    row["sectors"] = a.sectors
                    row["sectors/request"] = _ratio(a.sectors, a.requests)
                    row["ideal"] = _ratio(a.ideal_sectors, a.requests)
                if kind in _IN_WAVEFRONTS:
                    row["wavefronts"] = a.wavefronts
                    row["ways"] = _ratio(a.wavefronts, a.ideal_wavefronts)
                rows.append(row)
        return rows

    def __str__(self) -> str:
        return display.text(self)

    def __repr__(self) -> str:
        return str(self) or "Profile: no loads or stores"

    def _repr_html_(self) -> str:
        """The source with its numbers in the margin, the findings above it."""
        return display.page(self)


def _ratio(a: int, b: int) -> float:
    return a / b if b else 0.0


def _bytes(reply: wire.Reply) -> int:
    return 32 * reply.footprint
