"""What can go wrong with a kernel, by cause."""

from __future__ import annotations


class CompilerMissing(ImportError):
    """A compiler that is needed is not installed; the message says how to."""


class CompileError(RuntimeError):
    """The source was rejected. `log` is what the compiler printed."""

    def __init__(self, message: str, log: str = "") -> None:
        super().__init__(message)
        self.log = log


class Unsupported(CompileError):
    """The simulator does not have this construct. `line` is where it stands."""

    def __init__(self, construct: str, line: int) -> None:
        super().__init__(
            f"line {line}: the simulator does not have {construct}; "
            "Kernel.compile tells whether NVIDIA's compiler does"
        )
        self.construct = construct
        self.line = line


class KernelError(RuntimeError):
    """A launch failed. Every argument holds its value from before the call.

    kind: such as "out of bounds"; line: in the source, or None; block and
    thread: (x, y, z) indices of the thread that failed, or None when the
    finding concerns a whole block.
    """

    def __init__(
        self,
        kind: str,
        message: str,
        line: int | None = None,
        block: tuple[int, int, int] | None = None,
        thread: tuple[int, int, int] | None = None,
    ) -> None:
        place = [] if line is None else [f"line {line}"]
        place += [] if block is None else [f"block {block}"]
        place += [] if thread is None else [f"thread {thread}"]
        where = f"{', '.join(place)}: " if place else ""
        super().__init__(f"{where}{message}")
        self.kind = kind
        self.line = line
        self.block = block
        self.thread = thread
