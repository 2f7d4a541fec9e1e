"""The helper process in which kernels run, seen from Python.

One process serves every kernel, one launch at a time. It is replaced after any
failure, so nothing that a kernel does can reach this process: arguments travel
through a shared file and come back only when a launch has ended well.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import socket
import struct
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

from cuda_labs.errors import CompileError, KernelError
from cuda_labs.sim import build, wire
from cuda_labs.sim.arena import FULL, IN_MEMORY, Arena
from cuda_labs.sim.elf import Image, Variable

GRACE = 5.0

lock = threading.RLock()
_current: list[Process] = []


class Process:
    """A running helper: start, load, launch."""

    def __init__(self, folder: str | None = None, size: int = wire.FIRST_FREE) -> None:
        """Start, with a shared file of `size` bytes in `folder`.

        Raises OSError when the file does not fit there.
        """
        self.owner = os.getpid()
        self.arena = Arena(folder, size)
        ours, theirs = socket.socketpair()
        with theirs:
            self._child = subprocess.Popen(
                [str(build.host()), str(self.arena.fileno)],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.DEVNULL,
                pass_fds=(self.arena.fileno,),
            )
        self._socket = ours

    def load(
        self, path: Path, image: Image, constants: Sequence[Variable] = ()
    ) -> tuple[int, int, bytes]:
        """Load a compiled kernel: number, threads that it allows, parameters.

        constants: those of its variables that it may not change.

        Raises `CompileError` for a function that the simulator lacks, `KernelError`
        when the process ends, as an initialiser of a variable may bring about.
        """
        try:
            return self._load(path, image, constants)
        except TimeoutError:
            self.close()
            raise KernelError(
                "deadline", f"an initialiser ran for more than {GRACE:g} s"
            ) from None
        except (ConnectionError, EOFError):
            self.close()
            raise KernelError(
                "crash",
                "the helper process ended while it loaded the kernel: an "
                "initialiser of a variable failed",
            ) from None
        except CompileError:
            raise
        except BaseException:  # Ctrl-C: half an answer is still to come
            self.close()
            raise

    def _load(
        self, path: Path, image: Image, constants: Sequence[Variable]
    ) -> tuple[int, int, bytes]:
        others = [v for v in image.device if v not in constants]
        variables = [*image.shared, *constants, *others, *image.pointers]
        low, high = image.data
        request = wire.LOAD.pack(
            low, high, image.size, len(variables), len(image.shared), len(constants)
        )
        for v in variables:
            request += struct.pack("<QQ", v.offset, v.size)
        self._socket.settimeout(GRACE)
        self._send(1, request + bytes(path) + b"\0")
        number, count, bound = wire.LOADED.unpack(self._receive(wire.LOADED.size))
        if number == wire.FAILED:
            text = self._receive(count).decode(errors="replace")
            _, missing, name = text.rpartition("undefined symbol: ")
            if missing:
                raise CompileError(f"the simulator does not have {name}")
            raise CompileError(f"the compiled kernel cannot be loaded: {text}")
        return number, bound, self._receive(count * wire.PARAMETER.size)

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
    ) -> wire.Reply:
        """Run one launch to its end. Raises `Died` when the process ends."""
        fields = [*arguments, *buffers]
        fields += [(v.offset, v.size) for v in image.shared]
        at = device_at
        for v in image.device:
            fields += [(v.offset, v.size), (at, v.size)]
            at += (v.size + 15) // 16 * 16
        head = wire.LAUNCH.pack(
            self.arena.size,
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
            counters, found, footprint, again, _ = wire.REPLY.unpack(
                self._receive(wire.REPLY.size)
            )
            return wire.Reply(
                self.status(),
                self._receive(counters * wire.COUNTER.size),
                self._receive(found * wire.FOUND.size),
                footprint,
                bool(again),
                [],
            )
        except TimeoutError:
            late = True
        except (ConnectionError, EOFError):
            pass
        self.close()
        raise wire.Died(self.status(), late)

    def status(self) -> wire.Status:
        """The status page as it stands."""
        return wire.status(self.arena.head)

    def printed(self, status: wire.Status) -> str:
        """What the launch printed."""
        return wire.printed(self.arena.head, status)

    def has_ended(self) -> bool:
        """Whether the process is gone: killed by the system, or by its user."""
        return self._child.poll() is not None

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
        self.arena.release()

    def _send(self, operation: int, payload: bytes) -> None:
        self._socket.sendall(wire.HEAD.pack(operation, len(payload)) + payload)

    def _receive(self, size: int) -> bytes:
        parts = b""
        while len(parts) < size:
            got = self._socket.recv(size - len(parts))
            if not got:
                raise EOFError
            parts += got
        return parts


def current(size: int = wire.FIRST_FREE) -> Process:
    """The running helper of this process, with room for `size` bytes.

    Started when there is none, or when it has ended since the last launch; it gets
    a file on the disk when the one in memory cannot grow (a container's /dev/shm
    often holds 64 MB). Raises MemoryError when neither has room.
    """
    if _current and _current[0].owner != os.getpid():
        _current.clear()  # forked: the helper belongs to the parent
    if _current and _current[0].has_ended():
        _current[0].close()
    if _current:
        try:
            _current[0].arena.reserve(size)
            return _current[0]
        except OSError:
            _current[0].close()
    folders = [IN_MEMORY] if os.access(IN_MEMORY, os.W_OK) else []
    for folder in (*folders, None):
        try:
            _current.append(Process(folder, size))
            return _current[0]
        except OSError as error:
            if error.errno not in FULL:
                raise
    raise MemoryError(
        f"args: {size:,} bytes are needed for copies of the arrays, and neither "
        f"{IN_MEMORY} nor {tempfile.gettempdir()} has room for them"
    )


@atexit.register
def _end() -> None:
    while _current:
        _current[-1].close()
