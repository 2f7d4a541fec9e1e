"""What the helper process and Python say to each other, in bytes.

The layouts are those of `struct Status`, `Load`, `Launch`, `Counter` and `Found` in
host.cpp, load.cpp, runtime.h and profile.h.
"""

from __future__ import annotations

import mmap
import struct
from typing import NamedTuple

PRINT_AT, PRINT_MAX = 4096, 1 << 20
FIRST_FREE = PRINT_AT + PRINT_MAX

HEAD = struct.Struct("<II")
LOADED = struct.Struct("<III")
LAUNCH = struct.Struct("<QQd4I3I3I6I")
LOAD = struct.Struct("<6Q")
REPLY = struct.Struct("<IIQII")
COUNTER = struct.Struct("<II8Q")
FOUND = struct.Struct("<4I3I2I3IQ")
PARAMETER = struct.Struct("<ccBBiii")
FAILED = 0xFFFFFFFF
_STATUS = struct.Struct("<4i5Q6IiI4Q2048s")


class Status(NamedTuple):
    """The status page: how far a launch came, and why it ended."""

    outcome: int
    kind: int
    line: int
    bytes: int
    pc: tuple[int, ...]
    address: int
    block: tuple[int, int, int]
    thread: tuple[int, int, int]
    signal: int
    printed: int
    arena: int
    image: int
    stack: int
    dynamic: int
    text: str


class Reply(NamedTuple):
    """A launch that ended well; the rest is empty unless it was profiled."""

    status: Status
    counters: bytes
    found: bytes
    footprint: int
    again: bool
    arrays: list[tuple[int, int, int, int]]


class Died(Exception):
    """The process ended during a launch; `status` says how far it came."""

    def __init__(self, status: Status, late: bool) -> None:
        super().__init__("the helper process ended")
        self.status = status
        self.late = late


def status(head: mmap.mmap | bytes) -> Status:
    """The status page as it stands."""
    f = _STATUS.unpack_from(head, 0)
    text = f[21].split(b"\0", 1)[0].decode(errors="replace")
    block, thread = (f[9], f[10], f[11]), (f[12], f[13], f[14])
    return Status._make((*f[:4], f[4:8], f[8], block, thread, *f[15:21], text))


def printed(head: mmap.mmap | bytes, so_far: Status) -> str:
    """What the launch printed."""
    end = PRINT_AT + min(so_far.printed, PRINT_MAX)
    return head[PRINT_AT:end].decode(errors="replace")
