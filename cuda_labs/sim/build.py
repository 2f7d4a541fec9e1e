"""Compile a kernel, and the process that runs it, with the host's compiler.

Results are kept in a folder private to the user under a name derived from
everything that went into them, so a second call finds the first one's work.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cuda_labs.errors import CompileError, CompilerMissing, Unsupported
from cuda_labs.sim import bounded, elf
from cuda_labs.sim import flags as flags_
from cuda_labs.sim.source import (
    BOUND_PREFIX,
    INCLUDE,
    launch_bound,
    static_local,
    translate,
)

FOLDER = Path(__file__).parent
PARTS = shlex.split(
    "host.cpp watch.cpp builtins.cpp workers.cpp scheduler.cpp warp.cpp memory.cpp "
    "async.cpp faults.cpp profile.cpp requests.cpp points.cpp loops.cpp clocks.cpp "
    "conflicts.cpp races.cpp global_races.cpp"
)
SOURCE_NAME = "kernel.cu"
COMPILER_SECONDS = 60.0
STATIC_SHARED_LIMIT = 48 * 1024

_INSTEAD = {
    "INFINITY": "__int_as_float(0x7f800000)",
    "NAN": "__int_as_float(0x7fffffff)",
}


@dataclass(frozen=True)
class Built:
    """A compiled kernel: the object, and what stands in it."""

    path: Path
    image: elf.Image

    @property
    def static_shared(self) -> int:
        """Bytes of static shared memory, each array on its 16-byte boundary."""
        return sum((v.size + 15) // 16 * 16 for v in self.image.shared)


@dataclass(frozen=True)
class Compiler:
    """A C++ compiler: its command, its family of flags, and what it is."""

    command: tuple[str, ...]
    family: str
    identity: str


def compiler() -> Compiler:
    """g++ when it is on the PATH, else the compiler of the ziglang wheel.

    $CUDA_LABS_CXX chooses: "zig", or the name or path of a g++. Raises
    `CompilerMissing`, with the command that installs one, when there is none.
    """
    asked = os.environ.get("CUDA_LABS_CXX", "")
    found = None if asked == "zig" else shutil.which(asked or "g++")
    if found is not None:
        stat = Path(found).stat()
        identity = f"{found} {stat.st_size} {stat.st_mtime_ns}"
        return Compiler((found,), "gnu", identity)
    if asked in ("", "zig") and importlib.util.find_spec("ziglang") is not None:
        version = importlib.metadata.version("ziglang")
        command = (sys.executable, "-m", "ziglang", "c++")
        return Compiler(command, "zig", f"zig {version}")
    missing = asked or "g++"
    raise CompilerMissing(
        f"the simulator needs a C++ compiler, and {missing} is not installed: "
        "pip install ziglang"
    )


@lru_cache(maxsize=256)
def kernel(
    source: str, name: str, flavour: str, options: tuple[str, ...] = ()
) -> Built:
    """Compile `source` with an entry for the kernel `name`.

    flavour: one of `flags.FLAVOURS`; options: -D and -U only. Raises `Unsupported`
    for a construct that the simulator lacks, `CompileError` with the compiler's
    log for a source that it rejects, `CompilerMissing` without a compiler,
    ValueError for other options.
    """
    for option in options:
        if not option.startswith(("-D", "-U")):
            raise ValueError(f"options: only -D and -U, got {option!r}")
    # After the simulator's headers, whose names the caller's may not touch.
    defined = "".join(_directive(option) for option in options)
    head = f'#include "sim_core.h"\n{defined}#line 1 "{SOURCE_NAME}"\n'
    tool = compiler()
    flags = [
        *flags_.of_kernel(tool.family, flavour),
        "-I",
        str(INCLUDE),
        "-x",
        "c++",
        "-",
    ]

    def compiled(text: str, bound: str) -> Path:
        entry = f'\n#line 1 "entry"\nSIM_ENTRY({bound}, {name})\n'
        whole = head + text + entry
        return _cached(tool, flags, whole, ".so", _header_digest(INCLUDE))

    text = translate(source)
    bounded, bound = launch_bound(text, name)
    try:
        path = compiled(bounded, bound)
    except CompileError as error:
        if BOUND_PREFIX not in error.log:
            raise
        path = compiled(text, "0")  # what the bound says cannot be evaluated
    built = Built(path, elf.read_image(path))
    _check_variables(source, built)
    return built


def _directive(option: str) -> str:
    name, _, value = option[2:].partition("=")
    if option.startswith("-U"):
        return f"#undef {name}\n"
    return f"#define {name} {value if '=' in option else 1}\n"


@lru_cache(maxsize=1)
def host() -> Path:
    """The program in which kernels run, compiled once."""
    tool = compiler()
    parts = (str(FOLDER / part) for part in PARTS)
    flags = [*flags_.HOST, *parts, *flags_.HOST_LIBRARIES[tool.family]]
    return _cached(tool, flags, "", "", _header_digest(FOLDER))


@lru_cache(maxsize=2)
def _header_digest(folder: Path) -> bytes:
    """Digest of the files that a compilation in `folder` may read."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.suffix in {".h", ".cpp"}):
        name = path.relative_to(folder).as_posix()
        digest.update(name.encode() + b"\0" + path.read_bytes())
    return digest.digest()


def _cached(
    tool: Compiler, flags: Sequence[str], text: str, suffix: str, extra: bytes
) -> Path:
    identity = f"{tool.identity} {flags!r}"
    digest = hashlib.sha256(identity.encode() + b"\0" + text.encode() + extra)
    path = cache_folder() / (digest.hexdigest()[:40] + suffix)
    if path.exists():
        return path
    handle, name = tempfile.mkstemp(dir=path.parent)
    os.close(handle)
    partial = Path(name)
    try:
        command = [*tool.command, *flags, "-o", name]
        status, log = bounded.run(command, text, seconds=COMPILER_SECONDS)
        if status:
            raise CompileError(_first_error(log.strip()), log.strip())
        partial.chmod(0o700)
        partial.replace(path)
    except subprocess.TimeoutExpired:
        message = f"the compiler took more than {COMPILER_SECONDS:.0f} s"
        raise CompileError(message) from None
    finally:
        partial.unlink(missing_ok=True)
    return path


def _first_error(log: str) -> str:
    for line in log.splitlines():
        if "error:" in line:
            place, _, message = line.partition("error:")
            if place.startswith(SOURCE_NAME):
                return f"line {place.split(':')[1]}: {_hint(message.strip())}"
            if place.startswith("entry"):
                return f"no such kernel, or more than one: {message.strip()}"
            return line.strip()
    return log or "the compiler failed without a message"


def _hint(message: str) -> str:
    """What to write in place of a name that neither compiler knows."""
    for name, instead in _INSTEAD.items():
        if re.search(rf"\b{name}\b", message):
            return f"{message} (NVRTC does not know {name} either: write {instead})"
    return message


@lru_cache(maxsize=1)
def cache_folder() -> Path:
    """A folder that only this user can write: objects in it are executed."""
    asked = os.environ.get("CUDA_LABS_CACHE")
    home = os.environ.get("XDG_CACHE_HOME")
    try:
        base = Path(home) if home else Path.home() / ".cache"
        folder = (Path(asked) if asked else base / "cuda_labs").absolute()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        stat = folder.stat()
        private = stat.st_uid == os.getuid() and not stat.st_mode & 0o022
        if private and os.access(folder, os.W_OK | os.X_OK):
            return folder
    except (OSError, RuntimeError):  # RuntimeError: a user without a home
        pass
    return Path(tempfile.mkdtemp(prefix="cuda_labs-"))


def _check_variables(source: str, built: Built) -> None:
    for variable in built.image.shared:
        name = local_name(variable.name)
        line = static_local(source, name) if name else 0
        if line:
            raise Unsupported(f"the static local variable {name}", line)
    if built.static_shared > STATIC_SHARED_LIMIT:
        raise CompileError(
            f"{built.static_shared} bytes of static shared memory; "
            f"a block has at most {STATIC_SHARED_LIMIT}"
        )


def local_name(symbol: str) -> str:
    """The variable in a mangled local name: `s` of `_ZZ1fPfE1s`."""
    tail = symbol.rpartition("E")[2]
    digits = tail[: len(tail) - len(tail.lstrip("0123456789"))]
    return tail[len(digits) :][: int(digits)] if digits else ""
