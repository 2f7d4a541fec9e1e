"""The page *Ledger*: every claim of the book with its check."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

from docutils import nodes
from ledger_account import Page
from ledger_cards import Card
from sphinx.application import Sphinx
from sphinx.domains.math import MathDomain
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective

KIND_WORDS = {
    "symbolic": "symbolic: the difference is simplified to 0",
    "close": "close: numbers against an independent truth",
    "sampled": "sampled: a Monte Carlo estimate with its standard error",
    "order": "order: a measured order of convergence",
}


class LedgerNode(nodes.General, nodes.Element):
    """Stands where the account goes until every document has been read."""


class LedgerDirective(SphinxDirective):
    """``{ledger}``: the account of all claims and checks."""

    def run(self) -> list[nodes.Node]:
        """Leave a place for the account."""
        return [LedgerNode()]


def number_of(env: BuildEnvironment, docname: str, label: str) -> str:
    """An equation's number as the page shows it, "(1.3)", or "" if it has none."""
    config = env.config
    if config.math_numfig and config.numfig:
        numbers = env.toc_fignumbers.get(docname, {}).get("displaymath", {})
        parts = numbers.get(nodes.make_id(f"equation-{label}"), ())
        number = ".".join(map(str, parts))
        number = config.math_numsep.join(number.rsplit(".", 1))
    else:
        domain = cast(MathDomain, env.get_domain("math"))
        number = str(domain.get_equation_number_for(label) or "")
    return f"({number})" if number else ""


def in_order(env: BuildEnvironment, accounts: Mapping[str, Page]) -> list[str]:
    """Documents with claims, as the table of contents has them."""

    def below(docname: str) -> Iterator[str]:
        for child in env.toctree_includes.get(docname, []):
            yield child
            yield from below(child)

    order = list(dict.fromkeys([env.config.root_doc, *below(env.config.root_doc)]))
    rest = sorted(set(accounts) - set(order))
    return [d for d in (*order, *rest) if d in accounts and accounts[d].claims]


def fill(app: Sphinx, accounts: Mapping[str, Page], here: str) -> list[nodes.Node]:
    """The account: totals, then one group for each chapter."""
    chapters = in_order(app.env, accounts)
    claims = sum(len(accounts[d].claims) for d in chapters)
    cards = [card for d in chapters for card in accounts[d].cards]
    mistakes = sum(len(card.rejects) for card in cards)
    totals = box(
        "vf-totals",
        *(
            nodes.paragraph("", "", nodes.strong("", str(n)), nodes.Text(f" {words}"))
            for n, words in (
                (claims, _plural(claims, "claim")),
                (len(cards), _plural(len(cards), "check")),
                (mistakes, f"{_plural(mistakes, 'mistake')} rejected"),
            )
        ),
    )
    ways = nodes.bullet_list(classes=["vf-chapters"])
    for docname in chapters:
        text = _numbered(app.env, docname)
        link = nodes.reference("", text, internal=True, refid=_anchor(docname))
        count = len(accounts[docname].claims)
        line = nodes.paragraph("", "", link, nodes.Text(f": {_claims(count)}"))
        ways += nodes.list_item("", line)
    return [totals, ways, *(_chapter(app, accounts[d], d, here) for d in chapters)]


def _chapter(app: Sphinx, page: Page, docname: str, here: str) -> nodes.section:
    uri = app.builder.get_relative_uri(here, docname)
    title = nodes.title()
    # The chapter's own number, not the one that this page's sections would get.
    title["secnumber"] = app.env.toc_secnumbers.get(docname, {}).get("")
    name = app.env.titles[docname].astext()
    title += nodes.reference("", name, internal=True, refuri=uri)
    noted = nodes.paragraph("", _claims(len(page.claims)), classes=["vf-count"])
    section = nodes.section("", title, noted, ids=[_anchor(docname)])
    for label, (latex, _) in page.claims.items():
        section += _claim(app, page, docname, uri, label, latex)
    return section


def _claim(
    app: Sphinx, page: Page, docname: str, uri: str, label: str, latex: str
) -> nodes.Node:
    number = number_of(app.env, docname, label) or label
    target = f"{uri}#{nodes.make_id(f'equation-{label}')}"
    name = nodes.paragraph("", "", classes=["vf-entry-number"])
    name += nodes.reference("", number, internal=True, refuri=target)
    formula = nodes.math_block(latex, latex, nowrap=False, number=None, label=None)
    entry = box("vf-entry", name, box("vf-entry-formula", formula))
    entry["ids"] = [nodes.make_id(f"ledger-{label}")]
    for card in page.cards:
        if card.label == label:
            entry += _check(card, f"{uri}#{page.anchors.get(label, '')}")
    return entry


def _check(card: Card, link: str) -> nodes.Node:
    mark = "✓ checked" if card.verdict == "pass" else "✗ failed"
    badge = nodes.reference("", mark, internal=True, refuri=link)
    badge["classes"] = ["vf-badge", f"vf-{card.verdict}"]
    head = nodes.paragraph("", "", badge, classes=["vf-entry-what"])
    if card.what:
        head += nodes.Text(f" {card.what}")
    facts = nodes.definition_list(classes=["vf-facts"])
    rejects = nodes.bullet_list()
    for mistake in card.rejects:
        rejects += nodes.list_item("", nodes.paragraph("", mistake))
    facts += _fact("kind", nodes.paragraph("", KIND_WORDS.get(card.kind, card.kind)))
    facts += _fact("tolerance", nodes.paragraph("", card.bound))
    facts += _fact("rejects", rejects)
    return box("vf-entry-check", head, facts)


def _fact(term: str, *body: nodes.Node) -> nodes.definition_list_item:
    return nodes.definition_list_item(
        "", nodes.term("", term), nodes.definition("", *body)
    )


def box(name: str, *children: nodes.Node) -> nodes.container:
    """A `div` with a class."""
    return nodes.container("", *children, classes=[name])


def _numbered(env: BuildEnvironment, docname: str) -> str:
    """A chapter's title with its number, if it has one."""
    number = env.toc_secnumbers.get(docname, {}).get("")
    prefix = ".".join(map(str, number)) + ". " if number else ""
    return prefix + env.titles[docname].astext()


def _anchor(docname: str) -> str:
    return nodes.make_id(f"ledger-{docname}")


def _claims(count: int) -> str:
    return f"{count} {_plural(count, 'claim')}"


def _plural(count: int, word: str) -> str:
    return word if count == 1 else f"{word}s"
