"""A profile as text, and as a table: the source with its numbers in the margin.

The table carries classes and no colours; the book's style sheet has those, and in
JupyterLab or on a page without style it reads as a plain table. What is poor is
said in words as well ("ideal 4"), never by colour alone.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cuda_labs.sim.findings import Finding
    from cuda_labs.sim.profile import Profile

Row = dict[str, "int | float | str"]

_PLAIN = "margin:0;padding:0;background:none;border:0;white-space:pre-wrap"
_LEFT = "text-align:left;vertical-align:top"


def is_poor(row: Row) -> bool:
    """Whether the line asks for more sectors, or turns, than its bytes need."""
    if "sectors/request" in row:
        return float(row["sectors/request"]) > float(row["ideal"])
    return float(row.get("ways", 1.0)) > 1.0


def words(row: Row) -> str:
    """A row of `Profile.table`, without its line, in words."""
    text = f"{row['access']}: {_many(row['requests'], 'request')}"
    if "sectors/request" in row:
        text += f", {_many(row['sectors/request'], 'sector')} each"
        if is_poor(row):
            text += f" (ideal {row['ideal']:.4g})"
    if "ways" in row:
        text += f", {_many(row['wavefronts'], 'wavefront')}"
        text += f" ({row['ways']:.4g}-way)" if is_poor(row) else ""
    if float(row["lanes"]) < 32:
        text += f", {row['lanes']:.4g} of 32 lanes"
    return text


def text(profile: Profile) -> str:
    """Findings, then one line of numbers for each line and kind of access."""
    lines = [f"✗ {f}" for f in profile.errors] + [f"note: {f}" for f in profile.notes]
    lines += [f"line {row['line']}: {words(row)}" for row in profile.table]
    return "\n".join(lines)


def page(profile: Profile) -> str:
    """The source with its numbers beside each line, the findings above it."""
    margin: dict[int, list[str]] = {}
    for row in profile.table:
        margin.setdefault(int(row["line"]), []).append(_access(row))
    bad = {f.line for f in profile.errors} | {f.other_line for f in profile.errors}
    noted = {f.line for f in profile.notes} | {f.other_line for f in profile.notes}
    head = _findings("cuda-error", "✗ ", profile.errors)
    head += _findings("cuda-note", "note: ", profile.notes)
    titles = ("line", "source", "memory") if margin else ("line", "source")
    rows = "".join(
        _line(
            number,
            code,
            margin.get(number, []) if margin else None,
            number in bad,
            number in noted,
        )
        for number, code in enumerate(profile.source.splitlines(), start=1)
    )
    heads = "".join(
        f'<th role="columnheader" scope="col" style="{_LEFT}">{title}</th>'
        for title in titles
    )
    return (
        f'<div class="cuda-profile">{head}'
        '<table role="table" aria-label="Source with its memory traffic">'
        f'<thead role="rowgroup"><tr role="row">{heads}</tr></thead>'
        f'<tbody role="rowgroup">{rows}</tbody></table>{_total(profile)}</div>'
    )


def _line(
    number: int, code: str, accesses: list[str] | None, is_bad: bool, is_noted: bool
) -> str:
    css = "cuda-bad" if is_bad else "cuda-noted" if is_noted else ""
    mark = f' class="{css}"' if css else ""
    before, slashes, after = code.partition("//")
    shown = html.escape(before)
    if slashes:
        shown += f'<span class="cuda-comment">{html.escape(slashes + after)}</span>'
    cells = (
        f'<th role="rowheader" scope="row" style="{_LEFT}">{number}</th>'
        f'<td role="cell" style="{_LEFT}"><pre style="{_PLAIN}">{shown}</pre></td>'
    )
    if accesses is not None:
        cells += (
            f'<td role="cell" class="cuda-margin" style="{_LEFT}">'
            f"{''.join(accesses)}</td>"
        )
    return f'<tr role="row"{mark}>{cells}</tr>'


def _access(row: Row) -> str:
    kind, _, numbers = words(row).partition(": ")
    css = "cuda-access cuda-poor" if is_poor(row) else "cuda-access"
    return f'<div class="{css}"><b>{kind}</b>: {html.escape(numbers)}</div>'


def _findings(css: str, mark: str, findings: Iterable[Finding]) -> str:
    return "".join(
        f'<p class="{css}">{html.escape(mark + str(f))}</p>' for f in findings
    )


def _total(profile: Profile) -> str:
    if not profile.requested_bytes:
        return ""
    return (
        f'<p class="cuda-total">Global memory: {profile.requested_bytes:,} bytes '
        f"requested, in sectors of 32; {profile.footprint:,} different bytes.</p>"
    )


def counted(count: int, noun: str) -> str:
    """A count with its noun, as in messages: "1 byte", "1024 bytes"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _many(count: int | float | str, noun: str) -> str:
    value = float(count)
    number = f"{count:,}" if isinstance(count, int) else f"{value:.4g}"
    return f"{number} {noun}" if value == 1 else f"{number} {noun}s"
