"""The stored notebooks: complete, tidy, readable, and every claim with its check."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
BOOK = ROOT / "book"
sys.path.insert(0, str(BOOK / "_ext"))

from ledger_cards import (  # noqa: E402
    CLAIM,
    DEFINITION,
    cards_of,
    checks_without_card,
    joined,
    read_notebook,
)

PATHS = sorted(BOOK.glob("*.ipynb"))
NOTEBOOKS = {path.stem: read_notebook(path) for path in PATHS}
CHAPTERS = {
    chapter["name"]: chapter
    for chapter in tomllib.loads((ROOT / "tests" / "claims.toml").read_text("utf-8"))[
        "chapter"
    ]
}
LARGEST = 1_500_000
LINES, FOLDED_LINES, COLUMNS = 24, 40, 72
FOLDED = {"hide-input", "hide-cell"}
DOLLARS = re.compile(
    r"^\$\$[ \t]*\(([^()\s]+)\)|\$\$[ \t]+\(([^()\s]+)\)", re.MULTILINE
)
DIRECTIVE = re.compile(r"\{math\}[ \t]*\n(?:[^\n]*\n)*?[ \t]*:label:[ \t]*(\S+)")
MACHINE = re.compile(
    r"(?<![\w.:/~-])/(?:home|root|tmp|Users|work|workspace|opt|mnt|private|var)/[\w.-]"
    r"|[A-Z]:\\\\?Users|site-packages|127\.0\.0\.1|localhost:\d"
)
NOT_COMPARED = re.compile(r"#\s*(?:NBVAL_|PYTEST_VALIDATE_)\w+")
UNSAFE_TAGS = {
    "nbval-ignore-output",
    "nbval-skip",
    "nbval-raises-exception",
    "raises-exception",
    "pytest-validate-ignore-output",
}

every_notebook = pytest.mark.parametrize("name", NOTEBOOKS)
every_chapter = pytest.mark.parametrize("name", CHAPTERS)


def cells(name: str, kind: str) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """The cells of one kind: place, source and the cell."""
    for index, cell in enumerate(NOTEBOOKS[name]["cells"]):
        if cell["cell_type"] == kind:
            yield index, joined(cell["source"]), cell


def tags(cell: dict[str, Any]) -> set[str]:
    return set(cell["metadata"].get("tags", []))


def outputs(cell: dict[str, Any], kind: str) -> list[str]:
    """A cell's outputs of one MIME type; streams count as plain text."""
    found = []
    for output in cell["outputs"]:
        if output["output_type"] == "stream" and kind == "text/plain":
            found.append(joined(output["text"]))
        elif kind in output.get("data", {}):
            found.append(joined(output["data"][kind]))
    return found


def prose(name: str) -> str:
    return "\n\n".join(source for _, source, _ in cells(name, "markdown"))


def labels(name: str) -> list[str]:
    """Labels of displayed equations, in order."""
    text = prose(name)
    found = [(m.start(), m.group(1) or m.group(2)) for m in DOLLARS.finditer(text)]
    found += [(m.start(), m.group(1)) for m in DIRECTIVE.finditer(text)]
    return [label for _, label in sorted(found)]


def claims(name: str) -> list[str]:
    return [label for label in labels(name) if CLAIM.fullmatch(label)]


def without_payload(html: str) -> str:
    return re.sub(r'(data-lx|src)="[^"]*"', "", html)


def test_there_are_notebooks():
    assert set(CHAPTERS) <= set(NOTEBOOKS)


# The stored form


@every_notebook
def test_a_notebook_is_valid_and_not_too_large(name):
    path = BOOK / f"{name}.ipynb"
    nbformat.validate(nbformat.read(path, as_version=4))
    assert path.stat().st_size <= LARGEST


@every_notebook
def test_every_cell_has_run_in_order_without_complaint(name):
    ran = [cell["execution_count"] for _, source, cell in cells(name, "code") if source]
    assert ran == list(range(1, len(ran) + 1))
    for index, _, cell in cells(name, "code"):
        for output in cell["outputs"]:
            assert output["output_type"] != "error", f"cell {index} raised"
            assert output.get("name") != "stderr", f"cell {index} wrote to stderr"


@every_notebook
def test_jupyterlab_closes_what_the_site_closes(name):
    for index, _, cell in cells(name, "code"):
        closed = cell["metadata"].get("jupyter", {})
        source = bool(tags(cell) & {"hide-input", "hide-cell"})
        assert closed.get("source_hidden", False) is source, f"cell {index}"
        assert closed.get("outputs_hidden", False) is ("hide-cell" in tags(cell))


@every_notebook
def test_nothing_of_the_machine_is_stored(name):
    metadata = NOTEBOOKS[name]["metadata"]
    assert "widgets" not in metadata
    assert metadata["kernelspec"]["name"] == "python3"
    for index, source, cell in cells(name, "code"):
        assert "execution" not in cell["metadata"], f"cell {index} stores times"
        texts = [source, *outputs(cell, "text/plain")]
        texts += map(without_payload, outputs(cell, "text/html"))
        for text in texts:
            assert not MACHINE.search(text), f"cell {index}: {MACHINE.search(text)}"
        for output in cell["outputs"]:
            kinds = output.get("data", {})
            assert not any("widget-view" in kind for kind in kinds), f"cell {index}"
    assert not MACHINE.search(prose(name))


@every_notebook
def test_no_output_escapes_comparison(name):
    for index, source, cell in cells(name, "code"):
        assert not NOT_COMPARED.search(source), f"cell {index}"
        assert not tags(cell) & UNSAFE_TAGS, f"cell {index}"
        for text in outputs(cell, "text/plain"):
            assert not re.search(r"<[^<>]* at 0x[0-9a-f]+>", text), f"cell {index}"


@every_notebook
def test_cells_are_short_and_narrow(name):
    long = []
    for place, (index, source, cell) in enumerate(cells(name, "code")):
        lines = [line for line in source.splitlines() if line.strip()]
        imports = place == 0  # a list to look things up in, not to read
        most = FOLDED_LINES if imports or tags(cell) & FOLDED else LINES
        widest = max(map(len, lines), default=0)
        if len(lines) > most or widest > COLUMNS:
            long.append(f"cell {index}: {len(lines)} lines, {widest} columns")
    assert not long


# Figures


@every_notebook
def test_every_picture_is_described(name):
    for index, _, cell in cells(name, "code"):
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "text/html" in data:
                html = joined(data["text/html"])
                for picture in re.findall(r"<img\b[^>]*>", html):
                    alt = re.search(r'\balt="([^"]*)"', picture)
                    assert alt is not None, f"cell {index}"
                    assert len(alt.group(1)) > 20, f"cell {index}"
            elif "image/png" in data or "image/svg+xml" in data:
                image = cell["metadata"].get("mystnb", {}).get("image", {})
                assert len(image.get("alt", "")) > 20, f"cell {index} has no alt text"
    for alt in re.findall(r"!\[([^\]]*)\]\(", prose(name)):
        assert len(alt) > 20, f"a picture's alt text is {alt!r}"


def numbered(name: str) -> list[str]:
    """The numbers of the captions that stand under a notebook's pictures."""
    captions = re.findall(r"^\*\*Figure (\S+)\.\*\*", prose(name), re.MULTILINE)
    return [str(caption) for caption in captions]


@every_notebook
def test_every_picture_has_a_caption_and_captions_count_up(name):
    stored = NOTEBOOKS[name]["cells"]
    for index, cell in enumerate(stored):
        if cell["cell_type"] == "markdown":
            continue
        for html in outputs(cell, "text/html"):
            found = re.search(r"<figcaption[^>]*>(.*?)</figcaption>", html, re.DOTALL)
            if found:
                words = re.sub(r"<[^>]*>", "", found.group(1)).strip()
                assert len(words) > 40, f"cell {index}: the caption is {words!r}"
                # Pictures are numbered; an explorer is named by what it shows.
                assert not words.startswith("Figure"), f"cell {index}: {words!r}"
        plain = [o.get("data", {}) for o in cell["outputs"]]
        if any("image/png" in d and "text/html" not in d for d in plain):
            after = (
                joined(stored[index + 1]["source"]) if index + 1 < len(stored) else ""
            )
            assert after.startswith("**Figure "), f"no caption after cell {index}"
    number = CHAPTERS.get(name, {}).get("number", name[0].upper())
    captions = numbered(name)
    assert captions == [f"{number}.{i}" for i in range(1, len(captions) + 1)]


def test_every_figure_that_the_text_names_exists():
    there = {number for name in NOTEBOOKS for number in numbered(name)}
    number = r"(?:[A-Z]|\d+)\.\d+"
    lists = re.compile(
        rf"\b[Ff]ig(?:ure|\.)s?\s+({number}(?:\s+(?:and|to)\s+{number})*)"
    )
    texts = {path.name: path.read_text("utf-8") for path in BOOK.glob("*.md")}
    for name, notebook in NOTEBOOKS.items():
        texts[name] = "\n\n".join(joined(c["source"]) for c in notebook["cells"])
    missing = [
        f"{name}: {match.group()}"
        for name, text in texts.items()
        for match in lists.finditer(text)
        if not set(re.findall(number, match.group(1))) <= there
    ]
    assert len(there) > 30
    assert not missing


# Claims and checks


@every_notebook
def test_every_claim_has_a_check_that_passed_and_every_check_a_claim(name):
    cards = cards_of(NOTEBOOKS[name])
    assert {card.label for card in cards} == set(claims(name))
    assert [card.label for card in cards if card.verdict != "pass"] == []
    assert checks_without_card(NOTEBOOKS[name]) == []


@every_notebook
def test_labels_are_well_formed(name):
    found = labels(name)
    odd = [x for x in found if not (CLAIM.fullmatch(x) or DEFINITION.fullmatch(x))]
    assert not odd


def test_labels_are_unique_over_the_book():
    owners: dict[str, str] = {}
    twice = []
    for name in NOTEBOOKS:
        for label in labels(name):
            if label in owners:
                twice.append(f"{label} in {owners[label]} and in {name}")
            owners[label] = name
    assert not twice


@every_notebook
def test_claim_and_truth_share_no_library_code(name):
    shared = {c.label: c.shared for c in cards_of(NOTEBOOKS[name]) if c.shared}
    assert not shared


@every_notebook
def test_a_random_check_ran_on_two_seeds_and_says_what_it_compares(name):
    for card in cards_of(NOTEBOOKS[name]):
        assert len(card.seeds) != 1, card.label
        assert card.kind != "sampled" or len(card.seeds) >= 2, card.label
        assert card.rejects, card.label
        assert len(card.what) > 20, f"{card.label}: what= is {card.what!r}"


@every_notebook
def test_the_line_and_the_card_agree(name):
    lines = []
    for _, _, cell in cells(name, "code"):
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "vf-card" in joined(data.get("text/html", "")):
                lines.append(joined(data["text/plain"]))
    cards = cards_of(NOTEBOOKS[name])
    assert len(lines) == len(cards)
    for line, card in zip(lines, cards, strict=True):
        assert line.startswith(f"✓ {card.label} | {card.kind} | ")
        assert line.endswith(f" | rejects: {', '.join(card.rejects)}")


@every_chapter
def test_the_chapter_keeps_its_promises(name):
    chapter = CHAPTERS[name]
    passed = {c.label for c in cards_of(NOTEBOOKS[name]) if c.verdict == "pass"}
    sources = prose(name) + "".join(source for _, source, _ in cells(name, "code"))
    for topic in chapter["topic"]:
        assert topic["labels"], topic["says"]
        missing = set(topic["labels"]) - (set(claims(name)) & passed)
        assert not missing, f"{topic['says']}: {missing}"
        for words in topic.get("words", []):
            assert words in sources, f"{topic['says']}: {words!r} is not there"
    if chapter.get("explorer"):
        html = [
            h for _, _, cell in cells(name, "code") for h in outputs(cell, "text/html")
        ]
        assert any('<figure class="lx"' in text for text in html)


# Exercises


# A function in Python is tried by the one, a kernel in CUDA C by the other.
ASKS = {"verify.exercise", "kernel_exercise"}


def tries(name: str) -> dict[str, list[tuple[set[str], str]]]:
    """Every try of an exercise: by name, the tags of its cell and what it said."""
    found: dict[str, list[tuple[set[str], str]]] = {}
    for _, source, cell in cells(name, "code"):
        if not any(f"{ask}(" in source for ask in ASKS):
            continue
        asked = [
            str(node.args[0].value)
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.Call)
            and ast.unparse(node.func) in ASKS
            and isinstance(node.args[0], ast.Constant)
        ]
        said = outputs(cell, "text/plain")
        told = [line for text in said for line in text.splitlines()]
        for exercise in asked:
            lines = [line for line in told if line.startswith(f"{exercise}: ")]
            assert len(lines) == 1, f"{exercise} said {lines}"
            found.setdefault(exercise, []).append((tags(cell), lines[0]))
    return found


@every_chapter
def test_there_are_exercises_with_solutions(name):
    text = prose(name)
    asked = re.findall(r":{3,}\s*\{exercise\}[^\n]*\n:label: (\S+)", text)
    solved = re.findall(r":{3,}\s*\{solution\} (\S+)\n:class: dropdown", text)
    assert len(asked) >= 4
    assert len(set(asked)) == len(asked)
    assert sorted(solved) == sorted(asked)
    assert len(tries(name)) >= 2
    assert set(tries(name)) <= set(asked)


@every_notebook
def test_skeleton_fails_wrong_gets_a_hint_and_solution_passes(name):
    for exercise, found in tries(name).items():
        roles = []
        for cell_tags, said in found:
            (role,) = cell_tags & {"skeleton", "wrong", "solution"}
            roles.append(role)
            text = said.removeprefix(f"{exercise}: ")
            if role == "skeleton":
                assert text.startswith("not yet — "), said
                assert not cell_tags & FOLDED, (
                    f"{exercise}: the skeleton is folded away"
                )
            elif role == "wrong":
                assert text.startswith("not yet — hint: "), said
                assert "hide-cell" in cell_tags, exercise
            else:
                assert text.startswith("✓ "), said
                assert "hide-cell" in cell_tags, exercise
        assert roles[0] == "skeleton", exercise
        assert roles[-1] == "solution", exercise
        assert roles.count("skeleton") == roles.count("solution") == 1, exercise
        assert roles.count("wrong") >= 1, exercise


# References


def test_every_citation_is_in_the_bibliography():
    bibliography = (BOOK / "references.bib").read_text("utf-8")
    keys = set(re.findall(r"^@\w+\{\s*([^,\s]+)\s*,", bibliography, re.MULTILINE))
    texts = {name: prose(name) for name in NOTEBOOKS}
    texts |= {path.stem: path.read_text("utf-8") for path in BOOK.glob("*.md")}
    unknown = [
        f"{name}: {key}"
        for name, text in texts.items()
        for group in re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", text)
        for key in re.split(r"\s*,\s*", group)
        if key not in keys
    ]
    assert not unknown


@every_chapter
def test_a_chapter_cites_its_sources(name):
    assert len(set(re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", prose(name)))) >= 3


@every_chapter
def test_a_chapter_computes_in_float64_on_one_thread(name):
    _, source, _ = next(iter(cells(name, "code")))
    assert "torch.set_default_dtype(torch.float64)" in source
    assert "torch.set_num_threads(1)" in source
