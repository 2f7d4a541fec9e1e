"""A profile as it is shown: the source with its numbers, marks and findings."""

from __future__ import annotations

import re

import pytest
from profiled_kernels import run

from cuda_labs.sim import profile
from cuda_labs.sim.findings import Finding


def test_the_display_shows_the_source_with_its_numbers() -> None:
    p = run("__shared__ float s[64];\ns[t] = x[2 * t];\ny[t] = s[63 - t];", block=64)
    page = p._repr_html_()
    assert page.count("<tr") == 1 + len(p.source.splitlines())
    assert page.count('<tr role="row" class="cuda-bad"') == 2
    assert "<b>global load</b>: 2 requests, 8 sectors each (ideal 4)<" in page
    assert "<b>global store</b>: 2 requests, 4 sectors each<" in page
    assert page.count('class="cuda-access cuda-poor"') == 1
    assert page.count('<p class="cuda-error">✗ line ') == len(p.errors) == 3
    assert "768 bytes requested, in sectors of 32; 768 different bytes." in page
    assert "✗ line 5: thread" in str(p) == repr(p)
    row = next(r for r in p.table if r["access"] == "global load")
    assert row["sectors/request"] == 8.0
    with pytest.raises(ValueError, match="kind: one of"):
        p.total("loads")


def test_the_display_escapes_and_greys_comments_and_needs_no_colour() -> None:
    p = run("if (t < 3) y[t] = x[t]; // <b> & done", block=32)
    page = p._repr_html_()
    assert 'if (t &lt; 3) y[t] = x[t]; <span class="cuda-comment">' in page
    assert "// &lt;b&gt; &amp; done</span>" in page
    assert "1 request, 1 sector each, 3 of 32 lanes" in page
    assert "color" not in page
    tags = re.findall(r"<(/?)(div|table|thead|tbody|tr|th|td|pre|p|b|span)\b", page)
    for name in {name for _, name in tags}:
        opened = [slash for slash, tag in tags if tag == name]
        assert opened.count("") == opened.count("/"), name


def test_the_display_marks_both_lines_of_a_finding() -> None:
    race = Finding("race", "a race", 2, 3)
    note = Finding("equal writes", "a note", 4, 5)
    source = "\n".join(f"line {k};" for k in range(1, 7))
    page = profile.Profile(source, (race,), (note,), {}, 0)._repr_html_()
    rows = page.split("<tbody")[1].split("<tr")[1:]
    marks = [("cuda-bad" in row, "cuda-noted" in row) for row in rows]
    assert [k for k, (bad, _) in enumerate(marks, 1) if bad] == [2, 3]
    assert [k for k, (_, noted) in enumerate(marks, 1) if noted] == [4, 5]


def test_the_display_of_a_kernel_that_fails_or_touches_nothing() -> None:
    failed = run("y[t + 9000] = 0.0f;")
    assert repr(failed).startswith("✗ line 3, block (0, 0, 0), thread (0, 0, 0): store")
    assert repr(failed).count("line 3") == 1
    page = failed._repr_html_()
    assert page.count('<tr role="row" class="cuda-bad"') == 1
    assert "cuda-total" not in page
    nothing = run("")
    assert repr(nothing) == "Profile: no loads or stores"
    assert "cuda-access" not in nothing._repr_html_()
    assert ">memory<" not in nothing._repr_html_()
    assert "cuda-margin" not in nothing._repr_html_()
    assert ">memory<" in run("y[t] = 0;")._repr_html_()
    conflicts = run(
        "__shared__ float s[1024]; s[t] = t;\n__syncthreads();\n"
        "y[t] = s[32 * t % 1024];"
    )
    assert "32 wavefronts (32-way)" in conflicts._repr_html_()
