"""Compile a kernel, and the process that runs it, with the host's compiler.

Results are kept in a folder private to the user under a name derived from
everything that went into them, so a second call finds the first one's work.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import os
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
from cuda_labs.sim import bounded, deferred, elf, rounds
from cuda_labs.sim import flags as flags_
from cuda_labs.sim.source import (
    BOUND_PREFIX,
    CONSTRUCTS,
    INCLUDE,
    launch_bound,
    translate,
)
from cuda_labs.sim.unit import failure, head, kernel_names, local_name, owner
from cuda_labs.sim.variables import static_local, structures_of

FOLDER = Path(__file__).parent
PARTS = shlex.split(
    "host.cpp load.cpp watch.cpp builtins.cpp workers.cpp scheduler.cpp warp.cpp "
    "memory.cpp async.cpp faults.cpp profile.cpp requests.cpp points.cpp loops.cpp "
    "clocks.cpp conflicts.cpp races.cpp global_races.cpp releases.cpp counters.cpp"
)
COMPILER_SECONDS = 60.0
STATIC_SHARED_LIMIT = 48 * 1024
# What compilers say of a vector type in a union that is copied, or of elements
# listed without braces of their own.
_NEEDS_PLAIN = (
    "delete",
    "too many init",
    "excess elements",
    "designat",
    "non-aggregate",
)


@dataclass(frozen=True)
class Built:
    """A compiled kernel: the object, and what stands in it.

    static_shared: bytes of static shared memory, each array on its 16-byte
    boundary, without the arrays of other kernels in the source.
    """

    path: Path
    image: elf.Image
    static_shared: int


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
    tool = compiler()
    structures = structures_of(source)

    def compiled(
        text: str, bound: str, *, plain: bool = False, rare: bool = False
    ) -> Path:
        first = head(source, options, rare=rare)
        entry = f'\n#line 1 "entry"\nSIM_ENTRY({bound}, {name})\n'
        flags = flags_.of_kernel(
            tool.family,
            flavour,
            plain=plain,
            typed=bool(structures),
            whole="aligned" in structures,
        )
        flags += ["-I", str(INCLUDE), "-x", "c++", "-"]

        def made(text: str) -> Path:
            whole = f"{'#define SIM_PLAIN 1' if plain else ''}\n{first}{text}{entry}"
            return _cached(tool, flags, whole, ".so", _header_digest(INCLUDE))

        if flavour == "profile":
            # An error is to be told in the words of the source.
            with contextlib.suppress(CompileError):
                return made(rounds.marked(text))
        return made(text)

    text = translate(source)
    bounded, bound = launch_bound(text, name)
    try:
        path = compiled(bounded, bound)
    except CompileError as error:
        deferred.refuse_marked(error, CONSTRUCTS)
        if BOUND_PREFIX in error.log:
            path = compiled(text, "0")  # what the bound says cannot be evaluated
        else:
            plain = any(word in error.log for word in _NEEDS_PLAIN)
            rare = "declared" in error.log  # by a name that a macro puts together
            if not plain and not rare:
                raise
            try:
                path = compiled(bounded, bound, plain=plain, rare=rare)
            except CompileError:
                raise error from None
    image = elf.read_image(path)
    others = kernel_names(source) - {name.partition("<")[0].strip().split("::")[-1]}
    own = [v for v in image.shared if owner(v.name) not in others]
    built = Built(path, image, sum((v.size + 15) // 16 * 16 for v in own))
    if built.image.dynamic:
        raise CompileError("a variable's initial value is no constant")
    _check_variables(source, built)
    return built


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
    digest, kinds = hashlib.sha256(), {".h", ".cuh", ".cpp"}
    for path in sorted(p for p in folder.rglob("*") if p.suffix in kinds):
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
        # Zig would keep megabytes of every kernel in a cache of its own.
        with tempfile.TemporaryDirectory(prefix="cuda_labs-") as spare:
            status, log = bounded.run(
                command,
                text,
                seconds=COMPILER_SECONDS,
                environment={"ZIG_LOCAL_CACHE_DIR": spare},
            )
        if status:
            raise failure(log.strip())
        partial.chmod(0o700)
        partial.replace(path)
    except subprocess.TimeoutExpired:
        message = f"the compiler took more than {COMPILER_SECONDS:.0f} s"
        raise CompileError(message) from None
    finally:
        partial.unlink(missing_ok=True)
    return path


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
        runs = not os.statvfs(folder).f_flag & getattr(os, "ST_NOEXEC", 0)
        if private and runs and os.access(folder, os.W_OK | os.X_OK):
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
