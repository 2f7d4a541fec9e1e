"""The pages around the chapters: complete, consistent, and true of the package."""

from __future__ import annotations

import json
import re
import sys
from importlib import import_module
from pathlib import Path

import nbformat
import pytest
import yaml

BOOK = Path(__file__).resolve().parents[1] / "book"
sys.path.insert(0, str(BOOK / "_ext"))

import plain_docstrings  # noqa: E402

MODULES = [
    "paths",
    "predict",
    "oracles",
    "brownian",
    "grids",
    "ode",
    "samplers",
    "guidance",
    "multistep",
    "losses",
    "metrics",
    "verify",
    "explorer",
]


def text(name: str) -> str:
    return (BOOK / name).read_text(encoding="utf-8")


def sources(name: str) -> str:
    notebook = nbformat.read(BOOK / name, as_version=4)
    return "\n\n".join(cell.source for cell in notebook.cells)


@pytest.mark.parametrize("module", MODULES)
def test_reference_lists_every_public_name(module: str) -> None:
    package = import_module(f"genflow_lite.{module}")
    public = getattr(package, "__all__", None) or [
        name
        for name, value in vars(package).items()
        if not name.startswith("_")
        and callable(value)
        and getattr(value, "__module__", "") == package.__name__
        and name not in ("check_is_path", "PathDenoiser")
    ]
    page = text("api.md")
    listed = set(
        re.findall(r"\.\. auto(?:class|function|exception):: \S*\.(\w+)", page)
    )
    assert f".. automodule:: genflow_lite.{module}\n" in page
    assert [name for name in public if name not in listed] == []


def test_reference_lists_the_face_of_cuda_labs() -> None:
    page = text("api.md")
    package = import_module("cuda_labs")
    for name in package.__all__:
        directives = "|".join(("class", "exception", "function", "module"))
        assert re.search(
            rf"^\.\. auto(?:{directives}):: cuda_labs\.{name}$", page, re.M
        )


def test_reference_names_only_what_exists() -> None:
    for path in re.findall(
        r"\.\. auto(?:class|function|exception):: (\S+)", text("api.md")
    ):
        module, name = path.rsplit(".", 1)
        assert hasattr(import_module(module), name), path


def test_example_of_the_reference_runs() -> None:
    code, kernels = re.findall(r"```python\n(.*?)```", text("api.md"), re.DOTALL)
    scope: dict = {}
    exec(code, scope)
    exec(kernels, scope)
    assert scope["x"].tolist() == [9.0] * 1000
    assert scope["profile"].requested_bytes == 2 * 4000
    spread = scope["samples"].std(dim=0)
    # Exact: the square roots of 1.04 and 0.04; 1000 samples, 200 steps.
    assert abs(float(spread[0]) - 1.0198) < 0.08
    assert abs(float(spread[1]) - 0.2) < 0.03


def test_glossary_is_long_sorted_and_closed() -> None:
    body = text("glossary.md")
    terms = re.findall(r"^(?=\S)(?!:::|#)([^\n]+)\n  \S", body, re.MULTILINE)
    keys = [re.sub(r"[^a-z ]", "", term.lower().replace("ô", "o")) for term in terms]
    assert len(terms) >= 40
    assert len(set(keys)) == len(keys)
    assert keys == sorted(keys)
    assert set(re.findall(r"\{term\}`([^`]+)`", body)) <= set(terms)


def test_map_links_the_chapters_of_the_table_of_contents() -> None:
    toc = yaml.safe_load((BOOK.parent / "_toc.yml").read_text(encoding="utf-8"))
    numbered = [
        Path(chapter["file"]).name
        for part in toc.get("parts", [])
        if part.get("numbered")
        for chapter in part["chapters"]
    ]
    cells = nbformat.read(BOOK / "intro.ipynb", as_version=4).cells
    outputs = [out for cell in cells for out in cell.get("outputs", [])]
    pages = [out.get("data", {}).get("text/html", "") for out in outputs]
    (drawn,) = [page for page in pages if "class='bookmap'" in page]
    ready = re.findall(r"<a href='(\w+)\.html'><b>(\w+)</b>", drawn)
    assert [page for page, number in ready if number != "P"] == numbered
    assert drawn.count("<circle ") == 18
    assert drawn.count('class="planned"') == 17 - len(numbered)


def test_every_citation_has_an_entry_and_entries_are_unique() -> None:
    keys = re.findall(r"^@\w+\{([^,]+),", text("references.bib"), re.MULTILINE)
    assert len(keys) == len(set(keys))
    for page in BOOK.glob("*.*"):
        if page.suffix not in (".md", ".ipynb"):
            continue
        body = (
            sources(page.name) if page.suffix == ".ipynb" else page.read_text("utf-8")
        )
        for group in re.findall(r"\{cite:\w+\}`([^`]+)`", body):
            assert set(group.split(",")) <= set(keys), (page.name, group)


def test_stored_figures_of_the_front_matter_are_small() -> None:
    for name in ("intro.ipynb", "prerequisites.ipynb", "notation.ipynb"):
        for cell in json.loads(text(name))["cells"]:
            for output in cell.get("outputs", []):
                html = "".join(output.get("data", {}).get("text/html", ""))
                assert len(html) <= 122_880, name


@pytest.mark.parametrize(
    ("plain", "shown"),
    [
        ("x (B, *S)", r"x (B, \*S)"),
        ("|x| of `t`", r"\|x\| of ``t``"),
        ("σ_t² of x", "σ\\ :sub:`t`\\ ² of x"),
        ("w_{k+1} − w_k", "w\\ :sub:`k+1`\\  − w\\ :sub:`k`\\ "),
        ("t_max and stds_k", r"t\_max and stds\_k"),
        ("see ``a_b``", "see ``a_b``"),
    ],
)
def test_docstring_text_is_shown_as_written(plain: str, shown: str) -> None:
    assert plain_docstrings.escape(plain) == shown


def test_docstring_layout() -> None:
    lines = [
        "One step.",
        "",
        "x_r = α_r D + σ_r ε,",
        "",
        "alpha, sigma: functions of",
        "    time.",
        "name: a word.",
        "",
        "A table::",
        "",
        "    a  b",
        "    1  2",
        "",
        "Args:",
        "    grid, block: up to three",
        "        extents.",
        "    name: a word.",
    ]
    assert plain_docstrings.convert(lines) == [
        "One step.",
        "",
        "::",
        "",
        "   x_r = α_r D + σ_r ε,",
        "",
        "- ``alpha, sigma``: functions of time.",
        "- ``name``: a word.",
        "",
        "A table:",
        "",
        "::",
        "",
        "   a  b",
        "   1  2",
        "",
        "Arguments:",
        "",
        "- ``grid, block``: up to three extents.",
        "- ``name``: a word.",
        "",
    ]


def test_the_script_for_a_class_takes_solutions_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = re.search(r"```python\n(import re.*?)```", text("teaching.md"), re.DOTALL)
    assert script is not None
    for path in sorted(BOOK.glob("*.ipynb")):
        target = tmp_path / path.name
        monkeypatch.setattr(sys, "argv", ["strip.py", str(path), str(target)])
        exec(script[1], {})
        before, after = (nbformat.read(p, as_version=4).cells for p in (path, target))
        joined = ["\n".join(c.source for c in cells) for cells in (before, after)]
        for kept in (r"^:::\{exercise\}", r"^#+ ", r"^:label: ex-", r"^:::$"):
            counts = [len(re.findall(kept, whole, re.MULTILINE)) for whole in joined]
            if kept == r"^:::$":
                counts[0] -= joined[0].count("{solution}")
            assert counts[0] == counts[1], (path.name, kept)
        assert "{solution}" not in joined[1]
        tags = [
            [tag for cell in cells for tag in cell.metadata.get("tags", [])]
            for cells in (before, after)
        ]
        assert tags[0].count("skeleton") == tags[1].count("skeleton")
        assert not {"solution", "wrong"} & set(tags[1])
