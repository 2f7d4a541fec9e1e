"""The helper process in which kernels run, seen from Python.

One process serves every kernel, one launch at a time. It is replaced after any
failure, so nothing that a kernel does can reach this process: arguments travel
through a shared file and come back only when a launch has ended well.
"""

from __future__ import annotations

import atexit
import contextlib
import mmap
import os
import signal
import socket
import struct
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import NamedTuple

from cuda_labs.errors import CompileError
from cuda_labs.sim import build
from cuda_labs.sim.elf import Image

PRINT_AT, PRINT_MAX = 4096, 1 << 20
FIRST_FREE = PRINT_AT + PRINT_MAX
GRACE = 5.0

_HEAD = struct.Struct("<II")
_LOADED = struct.Struct("<III")
_STATUS = struct.Struct("<4i5Q6IiI4Q2048s")
_LAUNCH = struct.Struct("<QQd4I3I3I6I")
_LOAD = struct.Struct("<5Q")
_REPLY = struct.Struct("<IIQII")
COUNTER = struct.Struct("<II8Q")
FOUND = struct.Struct("<4I3I2I3IQ")
PARAMETER = struct.Struct("<ccBBiii")
_FAILED = 0xFFFFFFFF
_SIGNAL_OUTCOME, _DEADLINE_OUTCOME, _FINDING_OUTCOME = 4, 5, 3

lock = threading.RLock()
_current: list[Process] = []


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


class Process:
    """A running helper: start, load, launch."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        folder = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (kept open)
        self.size = 0
        self.memory: mmap.mmap | None = None
        self.reserve(FIRST_FREE)
        ours, theirs = socket.socketpair()
        with theirs:
            self._child = subprocess.Popen(
                [str(build.host()), str(self._file.fileno())],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.DEVNULL,
                pass_fds=(self._file.fileno(),),
            )
        self._socket = ours

    def reserve(self, size: int) -> None:
        """Make the shared file at least `size` bytes long."""
        if size <= self.size:
            return
        self.size = 1 << (size - 1).bit_length()
        os.ftruncate(self._file.fileno(), self.size)
        self.memory = mmap.mmap(self._file.fileno(), self.size)

    def load(self, path: Path, image: Image) -> tuple[int, int, bytes]:
        """Load a compiled kernel: number, threads that it allows, parameters."""
        variables = [*image.shared, *image.device]
        low, high = image.data
        request = _LOAD.pack(low, high, image.size, len(variables), len(image.shared))
        for v in variables:
            request += struct.pack("<QQ", v.offset, v.size)
        self._socket.settimeout(GRACE)
        self._send(1, request + bytes(path) + b"\0")
        number, count, bound = _LOADED.unpack(self._receive(_LOADED.size))
        if number == _FAILED:
            text = self._receive(count).decode(errors="replace")
            name = text.rpartition("undefined symbol: ")[2]
            raise CompileError(f"the simulator does not have {name}")
        return number, bound, self._receive(count * PARAMETER.size)

    def launch(
        self,
        number: int,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        dynamic: int,
        arguments: list[tuple[int, bool]],
        buffers: list[tuple[int, int]],
        image: Image,
        device_at: int,
        *,
        mode: int,
        flush: bool,
        order: int,
        deadline: float,
        learn: bool = False,
        workers: int = 1,
    ) -> Reply:
        """Run one launch to its end. Raises `Died` when the process ends."""
        fields = [*arguments, *buffers]
        fields += [(v.offset, v.size) for v in image.shared]
        at = device_at
        for v in image.device:
            fields += [(v.offset, v.size), (at, v.size)]
            at += (v.size + 15) // 16 * 16
        head = _LAUNCH.pack(
            self.size,
            order,
            deadline,
            number,
            mode,
            flush,
            dynamic,
            *grid,
            *block,
            len(arguments),
            len(buffers),
            len(image.shared),
            len(image.device),
            learn,
            workers,
        )
        flat = [int(value) for pair in fields for value in pair]
        self._socket.settimeout(deadline + GRACE)
        late = False
        try:
            self._send(2, head + struct.pack(f"<{len(flat)}Q", *flat))
            counters, found, footprint, again, _ = _REPLY.unpack(
                self._receive(_REPLY.size)
            )
            return Reply(
                self.status(),
                self._receive(counters * COUNTER.size),
                self._receive(found * FOUND.size),
                footprint,
                bool(again),
                [],
            )
        except TimeoutError:
            late = True
        except (ConnectionError, EOFError):
            pass
        self.close()
        raise Died(self.status(), late)

    def status(self) -> Status:
        """The status page as it stands."""
        assert self.memory is not None
        f = _STATUS.unpack_from(self.memory, 0)
        text = f[21].split(b"\0", 1)[0].decode(errors="replace")
        block, thread = (f[9], f[10], f[11]), (f[12], f[13], f[14])
        head, tail = f[:4], f[15:21]
        return Status._make((*head, f[4:8], f[8], block, thread, *tail, text))

    def printed(self, status: Status) -> str:
        """What the launch printed."""
        assert self.memory is not None
        end = PRINT_AT + min(status.printed, PRINT_MAX)
        return self.memory[PRINT_AT:end].decode(errors="replace")

    def close(self) -> None:
        """End the process now."""
        if self in _current:
            _current.remove(self)
        if os.getpid() != self.owner:
            return
        self._socket.close()
        with contextlib.suppress(ProcessLookupError):
            if self._child.poll() is None:
                self._child.send_signal(signal.SIGKILL)
        self._child.wait()

    def _send(self, operation: int, payload: bytes) -> None:
        self._socket.sendall(_HEAD.pack(operation, len(payload)) + payload)

    def _receive(self, size: int) -> bytes:
        parts = b""
        while len(parts) < size:
            got = self._socket.recv(size - len(parts))
            if not got:
                raise EOFError
            parts += got
        return parts


def current() -> Process:
    """The running helper of this process, started when there is none."""
    if _current and _current[0].owner != os.getpid():
        _current.clear()  # forked: the helper belongs to the parent
    if not _current:
        _current.append(Process())
    return _current[0]


@atexit.register
def _end() -> None:
    while _current:
        _current[-1].close()
