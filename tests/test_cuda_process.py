"""The helper process: what ends it, what replaces it, and what it may take."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from cuda_labs import CompileError, Kernel, KernelError
from cuda_labs.sim import arena, bounded, build, process, wire

N = np.int32
LINUX = sys.platform.startswith("linux")
FILL = """
extern "C" __global__ void fill(int* x, int n) {
  x[threadIdx.x] = n;
  while (n < 0);
}"""


def fill(value: int, number: int = 0, **kwargs) -> list[int]:
    """What a launch writes; another `number` is another kernel."""
    x = np.zeros(4, N)
    Kernel(FILL + f"\n// {number}", "fill")(1, 4, (x, N(value)), **kwargs)
    return x.tolist()


def has_ended(pid: int) -> bool:
    """Whether a process is gone, or waits to be collected."""
    command = ["ps", "-o", "stat=", "-p", str(pid)]
    state = subprocess.run(command, capture_output=True, text=True, check=False)
    return state.stdout.strip()[:1] in ("", "Z")


def ends_within(seconds: float, pid: int) -> bool:
    until = time.perf_counter() + seconds
    while not has_ended(pid):
        if time.perf_counter() > until:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            return False
        time.sleep(0.05)
    return True


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Python's own SIGINT handler: a job in the background starts without it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


# ---- a helper that goes away ----


@pytest.mark.parametrize("number", [0, 1], ids=["loaded", "new"])
def test_a_helper_that_died_between_launches_is_replaced(number: int) -> None:
    # The system may kill it for memory while a reader thinks.
    assert fill(3) == [3] * 4
    child = process.current()._child
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    for value in (5, 6):
        assert fill(value, number) == [value] * 4


def test_a_helper_that_dies_while_it_loads_is_an_error_and_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill(0)
    child = process.current()._child
    send = process.Process._send

    def deadly(self: process.Process, operation: int, payload: bytes) -> None:
        if operation == 1 and self._child is child:
            child.kill()
            child.wait()
        send(self, operation, payload)

    monkeypatch.setattr(process.Process, "_send", deadly)
    with pytest.raises(KernelError, match="while it loaded the kernel") as caught:
        fill(1, 2)
    assert caught.value.kind == "crash"
    assert fill(2, 2) == [2] * 4


def test_an_interrupt_while_a_kernel_is_loaded_leaves_no_half_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill(0)
    receive = process.Process._receive
    pending = [KeyboardInterrupt()]

    def interrupted(self: process.Process, size: int) -> bytes:
        if pending:
            raise pending.pop()
        return receive(self, size)

    monkeypatch.setattr(process.Process, "_receive", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fill(1, 3)
    assert fill(2, 3) == [2] * 4
    assert fill(4, 0) == [4] * 4


def test_a_helper_outlives_the_thread_that_started_it() -> None:
    while process._current:
        process._current[-1].close()
    starter = threading.Thread(target=fill, args=(1,))
    starter.start()
    starter.join()
    helper = process.current()
    time.sleep(0.2)
    assert not helper.has_ended()
    assert fill(2) == [2] * 4
    assert process.current() is helper


PARENT = """
import sys
import numpy as np
from cuda_labs import Kernel
from cuda_labs.sim import process

source = '''
extern "C" __global__ void f(int* x, int n) {
  x[blockIdx.x] = n;
  while (n) BODY;
}'''.replace("BODY", sys.argv[1])
k = Kernel(source, "f", checked=False, workers=int(sys.argv[2]))
x = np.zeros(4, np.int32)
k(4, 1, (x, np.int32(0)))
print(process.current()._child.pid, flush=True)
if sys.argv[3] == "busy":
    k(4, 1, (x, np.int32(1)), timeout=120)
sys.stdin.read()
"""


@pytest.mark.skipif(not LINUX, reason="macOS: the helper ends at its deadline")
@pytest.mark.parametrize(
    ("body", "workers", "state"),
    [
        ("{ }", 1, "busy"),
        ("__syncthreads()", 1, "busy"),
        ("{ }", 2, "busy"),
        ("{ }", 1, "idle"),
    ],
)
def test_a_launch_does_not_outlive_its_parent(body, workers, state) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, body, str(workers), state],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    with parent:
        assert parent.stdout is not None
        helper = int(parent.stdout.readline())
        time.sleep(0.3)
        below = Path(f"/proc/{helper}/task/{helper}/children").read_text().split()
        assert len(below) == (workers - 1 if state == "busy" else 0)
        assert not has_ended(helper)
        parent.kill()
        parent.wait()
    for pid in (helper, *map(int, below)):
        assert ends_within(5, pid)


# ---- the memory that it shares ----


def without_room(folders: list[str]):
    """posix_fallocate for a machine on which `folders` hold 2 MB and no more."""
    real = os.posix_fallocate

    def allocate(file: int, at: int, size: int) -> None:
        where = str(Path(f"/proc/self/fd/{file}").readlink())
        if at + size > 2 << 20 and any(where.startswith(f) for f in folders):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(file, at, size)

    return allocate


@pytest.mark.skipif(not LINUX, reason="needs /proc")
def test_arrays_that_shared_memory_cannot_hold_go_through_a_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A container's /dev/shm often has 64 MB; to touch a page beyond ends Python.
    source = """extern "C" __global__ void twice(float* x) {
      x[blockIdx.x * 256 + threadIdx.x] *= 2; }"""
    k = Kernel(source, "twice")
    x = np.ones(1 << 20, np.float32)
    fill(0)
    monkeypatch.setattr(os, "posix_fallocate", without_room([arena.IN_MEMORY]))
    k(1 << 12, 256, (x,))
    assert (x == 2).all()
    file = str(Path(f"/proc/self/fd/{process.current().arena.fileno}").readlink())
    assert file.startswith(tempfile.gettempdir())
    nowhere = without_room([arena.IN_MEMORY, tempfile.gettempdir()])
    monkeypatch.setattr(os, "posix_fallocate", nowhere)
    with pytest.raises(MemoryError, match=r"args: 9,\d{3},\d{3} bytes are needed"):
        k(1 << 13, 256, (np.ones(1 << 21, np.float32),))
    assert fill(7) == [7] * 4
    monkeypatch.undo()
    k(1 << 12, 256, (x,))
    assert (x == 4).all()


@pytest.mark.skipif(not LINUX, reason="needs posix_fallocate")
def test_every_page_that_python_touches_is_there() -> None:
    shared = arena.Arena(None, wire.FIRST_FREE)
    for size in (wire.FIRST_FREE, 3_000_001, 2_000_000, 5_000_000):
        shared.reserve(size)
        assert 512 * os.fstat(shared.fileno).st_blocks >= size
        assert len(shared.memory) == shared.size >= size
    shared.release()


def test_a_failed_launch_gives_its_memory_back() -> None:
    k = Kernel(FILL, "fill")
    x = np.zeros(1 << 20, N)
    k(1, 4, (x, N(0)))
    helper = process.current()
    with pytest.raises(KernelError, match=r"more than 0\.2 s"):
        k(1, 4, (x, N(-1)), timeout=0.2)
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(helper.arena.fileno)
    with pytest.raises(AssertionError):
        _ = helper.arena.memory
    assert len(helper.arena.head) == wire.FIRST_FREE  # what it said stays


def test_a_kernel_that_eats_memory_ends_alone() -> None:
    # 1,024 threads with 200 KB each fit; the address space has a limit all the same.
    source = """extern "C" __global__ void f(float* x, int n) {
      float a[50000];
      for (int i = 0; i < 50000; ++i) a[i] = i * n;
      __syncthreads();
      x[threadIdx.x] = a[n * threadIdx.x];
    }"""
    x = np.zeros(1024, np.float32)
    Kernel(source, "f", checked=False)(1, 1024, (x, N(1)))
    assert x.tolist() == list(range(1024))
    if LINUX:
        pid = process.current()._child.pid
        limits = Path(f"/proc/{pid}/limits").read_text()
        row = next(r for r in limits.splitlines() if r.startswith("Max address space"))
        assert 1 << 30 < int(row.split()[3]) < 16 << 30


# ---- the compiler ----


SLEEPER = "sleep 60 & echo $! > {}; wait"


def test_a_compiler_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    command = ["sh", "-c", SLEEPER.format(note)]
    with pytest.raises(subprocess.TimeoutExpired):
        bounded.run(command, "", seconds=0.5)
    assert ends_within(3, int(note.read_text()))


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_ends_the_compiler(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    main = threading.get_ident()
    timer = threading.Timer(0.5, signal.pthread_kill, (main, signal.SIGINT))
    timer.start()
    start = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        bounded.run(["sh", "-c", SLEEPER.format(note)], "", seconds=30)
    assert time.perf_counter() - start < 5
    assert ends_within(3, int(note.read_text()))


@pytest.mark.skipif(not LINUX, reason="macOS has no such limit")
def test_a_compiler_has_bounds_of_memory_and_of_its_own_time() -> None:
    python = [sys.executable, "-c"]
    take = [*python, "import sys; bytearray(1 << 29); print('took', file=sys.stderr)"]
    assert bounded.run(take, "", seconds=20) == (0, "took\n")
    status, log = bounded.run(take, "", seconds=20, memory=1 << 28)
    assert status != 0
    assert "MemoryError" in log
    tell = textwrap.dedent("""
        import resource, sys
        print(resource.getrlimit(resource.RLIMIT_CPU)[0], file=sys.stderr)
    """)
    assert bounded.run([*python, tell], "", seconds=7) == (0, "8\n")


def test_what_a_compiler_reads_and_says_is_utf8(tmp_path: Path) -> None:
    # Whatever the locale is: comments hold formulas, and g++ quotes with ‘’.
    script = "import sys; sys.stderr.buffer.write(sys.stdin.buffer.read())"
    program = (
        "import sys; from cuda_labs.sim import bounded; text = chr(960) + chr(8594)\n"
        f"said = bounded.run([sys.executable, '-c', {script!r}], text, seconds=20)\n"
        "assert said == (0, text), ascii(said)"
    )
    plain = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **plain},
        cwd=Path(__file__).parents[1],
        check=True,
    )
    path = tmp_path / "fill.cu"
    path.write_bytes(b"\xef\xbb\xbf" + ("// π\r\n" + FILL).encode())
    x = np.zeros(4, N)
    Kernel.from_file(path, "fill")(1, 4, (x, N(3)))
    assert x.tolist() == [3] * 4


def test_where_compiled_kernels_are_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = build.cache_folder.__wrapped__
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("CUDA_LABS_CACHE", raising=False)
    assert folder() == tmp_path / ".cache" / "cuda_labs"
    assert folder().stat().st_mode & 0o777 == 0o700
    folder().chmod(0o777)  # where others can write, nothing is executed
    assert folder() != tmp_path / ".cache" / "cuda_labs"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_LABS_CACHE", "here")  # good after a change of folder
    assert folder() == tmp_path / "here"

    where = SimpleNamespace(f_flag=getattr(os, "ST_NOEXEC", 0))
    with monkeypatch.context() as patched:  # a disk from which nothing may run
        patched.setattr(os, "statvfs", lambda _: where)
        assert (folder() == tmp_path / "here") is not LINUX

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("CUDA_LABS_CACHE")
    monkeypatch.setattr(Path, "home", homeless)
    assert folder().name.startswith("cuda_labs-")


def test_templates_without_an_end_are_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = """
    template <int N, long M> struct F {
      enum { v = (int)(F<N - 1, 2 * M>::v ^ F<N - 1, 2 * M + 1>::v) };
    };
    template <long M> struct F<0, M> { enum { v = (int)M }; };
    extern "C" __global__ void f(int* x) { x[0] = F<40, 1>::v; }"""
    monkeypatch.setattr(build, "COMPILER_SECONDS", 1.0)
    with pytest.raises(CompileError, match="the compiler took more than 1 s"):
        _ = Kernel(source, "f").parameters
