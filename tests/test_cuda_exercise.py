"""Exercises in CUDA C: what a reader is told, for kernels wrong in every way."""

from __future__ import annotations

import re

import numpy as np
import pytest

from cuda_labs import check
from cuda_labs.exercise import KernelCases, kernel_cases, kernel_exercise
from cuda_labs.plans import Launch
from cuda_labs.sim.profile import Profile

TWICE = """extern "C" __global__ void twice(const float* x, float* y, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  BODY
}"""
GOOD = "if (i < n) y[i] = 2.0f * x[i];"


def source(body: str) -> str:
    return TWICE.replace("BODY", body)


def launch(shape: tuple[int, ...], rng: np.random.Generator) -> Launch:
    (n,) = shape
    x = rng.integers(1, 9, n).astype(np.float32)
    args = x, check.poisoned((n,)), np.int32(n)
    return Launch((-(-n // 32),), (32,), args)


def cases(**kwargs) -> KernelCases:
    made = {"shapes": [(64,), (33,), (1,)], "output": 1} | kwargs
    return kernel_cases("twice", launch, lambda x, y, n: 2.0 * x, **made)


def told(capsys, answer, given: KernelCases | None = None) -> str:
    kernel_exercise("ex-twice", answer, given or cases())
    out = capsys.readouterr().out
    assert out.startswith("ex-twice: ")
    assert out.count("\n") == 1
    return out.removeprefix("ex-twice: ").strip()


def test_a_right_kernel_passes_and_says_on_how_many_launches(capsys) -> None:
    assert told(capsys, source(GOOD)) == "✓ right on 3 launches it had not seen"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("", r"size 64, grid 2, block 32: argument 2 is as it was before"),
        (
            "if (i < n - 1) y[i] = 2.0f * x[i];",
            r"size 64, .*: 1 of 64 elements are never written, the first at \[63\]",
        ),
        ("y[i] = 2.0f * x[i];", r"size 33, .*: line 3, block \(1, 0, 0\), thread"),
        ("if (i < n) y[i] = x[i];", r"size 64, .*: 64 of 64 elements are out of tol"),
        ("if (i < n) y[0] = x[i];", r"size 64, .*: line 3: thread 1 stores .* line 3"),
        ("if (i < n) y[i] = 1.0f / 0.0f;", r"64 of 64 elements are not finite"),
        ("int j = 0 / 0; y[i] = j;", r"division by zero|line 3"),
        (
            "if (i < n) y[i] = 2.0f * z[i];",
            r"your kernel does not compile: line 3: .*z",
        ),
        ('asm("nop;");', r"your kernel does not compile: line 3: .* simulator"),
    ],
)
def test_each_fault_is_told(capsys, body: str, words: str) -> None:
    said = told(capsys, source(body))
    assert said.startswith("not yet — ")
    assert re.search(words, said), said


def test_a_changed_input_is_told(capsys) -> None:
    body = source("if (i < n) { y[i] = 2.0f * x[i]; x[i] = 0.0f; }")
    said = told(capsys, body.replace("const float* x", "float* x"))
    assert "size 64, grid 2, block 32: argument 1 is an input, and has changed" in said


def test_other_parameters_or_another_name_are_told(capsys) -> None:
    other = source(GOOD).replace("int n", "long long n")
    assert "the arguments do not fit, parameter 3" in told(capsys, other)
    assert "does not compile" in told(capsys, source(GOOD).replace("twice", "double_"))


@pytest.mark.parametrize(
    ("answer", "got"), [(None, "NoneType"), ("  ", "nothing"), (len, "builtin")]
)
def test_no_source_is_told(capsys, answer, got: str) -> None:
    said = told(capsys, answer)
    assert said.startswith("not yet — the CUDA C as a string is needed, this is " + got)


def test_a_kernel_that_never_ends_is_told_once(capsys, monkeypatch) -> None:
    monkeypatch.setattr("cuda_labs._outcomes.SECONDS", 0.2)
    said = told(capsys, source("while (n > 0) { if (n == 7) y[0] = 0; }"))
    assert "ran for more than 0.2 s" in said


def test_the_kernel_prints_through_but_the_verdict_is_one_line(capsys) -> None:
    kernel_exercise("ex-twice", source('if (i == 0) printf("hi\\n"); ' + GOOD), cases())
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["hi"] * 3
    assert lines[3].startswith("ex-twice: ✓")


def test_a_known_mistake_gets_its_hint_and_its_line(capsys) -> None:
    hints = {"ask first": source("y[i] = 2.0f * x[i];"), "2": source("y[i] = x[i];")}
    # The second is wrong on the first launch already: no overrun is needed.
    given = cases(hints=hints)
    mine = source("\n  float v = x[i] * 2.0f;\n  y[i] = v;")
    said = told(capsys, mine, given)
    assert said.startswith(
        "not yet — hint: ask first — size 33, grid 2, block 32: line 4"
    )
    assert "hint" not in told(capsys, source("if (i < n) y[i] = i;"), given)


def test_a_hint_is_for_the_same_wrong_values(capsys) -> None:
    given = cases(hints={"not twice": source("if (i < n) y[i] = x[i];")})
    same = told(capsys, source("if (i < n) y[i] = x[i] + 0.0f;"), given)
    other = told(capsys, source("if (i < n) y[i] = 3.0f * x[i];"), given)
    assert same.startswith("not yet — hint: not twice — size 64")
    assert other.startswith("not yet — size 64")


def test_a_right_result_may_not_do(capsys) -> None:
    def few(profile: Profile) -> str:
        most = profile.total("global load").most
        return "" if most <= 4 else f"{most} sectors"

    backwards = source("i = (i % 8) * 8 + i / 8; if (i < n) y[i] = 2.0f * x[i];")
    given = cases(shapes=[(64,)], needs=few, hints={"neighbours": backwards})
    assert told(capsys, source(GOOD), given).startswith("✓")
    said = told(capsys, backwards, given)
    assert said == "not yet — hint: neighbours — size 64, grid 2, block 32: 8 sectors"


def test_a_hint_for_one_need_is_not_given_for_another(capsys) -> None:
    def frugal(profile: Profile) -> str:
        load, store = profile.total("global load"), profile.total("global store")
        if load.most > 4:
            return f"a load of {load.most} sectors"
        return "" if store.requests <= 2 else f"{store.requests} stores"

    apart = "i = (i % STEP) * (64 / STEP) + i / STEP; if (i < n) y[i] = 2.0f * x[i];"
    again = source("if (i < n) *(volatile float*)&y[i] = 1.0f; " + GOOD)
    eight = source(apart.replace("STEP", "8"))
    given = cases(shapes=[(64,)], needs=frugal, hints={"neighbours": eight})
    more = told(capsys, source(apart.replace("STEP", "16")), given)
    other = told(capsys, again, given)
    assert more.startswith("not yet — hint: neighbours — ")
    assert other == "not yet — size 64, grid 2, block 32: 4 stores"


def test_the_arguments_of_a_case_are_not_used_up(capsys) -> None:
    given = cases()
    before = [np.array(case.launch.args[1]) for case in given.cases]
    told(capsys, source(GOOD), given)
    after = [case.launch.args[1] for case in given.cases]
    np.testing.assert_array_equal(np.concatenate(before), np.concatenate(after))


def test_an_output_that_is_input_too_may_stay_equal_where_it_should(capsys) -> None:
    def in_place(shape, rng) -> Launch:
        x = np.arange(shape[0], dtype=np.float32)
        return Launch((1,), (32,), (x, np.int32(shape[0])))

    given = kernel_cases("f", in_place, lambda x, n: abs(x), shapes=[(5,)], output=0)
    body = 'extern "C" __global__ void f(float* x, int n) '
    body += "{ int i = threadIdx.x; if (i < n) x[i] = fabsf(x[i]); }"
    assert told(capsys, body, given).startswith("✓")


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="shapes: at least one"):
        cases(shapes=[])
    with pytest.raises(ValueError, match=r"'fine'.*is no mistake"):
        cases(hints={"fine": source(GOOD)})
    with pytest.raises(ValueError, match="output: the position of an array, got 2"):
        cases(output=2)
    with pytest.raises(ValueError, match="name: the exercise's label"):
        kernel_exercise("twice", source(GOOD), cases())
    with pytest.raises(TypeError, match="what kernel_cases returns, got list"):
        kernel_exercise("ex-twice", source(GOOD), [])  # type: ignore[arg-type]


def test_in_a_notebook_the_line_is_marked(monkeypatch) -> None:
    shown = []

    class Shell:
        @staticmethod
        def get_ipython() -> bool:
            return True

    import IPython.display

    monkeypatch.setitem(__import__("sys").modules, "IPython", Shell)
    monkeypatch.setattr(
        IPython.display, "display", lambda data, raw: shown.append((data, raw))
    )
    kernel_exercise("ex-twice", source("y[i] = x[i] < 1.0f;"), cases(shapes=[(33,)]))
    kernel_exercise("ex-twice", source("if (i < n) y[i] = x[i];"), cases())
    (bad, raw), (wrong, _) = shown
    assert raw
    assert bad["text/plain"].startswith("ex-twice: not yet — size 33")
    page = bad["text/html"]
    assert page.startswith('<p class="vf-exercise vf-todo">ex-twice: not yet')
    assert page.count('class="cuda-bad"') == 1
    assert "y[i] = x[i] &lt; 1.0f;" in page
    assert "cuda-profile" not in wrong["text/html"]
