"""What may not be compiled at all is refused only once it is.

A branch of `#if` for other hardware, or a macro that nobody expands, may hold what
the simulator lacks. It is marked there, and the compiler tells whether it sees it.
"""

from __future__ import annotations

import re

from cuda_labs.errors import CompileError, Unsupported

_MARK = "sim_lacks"
_DIRECTIVE = re.compile(r"^[ \t]*#[ \t]*(?P<word>\w+)(?:\\\n|[^\n])*", re.M)
_SEEN = re.compile(rf"^kernel\.cu:(\d+):.*\b{_MARK}(?:_(\d+)\b| (#include <[^>\n]*>))")


def doubtful(bare: str) -> list[tuple[int, int]]:
    """Where text stands that the compiler perhaps never sees: bodies of macros, and
    all between an `#if` and its `#endif`."""
    found, depth, start = [], 0, 0
    for match in _DIRECTIVE.finditer(bare):
        word = match["word"]
        if word == "define" and not depth:
            found.append(match.span())
        elif word in ("if", "ifdef", "ifndef"):
            depth, start = depth + 1, start if depth else match.start()
        elif word == "endif" and depth:
            depth -= 1
            if not depth:
                found.append((start, match.end()))
    return found


def mark(number: int) -> str:
    """What stands for a construct: an error where the compiler comes to it, also
    within a function that it has given up."""
    return f' _Pragma("GCC error \\"{_MARK}_{number}\\"") '


def mark_include(name: str) -> str:
    """What stands for a header."""
    return f"#error {_MARK} #include <{name}>"


def refuse_marked(error: CompileError, constructs: tuple[str, ...]) -> None:
    """Raise `Unsupported` when the compiler has come to a mark, else nothing."""
    for line in error.log.splitlines():
        match = _SEEN.match(line)
        if match:
            number, header = match.group(2), match.group(3)
            construct = header or constructs[int(number)]
            raise Unsupported(construct, int(match.group(1))) from None
