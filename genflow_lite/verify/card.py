"""What a check says: one line of text and a small card of HTML.

The line and the card hold the verdict, the tolerance and the names of the refused
mistakes, which must never change unnoticed, and measured numbers, which differ in
their last digits between machines. Measured numbers stand only where the notebook
test knows to look: after "error", "z =" or "slope" in the line and inside
`<span class="vf-num">` in the card.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from html import escape


class CheckFailed(AssertionError):
    """A check whose claim disagrees with its truth or that accepts a mistake.

    `result` is the failed `Result`, as shown on the card.
    """

    def __init__(self, message: str, result: Result) -> None:
        super().__init__(message)
        self.result = result


@dataclass(frozen=True)
class Mistake:
    """One wrong claim: `measured` may differ between machines, `fixed` may not."""

    name: str
    refused: bool
    words: str = ""
    measured: str = ""
    fixed: str = ""


@dataclass(frozen=True)
class Result:
    """Everything that a card shows about one check."""

    label: str
    kind: str
    what: str
    words: str  # "error", "z =", "slope" or "claim − truth"
    measured: str
    bound: str  # "≤ 1e-10"
    mistakes: tuple[Mistake, ...]
    runs: str = ""
    seeds: tuple[int, ...] = ()
    shared: tuple[str, ...] = ()
    given: tuple[str, ...] = ()
    problems: tuple[str, ...] = field(default=())

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    @property
    def mark(self) -> str:
        """The verdict as one character."""
        return "✓" if self.passed else "✗"

    @property
    def refused(self) -> list[str]:
        """Names of the mistakes that the comparison refuses."""
        return [mistake.name for mistake in self.mistakes if mistake.refused]

    def line(self) -> str:
        """One deterministic line but for the measured number."""
        fields = [
            f"{self.mark} {self.label}",
            self.kind,
            " ".join(filter(None, (self.words, self.measured, self.bound))),
            f"rejects: {', '.join(self.refused) or 'nothing'}",
            *self.problems,
        ]
        return " | ".join(fields)

    def record(self) -> dict[str, object]:
        """What the book's ledger stores: no measured number is in it."""
        return {
            "label": self.label,
            "kind": self.kind,
            "what": self.what,
            "verdict": "pass" if self.passed else "fail",
            "bound": self.bound,
            "rejects": self.refused,
            "seeds": list(self.seeds),
            "shared": list(self.shared),
            "given": list(self.given),
        }

    def html(self) -> str:
        """The card; it reads well with no style sheet at all."""
        state = "pass" if self.passed else "fail"
        data = escape(json.dumps(self.record(), ensure_ascii=False, sort_keys=True))
        verdict = "checked" if self.passed else "failed"
        what = f"<br><span class='vf-what'>{escape(self.what)}</span>"
        refused = "; ".join(escape(name) for name in self.refused) or "nothing"
        problems = "".join(
            f"<p class='vf-problem'><strong>{escape(p)}</strong></p>"
            for p in self.problems
        )
        return (
            f'<div class="vf-card vf-{state}" data-vf="{data}" '
            'style="border-left:.25em solid;padding:.2em .8em;margin:.4em 0">\n'
            f"<div class='vf-head'><strong><span class='vf-mark'>{self.mark}</span> "
            f"<span class='vf-verdict'>{verdict}</span></strong> "
            f"<code class='vf-label'>{escape(self.label)}</code> "
            f"<span class='vf-kind'>{self.kind}</span>: "
            f"<span class='vf-measure'>{self._measure()}</span>"
            f"{what if self.what else ''}</div>\n"
            f"{problems}"
            f"<details class='vf-more'><summary>Mistakes rejected: "
            f"<span class='vf-refused'>{refused}</span></summary>\n"
            f"<dl>\n{self._details()}</dl></details>\n</div>"
        )

    def _measure(self) -> str:
        return f"{escape(self.words)} {_number(self.measured)} {escape(self.bound)}"

    def _details(self) -> str:
        rows: list[tuple[str, str]] = []
        for mistake in self.mistakes:
            verdict = "rejected" if mistake.refused else "accepted"
            told = f"{escape(mistake.words)} {_number(mistake.measured)}"
            words = told if mistake.measured else ""
            parts = filter(None, (verdict, words, escape(mistake.fixed)))
            rows.append((escape(mistake.name), ", ".join(parts)))
        rows.append(("runs", escape(self.runs)))
        common = ", ".join(f"<code>{escape(name)}</code>" for name in self.shared)
        rows.append(("library code that both sides call", common or "none"))
        if self.given:
            given = ", ".join(f"<code>{escape(name)}</code>" for name in self.given)
            rows.append(("functions of this page that both use", given))
        return "".join(f"<dt>{name}</dt><dd>{text}</dd>\n" for name, text in rows)


def short(value: float) -> str:
    """A measured number in two significant digits."""
    return f"{float(f'{value:.1e}'):g}"


def _number(text: str) -> str:
    return f'<span class="vf-num">{escape(text)}</span>' if text else ""


def show(result: Result) -> None:
    """Display the card; raise `CheckFailed` if the check failed."""
    emit(result.line(), result.html())
    if not result.passed:
        raise CheckFailed(f"{result.label}: {'; '.join(result.problems)}", result)


def emit(line: str, html: str) -> None:
    """One display with text/plain and text/html, or a printed line outside IPython."""
    ipython = sys.modules.get("IPython")
    if ipython is None or ipython.get_ipython() is None:
        print(line)
        return
    from IPython.display import display

    display({"text/plain": line, "text/html": html}, raw=True)
