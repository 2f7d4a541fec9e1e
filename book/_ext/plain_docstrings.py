"""Docstrings as they are written: plain text with equations, not reStructuredText.

The package's docstrings are meant to be read in the source and in `help()`, so they
hold `(B, *S)` and `|x|` without escapes, equations on lines of their own, and tables
drawn with spaces. Before Sphinx reads one, this extension

* keeps ``literal`` and `literal` text, and escapes every other special character;
* sets short indices as such, x_t and w_{k+1} with a subscript, and *A Title* as one;
* turns indented blocks, tables and lines that are equations into literal blocks;
* turns "name: what it is" with a hanging indent into an item of a list, and so the
  arguments under "Args:".

Types in signatures that have no entry on any page stay plain text; a reference in
prose that leads nowhere is still an error of the build.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

LITERAL = re.compile(r"``(.+?)``|:\w+:`~?(.+?)`|`(.+?)`")
TITLE = re.compile(r"\\\*([A-Z][A-Za-z -]*[a-z])\\\*(?!\w)")  # once escaped
FACTORY = re.compile(r"~[\w.]+\.(\w+)| = <factory>")
SPECIAL = re.compile(r"([\\*|_`])")
# A letter, perhaps with d before or a dot over it, an underscore, a short index.
INDEX = re.compile(
    r"(?<!\w)(d?[A-Za-z\u0391-\u03c9\u1fb1][\u0300-\u036f]?)"
    r"\\_([A-Za-z0-9]|\{[^}]{1,12}\})(?![A-Za-z0-9]|\\_)"
)
# Displayed mathematics: a left side without spaces, then a relation.
EQUATION = re.compile(r"^[^\s,;]{1,18} [=≈∝] ")
LIST_ITEM = re.compile(r"^([-*]|\d+\.) ")
NAMED = re.compile(r"^([a-z]\w*(?:, [a-z]\w*)*): (?=\S)")


def escape(text: str) -> str:
    """One paragraph's text: literals kept, everything else shown as it is."""
    parts, end = [], 0
    for match in LITERAL.finditer(text):
        parts.append(_prose(text[end : match.start()]))
        inner = next(group for group in match.groups() if group)
        parts.append(f"``{inner}``")
        end = match.end()
    parts.append(_prose(text[end:]))
    return "".join(parts)


def _prose(text: str) -> str:
    return TITLE.sub(r"*\1*", INDEX.sub(_index, SPECIAL.sub(r"\\\1", text)))


def _index(match: re.Match[str]) -> str:
    return f"{match[1]}\\ :sub:`{match[2].strip('{}')}`\\ "


def paragraphs(lines: list[str]) -> Iterator[list[str]]:
    """Runs of lines between blank ones."""
    block: list[str] = []
    for line in [*lines, ""]:
        if line.strip():
            block.append(line.rstrip())
        elif block:
            yield block
            block = []


def items(block: list[str]) -> list[list[str]]:
    """A paragraph with hanging indents, cut at every line that is not indented."""
    out: list[list[str]] = []
    for line in block:
        if line.startswith(" ") and out:
            out[-1].append(line)
        else:
            out.append([line])
    return out


def is_equation(block: list[str]) -> bool:
    """Whether a paragraph is displayed mathematics: short, and a relation leads."""
    prose = re.search(r"[a-z]{3,} [a-z]{3,} [a-z]{2,}", " ".join(block))
    return len(block) <= 3 and bool(EQUATION.match(block[0])) and not prose


def literal(block: list[str]) -> list[str]:
    """The lines of a literal block, its own indentation kept."""
    indent = min(len(line) - len(line.lstrip()) for line in block)
    return [*("   " + line[indent:] for line in block), ""]


def listed(block: list[str]) -> list[str]:
    """A paragraph with hanging indents: named items, and prose between them."""
    out: list[str] = []
    bullets = False
    for first, *rest in items(block):
        name = NAMED.match(first)
        marker = LIST_ITEM.match(first)
        if bool(name or marker or rest) != bullets and out and out[-1]:
            out.append("")
        bullets = bool(name or marker or rest)
        if name:
            text = " ".join([first[name.end() :], *(line.strip() for line in rest)])
            out.append(f"- ``{name[1]}``: {escape(text)}")
        elif marker:
            text = " ".join([first[marker.end() :], *(line.strip() for line in rest)])
            out.append(f"- {escape(text)}")
        elif rest:
            out += [escape(first), ""]
            out += [f"- {escape(line.strip())}" for line in rest]
        else:
            out.append(escape(first))
    return [*out, ""]


def convert(lines: list[str]) -> list[str]:
    """The same text as reStructuredText that shows it unchanged."""
    out: list[str] = []
    literal_open = False
    for k, block in enumerate(paragraphs(lines)):
        if block == ["::"]:
            continue
        hanging = any(line.startswith(" ") for line in block)
        if block[0].startswith((" ", "|")) or (k and is_equation(block)):
            out += ([] if literal_open else ["::", ""]) + literal(block)
            literal_open = True
            continue
        literal_open = False
        block[-1] = re.sub("::$", ":", block[-1])  # the block after it says so itself
        if block[0] == "Args:":
            indent = len(block[1]) - len(block[1].lstrip())
            out += ["Arguments:", "", *listed([line[indent:] for line in block[1:]])]
        elif (
            len(block) > 1 and len(block[0]) < 60 and block[0].endswith(":") and hanging
        ):
            out += [escape(block[0]), "", "::", "", *literal(block[1:])]
        elif hanging or LIST_ITEM.match(block[0]) or all(map(NAMED.match, block)):
            out += listed(block)
        else:
            out += [*map(escape, block), ""]
    return out


def process(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Give Sphinx the text of one docstring, converted in place."""
    lines[:] = convert(lines)


def plain_signature(
    app: Sphinx,
    what: str,
    name: str,
    obj: Any,
    options: Any,
    signature: str | None,
    returned: str | None,
) -> tuple[str | None, str | None]:
    """Types by their last name, and no default that is made anew each time."""
    if signature:
        signature = FACTORY.sub(lambda match: match[1] or "", signature)
    return signature, returned


def plain_type(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, text: nodes.Node
) -> nodes.Node | None:
    """A type in a signature that is documented nowhere is shown without a link."""
    parent = node.parent
    while parent is not None and not isinstance(parent, addnodes.desc_signature):
        parent = parent.parent
    if parent is None or node.get("refdomain") != "py":
        return None
    return text.deepcopy()


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.connect("autodoc-process-docstring", process)
    app.connect("autodoc-process-signature", plain_signature)
    app.connect("missing-reference", plain_type)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
