"""The ledger as a Sphinx extension: no claim without its check.

A displayed equation labelled ``eq-…`` is a claim, one labelled ``def-…`` a
definition. The checks are the cards stored in the notebooks' outputs. This extension
puts a badge after each checked claim that leads to its check, the equation's number
on each card, and fills the directive ``{ledger}`` with the whole account.

The build fails, with every fault listed first, for a claim without a check in its
own chapter, a check that failed, a check without a claim, a check whose cell stores
no card, a label used twice, and a labelled equation that is neither kind.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

from docutils import nodes
from ledger_account import Page, merge, pages, purge
from ledger_cards import (
    CLAIM,
    DEFINITION,
    Card,
    cards_of,
    checks_without_card,
    read_notebook,
)
from ledger_page import LedgerDirective, LedgerNode, fill, number_of
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.domains.math import MathDomain
from sphinx.environment import BuildEnvironment
from sphinx.errors import ExtensionError
from sphinx.util import logging

logger = logging.getLogger(__name__)

CARD_LABEL = re.compile(r"<code class='vf-label'>(eq-[a-z0-9-]+)</code>")


def collect(app: Sphinx, doctree: nodes.document) -> None:
    """Read a document's claims and cards; place the badges and their anchors."""
    env = app.env
    page = Page()
    equations = _collect_claims(page, doctree)
    path = Path(env.doc2path(env.docname))
    if path.suffix == ".ipynb":
        _collect_cards(page, doctree, path)
    if any(True for _ in doctree.findall(LedgerNode)):
        page.is_ledger = True
        # The page's formulas arrive after MathJax is chosen, so ask for it now.
        domain = cast(MathDomain, env.get_domain("math"))
        domain.data["has_equations"][env.docname] = True
    for label, equation in equations.items():
        checks = [card for card in page.cards if card.label == label]
        if checks and label in page.anchors:
            _place_badge(equation, page.anchors[label], checks)
    if page != Page():
        pages(env)[env.docname] = page


def _collect_claims(page: Page, doctree: nodes.document) -> dict[str, nodes.Element]:
    equations: dict[str, nodes.Element] = {}
    for equation in doctree.findall(nodes.math_block):
        label = equation.get("label")
        if not label:
            continue
        line = equation.line
        if CLAIM.fullmatch(label):
            if label in page.claims:
                page.faults.append(("duplicate", f"label {label} is used twice", line))
            page.claims[label] = (equation.astext(), line)
            equations[label] = equation
        elif DEFINITION.fullmatch(label):
            if label in page.definitions:
                page.faults.append(("duplicate", f"label {label} is used twice", line))
            page.definitions.append(label)
        elif "amsmath" in equation["classes"]:
            told = "a numbered environment has no label of its own: write $$…$$ (eq-…)"
            page.faults.append(("label", told, line))
        else:
            told = (
                f"label {label!r} is neither a claim (eq-…) nor a definition (def-…), "
                "in words of a–z and 0–9 joined by '-'"
            )
            page.faults.append(("label", told, line))
    return equations


def _collect_cards(page: Page, doctree: nodes.document, path: Path) -> None:
    notebook = read_notebook(path)
    try:
        page.cards = cards_of(notebook)
        missing = checks_without_card(notebook)
    except ValueError as error:
        page.faults.append(("card", str(error), None))
        return
    for cell, label in missing:
        told = (
            f"the check of {label} (cell {cell}) has no stored card: run the notebook"
        )
        page.faults.append(("output", told, None))
    cells = {
        node["cell_index"]: node
        for node in doctree.findall(nodes.container)
        if node.get("nb_element") == "cell_code"
    }
    for card in page.cards:
        tags = notebook["cells"][card.cell]["metadata"].get("tags", [])
        hidden = {"remove-output", "remove_output"} & set(tags)
        if card.cell not in cells or hidden:
            told = f"the check of {card.label} (cell {card.cell}) is not on the page"
            page.faults.append(("output", told, None))
            continue
        if card.label not in page.anchors:
            anchor = nodes.make_id(f"check-{card.label}")
            page.anchors[card.label] = anchor
            cells[card.cell]["ids"].append(anchor)


def _place_badge(equation: nodes.Element, anchor: str, checks: list[Card]) -> None:
    passed = all(card.verdict == "pass" for card in checks)
    text = "✓ checked" if passed else "✗ failed"
    link = nodes.reference("", text, internal=True, refid=anchor)
    link["classes"] = ["vf-badge", "vf-pass" if passed else "vf-fail"]
    count = sum(len(card.rejects) for card in checks)
    mistakes = "1 mistake" if count == 1 else f"{count} mistakes"
    link["reftitle"] = f"To the check of this equation; it rejects {mistakes}"
    row = nodes.paragraph("", "", link, classes=["vf-badge-row"])
    parent = equation.parent
    parent.insert(parent.index(equation) + 1, row)


def account(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Report every fault of the book; ask for the ledger's page to be written anew."""
    count = 0

    def fault(docname: str, subtype: str, text: str, line: int | None) -> None:
        nonlocal count
        count += 1
        place = (docname, line) if line is not None else docname
        logger.warning(text, type="ledger", subtype=subtype, location=place)

    owners: dict[str, str] = {}
    for docname, page in sorted(pages(env).items()):
        for subtype, text, line in page.faults:
            fault(docname, subtype, text, line)
        for label in (*page.claims, *page.definitions):
            other = owners.setdefault(label, docname)
            if other != docname:
                told = f"label {label} is used in {other} too"
                fault(docname, "duplicate", told, page.claims.get(label, ("", None))[1])
        checked = {card.label for card in page.cards}
        for label, (_, line) in page.claims.items():
            if label not in checked:
                fault(docname, "unchecked", f"claim {label} has no check here", line)
        for card in page.cards:
            if card.verdict != "pass":
                told = f"the check of {card.label} (cell {card.cell}) failed"
                fault(docname, "failed", told, None)
            if card.label not in page.claims:
                told = f"a check of {card.label} (cell {card.cell}), but no such claim"
                fault(docname, "orphan", told, None)
    app.ledger_faults = count  # type: ignore[attr-defined]
    return [docname for docname, page in pages(env).items() if page.is_ledger]


def finish(app: Sphinx, exception: Exception | None) -> None:
    """Fail the build once all faults, the ledger's and others, are listed.

    The error also makes Sphinx forget its saved state, so that the next build does
    not pass merely because it has nothing to read.
    """
    count = getattr(app, "ledger_faults", 0)
    if exception is None and count:
        faults = "1 fault" if count == 1 else f"{count} faults"
        raise ExtensionError(f"the ledger has {faults}, listed above")


def resolve(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Put numbers on the cards and fill the ledger's page."""
    page = pages(app.env).get(docname)
    if page is None:
        return
    if page.is_ledger:
        for node in list(doctree.findall(LedgerNode)):
            node.replace_self(fill(app, pages(app.env), docname))
    if page.cards:
        for raw in doctree.findall(nodes.raw):
            if raw.get("format") == "html" and "vf-card" in raw.astext():
                _number_card(app, raw, docname)


def _number_card(app: Sphinx, raw: nodes.raw, docname: str) -> None:
    def link(match: re.Match[str]) -> str:
        label = match.group(1)
        number = number_of(app.env, docname, label)
        if not number:
            return match.group(0)
        target = nodes.make_id(f"equation-{label}")
        return f'<a class="vf-label" href="#{target}">equation {number}</a>'

    text = CARD_LABEL.sub(link, raw.astext())
    raw.children = [nodes.Text(text)]
    raw.rawsource = text


def add_style(app: Sphinx, config: Config) -> None:
    """Serve the style sheet, unless the site serves its folder already."""
    static = Path(__file__).resolve().parents[1] / "_static"
    served = {(Path(app.confdir) / f).resolve() for f in config.html_static_path}
    if static not in served:
        config.html_static_path.append(str(static))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.add_css_file("ledger.css")
    app.connect("config-inited", add_style)
    app.add_node(LedgerNode)
    app.add_directive("ledger", LedgerDirective)
    app.connect("env-purge-doc", purge)
    app.connect("env-merge-info", merge)
    app.connect("doctree-read", collect)
    app.connect("env-updated", account)
    app.connect("doctree-resolved", resolve)
    app.connect("build-finished", finish)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
