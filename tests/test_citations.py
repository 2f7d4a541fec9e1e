"""Works that docstrings name are in the bibliography, each under one entry.

A docstring names a source by authors and year: "Heun (1900)", "Song and Ermon (2019)",
"Ho et al. (2020)". The page *Bibliography* lists all entries.
"""

import ast
import re
from pathlib import Path
from typing import NamedTuple

import pytest
from pybtex.database import Entry, Person, parse_file
from pybtex.richtext import Text

ROOT = Path(__file__).parents[1]
ENTRIES = dict(parse_file(ROOT / "book/references.bib", "bibtex").entries.items())

_NAME = r"[^\W\d_a-z][\w'’]*(?:-[^\W\d_a-z][\w'’]*)*"
_AND = r", and |, | and | & "
_WORK = re.compile(
    rf"({_NAME}(?:(?:{_AND}){_NAME})*)( et al\.)?,? \(?((?:1[89]|20)\d\d)\b"
)
_ROLE = re.compile(r"\{cite(?::[a-z]+)?\}`([^`]+)`")


class Work(NamedTuple):
    """What a text says of a work: its first authors, whether there are more, the year.

    text is what surrounds it: of two works of the same authors and year, the one
    whose title stands there is meant.
    """

    names: tuple[str, ...]
    more: bool
    year: str
    text: str


def surname(person: Person) -> str:
    parts = [*person.rich_prelast_names, *person.rich_last_names]
    return " ".join(str(part) for part in parts)


SURNAMES = {surname(p) for e in ENTRIES.values() for p in e.persons["author"]}


def works(text: str) -> list[Work]:
    """All works that a text names by authors and year, across line breaks too.

    In "Real NVP, Dinh et al. 2017" what stands before the comma is nobody's name.
    """
    text, found = " ".join(text.split()), []
    for names, more, year in _WORK.findall(text):
        first, comma, rest = names.partition(", ")
        while comma and first not in SURNAMES:
            first, comma, rest = (names := rest).partition(", ")
        authors = tuple(re.split(_AND, names))
        found.append(Work(authors, bool(more), year, text))
    return found


def field(entry: Entry, name: str) -> str:
    assert entry.fields is not None
    return entry.fields[name]


def is_named(entry: Entry, text: str) -> bool:
    """Whether its title, up to a colon, stands in the text as a word of its own."""
    short = str(Text.from_latex(field(entry, "title"))).split(":")[0]
    return re.search(rf"(?i)(?<!\w){re.escape(short)}(?![\w+])", text) is not None


def meant(work: Work) -> list[str]:
    """The keys of the entries that a work may be."""
    keys, n = [], len(work.names)
    for key, entry in ENTRIES.items():
        authors = tuple(map(surname, entry.persons["author"]))
        year = field(entry, "year").rstrip("abcde")  # of two works of one year
        fits = authors[:n] == work.names and year == work.year
        if fits and (len(authors) > max(n, 2) if work.more else len(authors) == n):
            keys.append(key)
    if len(keys) > 1:
        keys = [key for key in keys if is_named(ENTRIES[key], work.text)]
    return keys


def docstrings() -> dict[str, str]:
    """Every docstring of the two packages, by file and name."""
    found = {}
    for package in ("genflow_lite", "cuda_labs"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                    name = getattr(node, "name", "")
                    text = ast.get_docstring(node)
                    if text and works(text):
                        found[f"{path.relative_to(ROOT)} {name}".strip()] = text
    return found


DOCSTRINGS = docstrings()


@pytest.mark.parametrize("where", DOCSTRINGS)
def test_works_named_in_docstrings_have_one_entry(where: str) -> None:
    for work in works(DOCSTRINGS[where]):
        keys = meant(work)
        assert len(keys) == 1, (
            f"{where} names {work.names} {'et al. ' * work.more}{work.year}; the "
            f"bibliography has {keys or 'no such entry'}. Add it to "
            "book/references.bib, or name more authors, or the title"
        )


def test_the_bibliography_page_lists_all_entries() -> None:
    page = (ROOT / "book/bibliography.md").read_text(encoding="utf-8")
    assert re.search(r"```\{bibliography\}\n(:.*\n)*:all:\n", page)


def test_every_entry_is_cited_by_a_page_or_a_docstring() -> None:
    named = {key for t in DOCSTRINGS.values() for w in works(t) for key in meant(w)}
    pages = [*(ROOT / "book").glob("*.md"), *(ROOT / "book").glob("*.ipynb")]
    for text in (page.read_text(encoding="utf-8") for page in pages):
        named |= {k.strip() for ks in _ROLE.findall(text) for k in ks.split(",")}
    idle = sorted(set(ENTRIES) - named)
    assert not idle, f"no page or docstring cites {idle}"


def test_citations_are_read_as_a_reader_does() -> None:
    text = """Source: Karatzas and
    Shreve (1991), 2.3; Ho et al. 2020; Song, Meng and Ermon (2021); Itô (1944);
    (Nichol & Dhariwal 2021); Sohl-Dickstein et al. 2015; on 2020 steps; in [0, 1900].
    """
    assert [work[:3] for work in works(text)] == [
        (("Karatzas", "Shreve"), False, "1991"),
        (("Ho",), True, "2020"),
        (("Song", "Meng", "Ermon"), False, "2021"),
        (("Itô",), False, "1944"),
        (("Nichol", "Dhariwal"), False, "2021"),
        (("Sohl-Dickstein",), True, "2015"),
    ]
    keys = [key for work in works(text) for key in meant(work)]
    assert keys == [
        "karatzas1991",
        "ho2020",
        "song2021ddim",
        "ito1944",
        "nichol2021",
        "sohl2015",
    ]


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("Heun (1901)", []),
        ("Heun et al. (1900)", []),
        ("Song and Meng (2021)", []),
        ("Song et al. (2021)", []),
        ("Lu et al. (2022)", []),
        ("Lu et al. (2022), DPM-Solver++", ["lu2022pp"]),
        ("DPM-Solver, Lu et al. (2022)", ["lu2022"]),
        ("as in Real NVP, Dinh et al. 2017", ["dinh2017"]),
    ],
)
def test_what_names_no_work_or_several_is_noticed(text: str, keys: list[str]) -> None:
    (work,) = works(text)
    assert meant(work) == keys
