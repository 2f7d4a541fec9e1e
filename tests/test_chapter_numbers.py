"""The numbers of chapters after a gap, in a tiny book."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXTENSIONS = Path(__file__).parents[1] / "book" / "_ext"


def build(folder: Path, numbers: str) -> subprocess.CompletedProcess[str]:
    """Three chapters, the last after a gap; the output of the build."""
    for name in "abc":
        text = f"# Chapter {name}\n\n## Section\n\n$$\nx\n$$ (eq-{name})\n"
        (folder / f"{name}.md").write_text(text)
    (folder / "index.md").write_text("# Book\n\nSee {eq}`eq-c`.\n")
    (folder / "_toc.yml").write_text(
        "format: jb-book\nroot: index\nparts:\n"
        "- numbered: 2\n  chapters:\n  - file: a\n  - file: b\n"
        "- numbered: 2\n  chapters:\n  - file: c\n"
    )
    (folder / "conf.py").write_text(
        f"import sys\nsys.path.insert(0, {str(EXTENSIONS)!r})\n"
        "extensions = ['sphinx_external_toc', 'sphinx_multitoc_numbering',\n"
        "              'myst_parser', 'chapter_numbers']\n"
        "myst_enable_extensions = ['dollarmath']\n"
        "external_toc_path = '_toc.yml'\nuse_multitoc_numbering = True\n"
        f"numfig = math_numfig = True\nchapter_numbers = {numbers}\n"
    )
    command = [sys.executable, "-m", "sphinx", "-q", str(folder), str(folder / "out")]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def numbers_on(folder: Path, page: str) -> tuple[list[str], list[str]]:
    """Section numbers and equation numbers of a page's body."""
    html = (folder / "out" / f"{page}.html").read_text()
    sections = re.findall(r'<h[12]><span class="section-number">([\d.]+)\. ', html)
    return sections, re.findall(r'class="eqno">\(([\d.]+)\)', html)


@pytest.mark.parametrize(("numbers", "last"), [("{'c': 5}", "5"), ("{}", "3")])
def test_sections_equations_and_references_agree(
    tmp_path: Path, numbers: str, last: str
) -> None:
    result = build(tmp_path, numbers)
    assert result.returncode == 0, result.stderr
    assert numbers_on(tmp_path, "b") == (["2", "2.1"], ["2.1"])
    assert numbers_on(tmp_path, "c") == ([last, f"{last}.1"], [f"{last}.1"])
    index = (tmp_path / "out" / "index.html").read_text()
    assert f'href="c.html#equation-eq-c">({last}.1)</a>' in index
    assert f"{last}. Chapter c" in re.sub(r"<[^>]*>", "", index)


@pytest.mark.parametrize(
    ("numbers", "words"),
    [("{'d': 5}", "names d, which is no numbered chapter"), ("{'c': 2}", "twice")],
)
def test_a_wrong_table_stops_the_build(
    tmp_path: Path, numbers: str, words: str
) -> None:
    result = build(tmp_path, numbers)
    assert result.returncode != 0
    assert words in result.stderr
