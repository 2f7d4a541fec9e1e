"""The Sphinx extension: what stops the build, and what a reader sees otherwise."""

from __future__ import annotations

import re

import pytest
from ledger_books import Book, check, equation, text

GOOD = (text(equation("eq-one") + "\n" + equation("def-name")), check("eq-one"))


@pytest.fixture
def book(tmp_path):
    return Book(tmp_path, ("one", "two"))


def faulty(book, *cells, **pages):
    """Build a book whose chapter *two* is in order and *one* is as given."""
    book.notebook("one", *cells)
    book.notebook("two", text(equation("eq-two")), check("eq-two"))
    for name, page in pages.items():
        book.write(name, page)
    built = book.build()
    assert "the ledger has" in built.error
    return built


def test_a_book_in_order_builds_silently(book):
    book.notebook("one", *GOOD)
    book.notebook("two", text(equation("eq-two")), check("eq-two"))
    built = book.build("html")
    assert (built.warnings, built.error) == ("", "")
    chapter = built.page("one")
    # The badge stands right after its equation and leads to the check's cell.
    assert re.search(
        r'id="equation-eq-one".*?</div>\s*<p class="vf-badge-row"><a class="vf-badge '
        r'vf-pass[^"]*" href="#check-eq-one"[^>]*>✓ checked</a>',
        chapter,
        re.DOTALL,
    )
    assert re.search(r'<div class="cell[^"]*" id="check-eq-one">', chapter)
    assert '<a class="vf-label" href="#equation-eq-one">equation (1.1)</a>' in chapter
    assert chapter.count("vf-badge-row") == 1  # none after the definition
    two = built.page("two")
    assert '<a class="vf-label" href="#equation-eq-two">equation (2.1)</a>' in two
    ledger = built.page("ledger")
    words = " ".join(re.sub(r"<[^>]*>", " ", ledger).split())
    assert "2 claims 2 checks 4 mistakes rejected" in words
    assert 'href="one.html#equation-eq-one">(1.1)</a>' in ledger
    assert 'href="two.html#check-eq-two">✓ checked</a>' in ledger
    assert "one side &amp; the other" in ledger
    assert "mistake &lt;1&gt;" in ledger
    assert "≤ 1e-10" in ledger
    assert ledger.count("a = b") == 2  # the formulas themselves
    assert re.search(r"<script[^>]*mathjax", ledger)  # and what draws them
    assert "def-name" not in ledger


def test_a_claim_without_a_check_stops_the_build(book):
    built = faulty(book, text(equation("eq-one")))
    (fault,) = built.faults
    assert "claim eq-one has no check here" in fault
    assert "one.ipynb" in fault


def test_a_check_in_another_chapter_does_not_count(book):
    book.notebook("one", text(equation("eq-one")))
    book.notebook("two", text("Words."), check("eq-one"))
    built = book.build()
    assert "claim eq-one has no check here" in built.warnings
    assert "a check of eq-one (cell 2), but no such claim" in built.warnings
    assert "2 faults" in built.error


def test_a_failed_check_stops_the_build(book):
    built = faulty(book, GOOD[0], check("eq-one", passed=False))
    (fault,) = built.faults
    assert "the check of eq-one (cell 2) failed" in fault


def test_one_failed_check_of_two_stops_the_build(book):
    built = faulty(book, *GOOD, check("eq-one", passed=False))
    assert "the check of eq-one (cell 3) failed" in built.warnings


def test_a_check_without_an_equation_stops_the_build(book):
    built = faulty(book, *GOOD, check("eq-three"))
    (fault,) = built.faults
    assert "a check of eq-three (cell 3), but no such claim" in fault


def test_a_check_without_stored_output_stops_the_build(book):
    built = faulty(book, GOOD[0], check("eq-one", stored=False))
    assert "the check of eq-one (cell 2) has no stored card" in built.warnings
    assert "claim eq-one has no check here" in built.warnings


def test_a_second_check_without_stored_output_stops_the_build_too(book):
    built = faulty(book, *GOOD, check("eq-one", stored=False))
    (fault,) = built.faults
    assert "the check of eq-one (cell 3) has no stored card" in fault


@pytest.mark.parametrize("tag", ["remove-output", "remove-cell"])
def test_a_check_kept_from_the_page_stops_the_build(book, tag):
    built = faulty(book, GOOD[0], check("eq-one", tags=(tag,)))
    assert "the check of eq-one (cell 2) is not on the page" in built.warnings


def test_a_label_used_in_two_chapters_stops_the_build(book):
    built = faulty(book, *GOOD, text(equation("eq-two")), check("eq-two"))
    assert "label eq-two is used in one too" in built.warnings


def test_a_label_used_twice_on_a_page_stops_the_build(book):
    built = faulty(book, *GOOD, text(equation("eq-one")))
    assert "label eq-one is used twice" in built.warnings


def test_a_definition_label_used_twice_stops_the_build(book):
    built = faulty(book, *GOOD, text(equation("def-name")))
    assert "label def-name is used twice" in built.warnings


@pytest.mark.parametrize("label", ["eq_one", "eq-", "eq-One", "thm-a", "one", "def_a"])
def test_a_malformed_label_stops_the_build(book, label):
    built = faulty(book, *GOOD, text(equation(label)))
    assert f"label '{label}' is neither a claim" in built.warnings


def test_a_numbered_environment_stops_the_build(book):
    formula = "\\begin{equation}\na = b\n\\end{equation}\n"
    built = faulty(book, *GOOD, text(formula))
    assert "a numbered environment has no label of its own" in built.warnings


def test_a_claim_on_a_text_page_stops_the_build(book):
    directive = "```{math}\n:label: eq-text\na = b\n```\n"
    built = faulty(book, *GOOD, ledger=f"# Ledger\n\n{directive}\n```{{ledger}}\n```\n")
    (fault,) = built.faults
    assert "claim eq-text has no check here" in fault
    assert "ledger.md" in fault


def test_a_card_that_cannot_be_read_stops_the_build(book):
    cell = check("eq-one")
    html = cell.outputs[0].data["text/html"]
    cell.outputs[0].data["text/html"] = html.replace("&quot;label&quot;", "label")
    built = faulty(book, GOOD[0], cell)
    assert "cell 2 stores a card that cannot be read" in built.warnings


def test_every_fault_is_listed(book):
    built = faulty(
        book,
        text(equation("eq-one") + "\n" + equation("eq-five") + "\n" + equation("bad")),
        check("eq-one", passed=False),
        check("eq-nine"),
    )
    assert len(built.faults) == 4
    assert "the ledger has 4 faults" in built.error


def test_a_failed_build_fails_again_until_it_is_mended(book):
    book.notebook("one", text(equation("eq-one")))
    book.notebook("two", text(equation("eq-two")), check("eq-two"))
    assert "1 fault" in book.build().error
    assert "1 fault" in book.build().error
    book.notebook("one", *GOOD)
    assert book.build().error == ""
    assert book.build().error == ""


def test_a_later_change_is_noticed_and_the_ledger_follows(book):
    book.notebook("one", *GOOD)
    book.notebook("two", text(equation("eq-two")), check("eq-two"))
    assert book.build("html").error == ""
    more = (text(equation("eq-more")), check("eq-more"))
    book.notebook("one", *GOOD, *more)
    built = book.build("html")
    assert built.error == ""
    assert 'one.html#equation-eq-more">(1.3)' in built.page("ledger")
    book.notebook("one", *GOOD, more[0])
    assert "claim eq-more has no check here" in book.build("html").warnings


def test_a_removed_chapter_is_forgotten(book):
    book.notebook("one", *GOOD)
    book.notebook("two", text(equation("eq-two")), check("eq-two"))
    assert book.build().error == ""
    book.notebook("two", text("Nothing claimed."))
    built = book.build("html")
    assert built.error == ""
    assert "eq-two" not in built.page("ledger")


def test_faults_survive_reading_in_parallel(tmp_path):
    names = tuple(f"page{i}" for i in range(8))
    book = Book(tmp_path, names)
    for name in names:
        label = "eq-same" if name in ("page0", "page7") else f"eq-{name}"
        book.notebook(name, text(equation(label)), check(label))
    built = book.build(parallel=2)
    assert "label eq-same is used in page0 too" in built.warnings
    assert "the ledger has 1 fault" in built.error
