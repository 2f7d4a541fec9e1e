"""Timing, roofline and counters of `cuda_labs.bench`, without a GPU."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import numpy as np
import pytest

from cuda_labs import Kernel, bench, ladders, nvrtc, roofline, work
from cuda_labs.clock import EventClock, measure
from cuda_labs.errors import CompileError
from cuda_labs.roofline import Machine


class Script:
    """A clock that says what it is told, and writes down what it was asked."""

    def __init__(self, *times: float) -> None:
        self.times = list(times)
        self.calls: list[str] = []

    def seconds(self, run, before=None):
        if before is not None:
            self.calls.append("before")
            before()
        self.calls.append("run")
        run()
        return self.times.pop(0)


def test_median_and_quartiles_of_the_runs_that_count() -> None:
    clock = Script(9.0, 0.01, 5.0, 1.0, 4.0, 2.0, 3.0)
    found = measure(clock, lambda: None, repeats=5, warmup=2, budget=100.0)
    assert (found.median, found.lower, found.upper, found.repeats) == (3.0, 2.0, 4.0, 5)
    assert clock.calls == ["run"] * 7
    # The last warm-up took 1 s: a budget of 7 s has room for 7 runs, of 2 s for 5.
    for budget, runs in ((7.0, 7), (2.0, 5)):
        clock = Script(*[1.0] * 30)
        assert measure(clock, lambda: None, budget=budget).repeats == runs
    # One that takes longer than the budget is warmed up once and measured once.
    clock = Script(9.0, 8.0)
    assert measure(clock, lambda: None, budget=2.0).median == 8.0
    assert clock.calls == ["run"] * 2
    assert measure(Script(1.0, 3.0), lambda: None, repeats=1, warmup=1).upper == 3.0
    with pytest.raises(ValueError, match="repeats: 1 or more"):
        measure(Script(1.0), lambda: None, repeats=0)
    with pytest.raises(ValueError, match="clock: a time above 0"):
        measure(Script(*[0.0] * 60), lambda: None)


def fake_cupy(log: list[str]) -> types.SimpleNamespace:
    """As much of CuPy as the clock, the roofline and a launch need."""

    class Event:
        def record(self) -> None:
            log.append("event")

        def synchronize(self) -> None:
            log.append("wait")

    class Buffer:
        def __init__(self, size: int = 1 << 27) -> None:
            self.size = size
            self.nbytes = 4 * size

        def fill(self, value: int) -> None:
            log.append(f"fill {4 * self.size}")

    attributes = {38: 50 << 20, 16: 132, 13: 1_980_000}
    runtime = types.SimpleNamespace(
        cudaDevAttrL2CacheSize=38,
        cudaDevAttrMultiProcessorCount=16,
        cudaDevAttrClockRate=13,
        deviceGetAttribute=lambda name, device: attributes[name],
        getDeviceProperties=lambda device: {"name": b"NVIDIA H200"},
        getDeviceCount=lambda: 1,
    )
    device = types.SimpleNamespace(id=0, compute_capability="90")
    cuda = types.SimpleNamespace(
        Event=Event,
        Device=lambda: device,
        runtime=runtime,
        get_elapsed_time=lambda start, stop: 0.25,
    )
    return types.SimpleNamespace(
        cuda=cuda,
        empty=lambda size, dtype: Buffer(size),
        zeros=lambda size, dtype: Buffer(size),
        empty_like=lambda x: Buffer(x.size),
        copyto=lambda target, source: log.append("copy"),
    )


def test_events_stand_around_the_run_alone() -> None:
    log: list[str] = []
    clock = EventClock(fake_cupy(log))
    taken = clock.seconds(lambda: log.append("run"), lambda: log.append("before"))
    assert taken == 0.25e-3
    fills = [f"fill {1 << 30}"] * 4
    assert log == ["before", *fills, "event", "run", "event", "wait"]


def test_the_roofs_of_a_device() -> None:
    machine = roofline.of_device(Script(*[0.25e-3] * 30), fake_cupy([]))
    assert machine.name == "NVIDIA H200"
    assert machine.bandwidth == 2 * 4 * 2**27 / 0.25e-3
    # The data sheet's 67 and 990 TFLOP/s at 1.98 and 1.83 GHz.
    assert machine.fp32 == pytest.approx(66.9e12, rel=1e-3)
    assert machine.tensor == pytest.approx(989.4e12 * 1980 / 1830, rel=2e-3)
    assert machine.capability == (9, 0)
    assert bench.describe(machine).startswith("NVIDIA H200, copy 4.29 TB/s, float 67 T")


def test_places_on_both_sides_of_the_ridge() -> None:
    machine = Machine("m", bandwidth=2e12, fp32=60e12)
    left = roofline.place(1e-3, 1e9, 1e10, machine)
    assert (left.bound, left.least, left.share) == ("memory", 0.5e-3, 0.5)
    assert (left.intensity, left.bytes_rate) == (10.0, 1e12)
    right = roofline.place(1e-3, 1e8, 3e10, machine)
    assert (right.bound, right.share, right.flop_rate) == ("compute", 0.5, 3e13)
    assert roofline.place(1e-3, 1e8, 3e10, machine, "tensor").bound == "memory"
    with pytest.raises(ValueError, match="seconds: above 0"):
        roofline.place(0.0, 1e8, 1.0, machine)
    with pytest.raises(ValueError, match="unit: 'fp32' or 'tensor'"):
        machine.peak("fp64")


@pytest.mark.parametrize(
    ("capability", "least", "runs"),
    [
        ((9, 0), "sm_90a", True),
        ((10, 0), "sm_90a", False),
        ((8, 0), "sm_90a", False),
        ((8, 6), "sm_80", True),
        ((12, 0), "sm_80", True),
        ((7, 5), "sm_80", False),
        (None, "sm_80", False),
        (None, "", True),
    ],
)
def test_which_machine_takes_which_kernel(capability, least, runs) -> None:
    machine = Machine("m", 1e12, capability=capability)
    assert (machine.refuses(least) == "") == runs


def test_the_work_of_an_operation() -> None:
    def of(name: str, number: int, shape: tuple[int, ...]) -> work.Work:
        rung = ladders.load(name, number)
        data = bench.data(rung, shape)
        return work.of(rung, data, rung.operation.plan(rung.name, data))

    assert of("vector_add", 1, (100,)) == work.Work(1200, 100, "fp32")
    assert of("transpose", 2, (3, 5)) == work.Work(120, 0, "fp32")
    assert of("reduction", 4, (100,)) == work.Work(404, 100, "fp32")
    assert of("histogram", 1, (100,)) == work.Work(100 + 1024, 0, "fp32")
    assert of("matmul", 1, (2, 3, 5)) == work.Work(4 * (6 + 15 + 10), 60, "fp32")
    assert of("matmul", 6, (32, 16, 32)).unit == "tensor"
    assert of("matmul", 6, (32, 16, 32)).nbytes == 2 * 2 * 512 + 4 * 1024
    assert of("matmul", 8, (1, 8, 8)).unit == "tensor"
    assert of("attention", 2, (2, 3, 5, 8)).flops == 2 * 2 * (2 * 3 * 5 * 8)


def test_sizes_of_ladders_and_rungs() -> None:
    # The inputs of the backward pass come from whole matrices of probabilities.
    whole, part = (work.sizes(ladders.load("attention", i)).gpu for i in (2, 4))
    assert [n for _, *n in part] == [n for _, *n in whole]
    assert {4 * shape[0] for shape in part} == {shape[0] for shape in whole}
    huge = (1, 1 << 24)
    assert huge not in work.sizes(ladders.load("softmax", 1)).gpu
    assert huge in work.sizes(ladders.load("softmax", 2)).gpu
    rung = ladders.load("transpose", 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(work.SIZES, "transpose")
        assert work.sizes(rung) == work.Sizes((rung.shapes[-1],), rung.shapes[-1])


def test_pairs_that_a_causal_mask_leaves() -> None:
    for n in range(1, 6):
        for m in range(1, 6):
            seen = sum(j <= i + m - n for i in range(n) for j in range(m))
            assert work.pairs(n, m, causal=True) == seen
            assert work.pairs(n, m) == n * m


def test_every_run_has_a_fresh_plan() -> None:
    """The look-back scan counts tickets: without a fresh plan it would go astray."""
    rung = ladders.load("scan", 3)
    data = bench.data(rung, (1000,))
    clock = Script(*[1e-3] * 10)
    row = bench.timed(
        rung, (1000,), data, clock, Machine("m", 1e9), repeats=3, warmup=1
    )
    assert clock.calls == ["before", "run"] * 4
    assert row.place.bytes_rate == 8000 / 1e-3


def test_counters_are_those_of_all_launches() -> None:
    row = bench.counted(ladders.load("matmul", 3), (64, 64, 64))
    assert row.access["global load"].bytes == 2 * 4 * 64**3 // 16
    assert row.asked == 2 * 4 * 64**3 // 16 + 4 * 64 * 64
    assert row.intensity == 2 * 64**3 / row.asked
    first = bench.counted(ladders.load("reduction", 3), (1000,))
    both = bench.counted(ladders.load("reduction", 4), (1000,))
    # Four blocks store a sum each, and the second launch loads them and stores one.
    assert both.access["global store"].requests == 4 + 1
    extra = both.access["global load"].bytes - first.access["global load"].bytes
    assert extra == 4 * 4
    # 1,000 floats and four sums in a sector each; then one sector each way.
    assert both.asked == 32 * (125 + 4 + 1 + 1)


def test_a_finding_is_no_count(monkeypatch: pytest.MonkeyPatch) -> None:
    rung = ladders.load("matmul", 3)
    source = rung.kernel.source.replace("    __syncthreads();\n", "", 1)
    broken = ladders.Rung(rung.operation, rung.name, Kernel(source, "matmul"))
    with pytest.raises(RuntimeError, match="03_shared: line"):
        bench.counted(broken, (64, 64, 64))


def test_the_command_on_a_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["transpose", "--cpu"]) == 0
    out = capsys.readouterr().out
    assert "transpose (96, 96), counted on the simulator" in out
    rows = {line.split()[0]: line.split() for line in out.splitlines() if "0" in line}
    # A column of 32 floats is 32 sectors, a row 4: (32 + 4) / 2 = 18.
    assert rows["01_naive"][1:4] == ["576", "10368", "18.00"]
    # 32 lanes on one bank: 31 turns too many for each of 288 column accesses.
    assert rows["02_shared"][5] == str(31 * 288)
    assert rows["03_padded"][5] == "0"
    with pytest.raises(SystemExit):
        bench.main(["sort"])


def test_the_tables_of_a_gpu() -> None:
    clock = Script(*[2e-6] * 3000)
    machine = Machine("m", 4e12, fp32=6e13, tensor=8e14)
    shapes = work.Sizes(((64, 128, 64), (65, 7, 97)), (64, 128, 64))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(work.SIZES, "matmul", shapes)
        lines = list(bench.gpu_lines("matmul", clock, machine, lambda x: x))
    rows = [line.split() for line in lines]
    naive = next(row for row in rows if row and row[0] == "01_naive")
    moved = 4 * (64 * 128 + 128 * 64 + 64 * 64)
    assert naive[1:4] == ["2.0", "µs", f"{moved / 2e-6 / 1e9:.0f}"]
    assert float(naive[4]) == pytest.approx(2 * 64 * 128 * 64 / 2e-6 / 1e12, abs=0.005)
    text = "\n".join(lines)
    assert "needs a GPU (sm_90a)" in text
    assert "needs m, n and k in multiples of 64" in text  # the odd size


# ---- the way to the GPU, up to CuPy's door ----


class FakeFunction:
    def __init__(self, log: list[object]) -> None:
        self.log = log
        self.max_dynamic_shared_size_bytes = 0

    def __call__(self, grid, block, args, shared_mem=0):
        limit = self.max_dynamic_shared_size_bytes
        self.log.append(("launch", grid, block, len(args), shared_mem, limit))
        self.args = args


class OnDevice:
    """An array that says that it lives on a GPU."""

    def __init__(self, array: np.ndarray, number: int = 0) -> None:
        self.device = types.SimpleNamespace(id=number)
        self.array, self.dtype, self.ndim = array, array.dtype, array.ndim
        self.nbytes, self.size, self.shape = array.nbytes, array.size, array.shape
        self.flags = array.flags
        self.__cuda_array_interface__ = {}


def raw_module(log: list[object]):
    class RawModule:
        def __init__(self, **given) -> None:
            if "path" in given:
                assert Path(given["path"]).read_bytes()[:4] == b"\x7fELF"
            log.append(given)

        def get_function(self, name: str) -> FakeFunction:
            log.append(name)
            return FakeFunction(log)

    current = types.SimpleNamespace(id=0)
    cuda = types.SimpleNamespace(Device=lambda: current, current=current)
    return types.SimpleNamespace(RawModule=RawModule, cuda=cuda)


def test_arrays_on_a_gpu_go_to_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list = []
    monkeypatch.setitem(sys.modules, "cupy", raw_module(log))
    source = 'extern "C" __global__ void f(float* x, int n) { x[0] = n; }'
    kernel = Kernel(source, "f", options=("-DA=1",))
    x = OnDevice(np.zeros(4, np.float32))
    for _ in range(2):
        kernel(2, 32, (x, np.int32(4)), 60_000)
    given, name, *launches = log
    assert given["code"] == source
    assert given["name_expressions"] == [name] == ["f"]
    assert given["options"][0] == "-std=c++17"
    assert given["options"][-1] == "-DA=1"
    assert launches == [("launch", (2, 1, 1), (32, 1, 1), 2, 60_000, 60_000)] * 2
    with pytest.raises(TypeError, match=r"pass np.int32"):
        kernel(2, 32, (x, 4))
    with pytest.raises(TypeError, match="float32 is needed, got float64"):
        kernel(2, 32, (OnDevice(np.zeros(4)), np.int32(4)))
    with pytest.raises(TypeError, match="NumPy and CuPy arrays"):
        kernel(2, 32, (x, np.zeros(3, np.float32)))


@pytest.mark.skipif(not nvrtc.available(), reason=f"no NVRTC here: {nvrtc.INSTALL}")
def test_one_architecture_alone_is_compiled_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log: list = []
    monkeypatch.setitem(sys.modules, "cupy", raw_module(log))
    rung = ladders.load("matmul", "08_wgmma")
    rung = ladders.Rung(
        rung.operation,
        rung.name,
        Kernel(rung.kernel.source, "matmul", arch=rung.kernel.arch),
    )
    half = [OnDevice(np.zeros((64, 64), np.float16)) for _ in range(2)]
    c = OnDevice(np.zeros((64, 64), np.float32))
    sizes = (np.int32(64),) * 3
    rung.kernel((1, 1), (256,), (*half, c, *sizes), 197_632)
    given, name, launch = log
    assert list(given) == ["path"]
    assert name == "matmul"
    assert launch == ("launch", (1, 1, 1), (256, 1, 1), 6, 197_632, 197_632)
    assert rung.kernel.compile().arch == "sm_90a"


def test_an_array_on_another_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list = []
    cupy = raw_module(log)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    kernel = Kernel('extern "C" __global__ void f(float* x) { x[0] = 1; }', "f")
    near, far = (OnDevice(np.zeros(4, np.float32), number) for number in (0, 1))
    kernel(1, 32, (near,))
    with pytest.raises(ValueError, match="parameter 1: an array on GPU 1, while"):
        kernel(1, 32, (far,))
    cupy.cuda.current.id = 1
    kernel(1, 32, (far,))
    kernel(1, 32, (far,))
    # A function for each GPU, built once: a cubin's file is gone by the second.
    assert [x for x in log if x == "f"] == ["f"] * 2
    assert sum(x[0] == "launch" for x in log if isinstance(x, tuple)) == 3


def test_what_cupy_is_given_for_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """For None CuPy 13 has an address that is not 0 (its issue 9046)."""
    functions: list[FakeFunction] = []
    cupy = raw_module([])
    get = cupy.RawModule.get_function

    def kept(self, name: str) -> FakeFunction:
        functions.append(get(self, name))
        return functions[-1]

    monkeypatch.setattr(cupy.RawModule, "get_function", kept)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    source = """struct Two { int a; float b; };
    extern "C" __global__ void f(float* x, const float* y, Two t,
                                 unsigned long long u, long long i) {
      if (y == nullptr) x[0] = t.a + u + i;
    }"""
    two = np.array((3, 0.5), dtype=[("a", "i4"), ("b", "f4")])
    x = OnDevice(np.zeros(1, np.float32))
    Kernel(source, "f")(1, 1, (x, None, two[()], 2**64 - 1, 7))
    first, null, pair, large, small = functions[0].args
    assert first is x
    assert (null.dtype, int(null)) == (np.uint64, 0)
    assert isinstance(pair, np.ndarray)  # which every CuPy passes by its bytes
    assert pair.tobytes() == two.tobytes()
    assert (large.dtype, int(large)) == (np.uint64, 2**64 - 1)
    assert small == 7


def test_what_nvrtc_rejects_within_cupy_is_a_compile_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class CompileException(Exception):
        """CuPy's own, which only CuPy can be asked for."""

    def fail(self, name: str) -> None:
        raise CompileException('cannot open source file "crt/mma.h"')

    cupy = raw_module([])
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(cupy.RawModule, "get_function", fail)
    kernel = Kernel('extern "C" __global__ void f(float* x) { x[0] = 1; }', "f")
    with pytest.raises(CompileError, match=r"mma.h.*\n.*nvidia-cuda-crt") as caught:
        kernel(1, 1, (OnDevice(np.zeros(1, np.float32)),))
    assert caught.value.log == 'cannot open source file "crt/mma.h"'
