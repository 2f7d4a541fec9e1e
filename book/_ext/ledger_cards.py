"""The checks that a stored notebook holds: what its code asks for, what it shows.

Nothing here knows about Sphinx; the tests read notebooks with it too.
"""

from __future__ import annotations

import ast
import html
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KINDS = {"symbolic", "close", "sampled", "order"}
CLAIM = re.compile(r"eq-[a-z0-9]+(-[a-z0-9]+)*")
DEFINITION = re.compile(r"def-[a-z0-9]+(-[a-z0-9]+)*")
RECORD = re.compile(r'<div class="vf-card [^>]*?data-vf="([^"]*)"')


@dataclass(frozen=True)
class Card:
    """One stored check: the cell that shows it and the record on its card."""

    cell: int
    label: str
    kind: str
    what: str
    verdict: str
    bound: str
    rejects: tuple[str, ...]
    seeds: tuple[int, ...]
    shared: tuple[str, ...]
    given: tuple[str, ...]


def read_notebook(path: str | Path) -> dict[str, Any]:
    """The notebook's JSON."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def joined(text: str | list[str]) -> str:
    """Multi-line text as notebooks store it: one string or a list of lines."""
    return text if isinstance(text, str) else "".join(text)


def code_cells(notebook: dict[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Code cells with their place among all cells."""
    for index, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] == "code":
            yield index, cell


def cards_of(notebook: dict[str, Any]) -> list[Card]:
    """Every card in the stored outputs, in order.

    Raises `ValueError` for a card whose record cannot be read.
    """
    cards: list[Card] = []
    for index, cell in code_cells(notebook):
        for output in cell.get("outputs", []):
            text = joined(output.get("data", {}).get("text/html", ""))
            cards += [_card(index, html.unescape(r)) for r in RECORD.findall(text)]
    return cards


def _card(cell: int, record: str) -> Card:
    try:
        fields = json.loads(record)
        return Card(
            cell,
            fields["label"],
            fields["kind"],
            fields["what"],
            fields["verdict"],
            fields["bound"],
            tuple(fields["rejects"]),
            tuple(fields["seeds"]),
            tuple(fields["shared"]),
            tuple(fields["given"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"cell {cell} stores a card that cannot be read") from error


def checks_asked(source: str) -> list[str]:
    """Labels of the checks that a cell's code asks for, as far as they are literal."""
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a magic, which no check is made with
        return []
    return [
        str(node.args[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "verify"
        and node.func.attr in KINDS
        and node.args
        and isinstance(node.args[0], ast.Constant)
    ]


def checks_without_card(notebook: dict[str, Any]) -> list[tuple[int, str]]:
    """Checks in the code, as (cell, label), whose cell stores no card for them."""
    shown = {(card.cell, card.label) for card in cards_of(notebook)}
    return [
        (index, label)
        for index, cell in code_cells(notebook)
        for label in checks_asked(joined(cell["source"]))
        if (index, label) not in shown
    ]
