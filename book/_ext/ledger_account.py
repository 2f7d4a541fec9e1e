"""What every document claims, checks and gets wrong, kept while Sphinx reads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ledger_cards import Card
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment


@dataclass
class Page:
    """What one document claims, checks and gets wrong."""

    claims: dict[str, tuple[str, int | None]] = field(default_factory=dict)
    definitions: list[str] = field(default_factory=list)
    cards: list[Card] = field(default_factory=list)
    anchors: dict[str, str] = field(default_factory=dict)
    faults: list[tuple[str, str, int | None]] = field(default_factory=list)
    is_ledger: bool = False


def pages(env: BuildEnvironment) -> dict[str, Page]:
    """The account of every document, kept in the environment."""
    if not hasattr(env, "ledger_pages"):
        env.ledger_pages = {}  # type: ignore[attr-defined]
    return env.ledger_pages  # type: ignore[attr-defined]


def purge(_app: Sphinx, env: BuildEnvironment, docname: str) -> None:
    """Forget a document that is read again or removed."""
    pages(env).pop(docname, None)


def merge(
    _app: Sphinx,
    env: BuildEnvironment,
    docnames: Iterable[str],
    other: BuildEnvironment,
) -> None:
    """Take over what a parallel reader found."""
    for docname in docnames:
        if docname in pages(other):
            pages(env)[docname] = pages(other)[docname]
