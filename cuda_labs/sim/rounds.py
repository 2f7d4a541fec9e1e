"""Mark where each round of a loop begins and ends, for profiles.

Lanes are paired by the rounds of loops, and these are found by the basic blocks that
the compiler reports. Two things would hide them. g++ reports no block that is empty,
and a loop whose body begins with another loop can begin with an empty one: by the
blocks that are left the two are one loop. And clang takes a loop with a `continue`
apart, into one loop in another, where a variable keeps its value in a round that
ends early. So the body of a loop that has others in it begins with `SIM_ROUND`, and
all rounds end at one `SIM_END` (sim_core.h): statements that do nothing and that no
compiler drops or copies. g++ keeps no value in a register past the former, which is
why the innermost loops go without.
"""

from __future__ import annotations

import re

from cuda_labs.sim.source import blank

_LOOP = re.compile(r"\b(?:for|while|do)\b")
_DIRECTIVE = re.compile(r"^[ \t]*#(?![ \t]*define\b)(?:\\\n|[^\n])*", re.M)
_TOKEN = re.compile(r"[^\s\\]")
_NAMED = re.compile(r"\b(\w+)(?:\s*=\s*\[[^\]]*\])?\s*(?=\()")
_ELSE = re.compile(r"[\s\\]*else\b")
_QUALIFIERS = re.compile(r"[\s\w]*(?:->[\s\w*&]*)?\{")


def marked(text: str) -> str:
    """`text` with the marks of its loops, line for line.

    `while (c)` becomes `for (; c; SIM_END) SIM_ROUND`, which declares in `c` as well.
    """
    bare = _DIRECTIVE.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), blank(text))
    loops = _looping(bare)
    changes: list[tuple[int, int, str]] = []

    def begins(at: int) -> None:
        if loops.search(bare, at, _end_of_statement(bare, at)):
            changes.append((at, at, " SIM_ROUND "))

    for match in _LOOP.finditer(bare):
        word, at = match.group(), match.end()
        if word == "do":
            begins(at)
            continue
        start, end, parts = _brackets(bare, at)
        following = _TOKEN.search(bare, end + 1)
        if not end:
            continue
        if word == "while":
            if following and following.group() == ";":
                continue  # the end of a `do`, or a body that is empty
            changes.append((match.start(), start + 1, f"for{bare[at:start]}(;"))
            changes.append((end, end, "; SIM_END"))
        elif len(parts) == 2:
            comma = ", " if bare[parts[1] + 1 : end].strip(" \t\r\n\\") else " "
            changes.append((end, end, f"{comma}SIM_END"))
        begins(end + 1)
    for first, last, new in sorted(changes, reverse=True):
        text = text[:first] + new + text[last:]
    return text


def _looping(bare: str) -> re.Pattern[str]:
    """A loop, or the name of a function or lambda of the source that has one."""
    bodies: dict[str, list[str]] = {}
    for match in _NAMED.finditer(bare):
        _, end, _ = _brackets(bare, match.end())
        if end and (opens := _QUALIFIERS.match(bare, end + 1)):
            body = bare[end + 1 : _end_of_statement(bare, opens.end() - 1)]
            bodies.setdefault(match.group(1), []).append(body)
    words = {"for", "while", "do"}
    for name in ("if", "switch", *words):
        bodies.pop(name, None)
    while True:
        pattern = re.compile(rf"\b(?:{'|'.join(sorted(words))})\b")
        more = {n for n, found in bodies.items() if any(map(pattern.search, found))}
        if more <= words:
            return pattern
        words |= more


def _end_of_statement(bare: str, at: int) -> int:
    """Behind the first statement."""
    depth = 0
    for match in re.compile(r"[()\[\]{};]").finditer(bare, at):
        token = match.group()
        depth += (token in "([{") - (token in ")]}")
        ends = not depth and token in "};" and not _ELSE.match(bare, match.end())
        if depth < 0 or ends:
            return match.end()
    return len(bare)


def _brackets(bare: str, at: int) -> tuple[int, int, list[int]]:
    """Where the brackets at `at` open and close, and the semicolons in them."""
    depth, start = 0, 0
    parts: list[int] = []
    for match in _TOKEN.finditer(bare, at):
        token = match.group()
        if not depth and token != "(":
            break
        start = start or match.start()
        depth += (token in "([{") - (token in ")]}")
        if not depth:
            return start, match.start(), parts
        if token == ";" and depth == 1:
            parts.append(match.start())
    return 0, 0, []
