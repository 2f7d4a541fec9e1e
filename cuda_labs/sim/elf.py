"""Read what the launcher needs from a compiled kernel: an ELF64 shared object.

Only the section and symbol tables are read, in the layout of the System V ABI
(gABI, chapter 4). Source lines come from DWARF through pyelftools, and only
when a report needs them.
"""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_WRITABLE, _SYMTAB, _RELA, _OBJECT, _FUNCTION, _LOAD = 1, 2, 4, 1, 2, 1


@dataclass(frozen=True)
class Variable:
    """A variable with static storage: offset in the object, and bytes."""

    name: str
    offset: int
    size: int


@dataclass(frozen=True)
class Image:
    """The writable variables of an object.

    shared: `__shared__` arrays; device: `__device__` and `__constant__`
    variables; pointers: those whose initial values are addresses, which the
    loader writes; dynamic: whether code would have to run to initialise some;
    data: first and last offset of the writable part; size: bytes
    that the object takes in memory.
    """

    shared: tuple[Variable, ...]
    device: tuple[Variable, ...]
    constant: tuple[Variable, ...]
    data: tuple[int, int]
    size: int
    pointers: tuple[Variable, ...] = ()
    dynamic: bool = False


def read_image(path: Path) -> Image:
    """Sections, symbols and extent of the object at `path`."""
    raw = path.read_bytes()
    if raw[:6] != b"\x7fELF\x02\x01":
        raise ValueError(f"{path}: no little-endian ELF64 object")
    (segments_at, sections_at) = struct.unpack_from("<QQ", raw, 32)
    segment_size, segment_count = struct.unpack_from("<HH", raw, 54)
    section_size, section_count, names = struct.unpack_from("<HHH", raw, 58)
    size = 0
    for i in range(segment_count):
        seg = _SEGMENT.unpack_from(raw, segments_at + i * segment_size)
        if seg[0] == _LOAD:
            size = max(size, seg[3] + seg[6])
    sections = [
        _SECTION.unpack_from(raw, sections_at + i * section_size)
        for i in range(section_count)
    ]
    strings = sections[names][4]
    titles = [_string(raw, strings + s[0]) for s in sections]
    writable = {i for i, s in enumerate(sections) if s[2] & _WRITABLE and s[3]}
    low = min((sections[i][3] for i in writable), default=size)
    high = max((sections[i][3] + sections[i][5] for i in writable), default=size)
    shared, device, constant, pointers = [], [], [], []
    moved = sorted(_relocated(raw, sections))
    dynamic = False
    for section in sections:
        if section[1] != _SYMTAB:
            continue
        text = sections[section[6]][4]
        for at in range(section[4], section[4] + section[5], _SYMBOL.size):
            name_at, info, _, index, value, length = _SYMBOL.unpack_from(raw, at)
            if info & 15 == _FUNCTION:
                dynamic |= _string(raw, text + name_at).startswith("_GLOBAL__sub_I")
            if info & 15 != _OBJECT or not length or index >= section_count:
                continue
            variable = Variable(_string(raw, text + name_at), value, length)
            if index not in writable:
                constant.append(variable)
            elif titles[index].startswith((".dynamic", ".got")):
                continue
            elif titles[index].startswith(".data.rel.ro"):
                pointers.append(variable)
            # A static local of a template loses its section in g++; its
            # mangled name says that it is local.
            elif titles[index] == "simshared" or variable.name.startswith("_ZZ"):
                shared.append(variable)
            elif bisect_left(moved, value) < bisect_left(moved, value + length):
                pointers.append(variable)
            else:
                device.append(variable)
    return Image(
        tuple(shared),
        tuple(device),
        tuple(constant),
        (low, high),
        size,
        tuple(pointers),
        dynamic,
    )


def _relocated(raw: bytes, sections: list[tuple[int, ...]]) -> set[int]:
    """Offsets of the words that the loader changes."""
    return {
        struct.unpack_from("<Q", raw, at)[0]
        for s in sections
        if s[1] == _RELA
        for at in range(s[4], s[4] + s[5], 24)
    }


def initial_bytes(path: Path, offset: int, size: int) -> bytes:
    """The `size` bytes that a variable at `offset` starts out with."""
    raw = path.read_bytes()
    (at,) = struct.unpack_from("<Q", raw, 32)
    step, count = struct.unpack_from("<HH", raw, 54)
    for i in range(count):
        seg = _SEGMENT.unpack_from(raw, at + i * step)
        kind, begin, low, in_file, in_memory = seg[0], seg[2], seg[3], seg[5], seg[6]
        if kind == _LOAD and low <= offset < low + in_memory:
            first = offset - low
            data = raw[begin + min(first, in_file) : begin + min(first + size, in_file)]
            return data + bytes(size - len(data))
    raise ValueError(f"{path}: no segment holds offset {offset}")


def _string(raw: bytes, at: int) -> str:
    return raw[at : raw.index(b"\0", at)].decode()


class Lines:
    """Source lines of an object's instructions."""

    def __init__(self, path: Path, source: str) -> None:
        from elftools.elf.elffile import ELFFile

        self._source = source
        self._rows: list[tuple[int, int, str]] = []
        self._inlined: list[tuple[int, int, int, str]] = []
        with path.open("rb") as stream:
            elf = ELFFile(stream)
            if not elf.has_dwarf_info():
                return
            info: Any = elf.get_dwarf_info()
            for unit in info.iter_CUs():
                files = self._program(info, unit)
                self._calls(info, unit, files)
        self._rows.sort(key=lambda row: (row[0], row[2] != ""))
        self._starts = [row[0] for row in self._rows]

    def __call__(self, offset: int) -> int:
        """Line of the call whose return address is `offset`; 0 if unknown.

        Code inlined from the simulator's own headers counts as the line in
        the kernel from which it was called.
        """
        at = offset - 1
        if offset <= 0 or not self._rows:
            return 0
        index = bisect_right(self._starts, at) - 1
        if index < 0 or not self._rows[index][2]:
            return 0  # between functions
        row = self._rows[index]
        if row[2] == self._source:
            return row[1]
        best = (1 << 62, 0)
        for low, high, line, file in self._inlined:
            if low <= at < high and file == self._source:
                best = min(best, (high - low, line))
        return best[1]

    def _program(self, info: Any, unit: Any) -> list[str]:
        program = info.line_program_for_CU(unit)
        if program is None:
            return []
        entries = program["file_entry"]
        first = 0 if program["version"] >= 5 else 1
        files = [""] * first + [_text(entry.name) for entry in entries]
        for entry in program.get_entries():
            state = entry.state
            if state is None:
                continue
            file = "" if state.end_sequence else files[state.file]
            self._rows.append((state.address, state.line, file))
        return files

    def _calls(self, info: Any, unit: Any, files: list[str]) -> None:
        ranges = info.range_lists()
        for die in unit.iter_DIEs():
            if die.tag != "DW_TAG_inlined_subroutine":
                continue
            field = die.attributes
            if "DW_AT_call_line" not in field:
                continue
            line = field["DW_AT_call_line"].value
            index = field["DW_AT_call_file"].value
            file = files[index] if index < len(files) else ""
            if "DW_AT_low_pc" in field and "DW_AT_high_pc" in field:
                low = field["DW_AT_low_pc"].value
                high = field["DW_AT_high_pc"]
                end = high.value + (low if high.form != "DW_FORM_addr" else 0)
                self._inlined.append((low, end, line, file))
            elif "DW_AT_ranges" in field and ranges is not None:
                at = field["DW_AT_ranges"].value
                base = _base(unit)
                for entry in ranges.get_range_list_at_offset(at, unit):
                    if hasattr(entry, "base_address"):
                        base = entry.base_address
                        continue
                    start = 0 if getattr(entry, "is_absolute", False) else base
                    self._inlined.append(
                        (
                            entry.begin_offset + start,
                            entry.end_offset + start,
                            line,
                            file,
                        )
                    )


def _base(unit: Any) -> int:
    low = unit.get_top_DIE().attributes.get("DW_AT_low_pc")
    return low.value if low is not None else 0


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name


@lru_cache(maxsize=64)
def lines_of(path: Path, source: str) -> Lines:
    """The lines of the object at `path`, read once."""
    return Lines(path, source)
