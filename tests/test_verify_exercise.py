"""Exercises: every way to be wrong is told in one line, and none raises."""

from __future__ import annotations

import math

import pytest
import torch

from genflow_lite import verify

NAME = "ex-score"


def inputs(g):
    x = torch.randn(4, generator=g, dtype=torch.float64)
    return x, 0.5 + float(torch.rand((), generator=g))


def truth(x, sigma):
    return -x / sigma**2


CASES = verify.cases(
    inputs,
    truth,
    hints={
        "divide by σ², not by σ": lambda x, sigma: -x / sigma,
        "the score points towards the mean": lambda x, sigma: x / sigma**2,
    },
)


def said(capsys, answer, cases=CASES):
    verify.exercise(NAME, answer, cases)
    (text,) = capsys.readouterr().out.splitlines()
    assert text.startswith(f"{NAME}: ")
    return text.removeprefix(f"{NAME}: ")


def test_the_right_answer_passes(capsys):
    text = said(capsys, lambda x, sigma: -x * sigma**-2)
    assert text == "✓ right on 5 cases it had not seen"


def raises(x, sigma):
    raise RuntimeError("two\nlines")


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (lambda x, sigma: None, "your function returned None"),
        (lambda x, sigma: ..., "your function returned Ellipsis"),
        (lambda x, sigma: 1 / 0, "your function raised ZeroDivisionError: division by"),
        (raises, "your function raised RuntimeError: two lines"),
        (lambda x: x, "your function raised TypeError"),
        (lambda x, sigma: x.sum(), r"your answer has shape (), the truth (4,)"),
        (lambda x, sigma: truth(x, sigma)[None], "has shape (1, 4), the truth (4,)"),
        (lambda x, sigma: x * math.nan, "your answer is nan at [0]"),
        (lambda x, sigma: "text", "your answer returned str"),
        (lambda x, sigma: {}, "your answer returned dict"),
        (lambda x, sigma: (), "your answer is empty (shape (0,))"),
        (lambda x, sigma: -1.001 * x / sigma**2, "case 1, x of shape (4,), sigma = 1"),
        (lambda x, sigma: -x / sigma, "hint: divide by σ², not by σ"),
        (lambda x, sigma: x / sigma**2, "hint: the score points towards the mean"),
        (42, "a function is needed, this is int"),
    ],
)
def test_a_wrong_answer_is_not_yet_with_a_reason(capsys, answer, told):
    text = said(capsys, answer)
    assert text.startswith("not yet — ")
    assert told in text
    assert "✓" not in text


def test_a_hint_needs_agreement_on_every_case(capsys):
    """The wrong power in the first case only is not the known mistake."""
    calls = []

    def answer(x, sigma):
        calls.append(0)
        return -x / sigma if len(calls) == 1 else truth(x, sigma)

    text = said(capsys, answer)
    assert "hint" not in text
    assert "case 1" in text


def test_a_late_failure_is_found(capsys):
    calls = []

    def answer(x, sigma):
        calls.append(0)
        return truth(x, sigma) if len(calls) < 5 else truth(x, sigma) + 1e-3

    assert "case 5" in said(capsys, answer)


def test_the_reader_cannot_change_the_questions(capsys):
    def spoils(x, sigma):
        x.zero_()
        return x

    assert said(capsys, spoils).startswith("not yet")
    assert said(capsys, truth).startswith("✓")
    kept = [case.arguments[0].abs().sum() > 0 for case in CASES.cases]
    assert all(kept)


def test_a_list_of_numbers_is_an_answer(capsys):
    assert said(capsys, lambda x, sigma: truth(x, sigma).tolist()).startswith("✓")
    assert "not yet" in said(capsys, lambda x, sigma: [[1.0], [2.0, 3.0]])


def test_scalars_name_their_values(capsys):
    cases = verify.cases(
        lambda g: (float(torch.rand((), generator=g)),), lambda t: t**2
    )
    text = said(capsys, lambda t: t, cases)
    assert text.startswith("not yet — case 1, t = 0.")
    assert ": your answer is 0." in text
    assert ", the truth is 0." in text


def test_a_zero_truth_is_compared_absolutely(capsys):
    cases = verify.cases(lambda g: (1.0,), lambda t: 0.0)
    assert said(capsys, lambda t: 1e-12, cases).startswith("✓")
    assert said(capsys, lambda t: 1e-6, cases).startswith("not yet")


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"truth": lambda x, s: x * math.nan}, ValueError, "truth: the truth is nan"),
        ({"hints": {"h": truth}}, ValueError, "is no mistake"),
        ({"hints": {"h": lambda x, s: x * math.inf}}, ValueError, "hints: hints"),
        ({"inputs": lambda g: 3}, TypeError, "inputs returned int"),
        ({"rtol": 0.5}, ValueError, "rtol is 0.5"),
        ({"seeds": ()}, ValueError, "seeds is empty"),
    ],
)
def test_bad_cases_are_refused(arguments, error, match):
    arguments = {"inputs": inputs, "truth": truth} | arguments
    with pytest.raises(error, match=match):
        verify.cases(arguments.pop("inputs"), arguments.pop("truth"), **arguments)


def test_the_author_is_told_of_a_bad_call():
    with pytest.raises(ValueError, match="name is 'score'"):
        verify.exercise("score", truth, CASES)
    with pytest.raises(TypeError, match="cases is function"):
        verify.exercise(NAME, truth, truth)  # type: ignore[arg-type]


def test_a_wrong_part_is_named(capsys):
    cases = verify.cases(
        lambda g: (torch.randn(3, generator=g),), lambda x: (2 * x, x.sum(), 3 * x)
    )
    text = said(capsys, lambda x: (2 * x, x.sum(), x), cases)
    assert ": your answer, part 2, at [" in text
    text = said(capsys, lambda x: (2 * x, x.mean(), 3 * x), cases)
    assert ": your answer, part 1, is " in text


@pytest.mark.parametrize(
    ("truth_is", "answer_is", "told"),
    [
        (4884.0, 4885, "your answer is 4885, the truth is 4884"),
        (4884.0, 4884.25, "your answer is 4.88e+03, the truth is 4884"),
        (0.12345, 0.12346, "your answer is 0.12346, the truth is 0.12345"),
    ],
)
def test_the_digits_shown_tell_answer_and_truth_apart(
    capsys, truth_is, answer_is, told
):
    cases = verify.cases(lambda g: (1.0,), lambda t: truth_is)
    assert said(capsys, lambda t: answer_is, cases).endswith(told)
