"""What the source says of the variables in a compiled kernel, and of their types."""

from __future__ import annotations

import re

from cuda_labs.sim.elf import Image, Variable
from cuda_labs.sim.source import blank, line_of
from cuda_labs.sim.unit import local_name


def plain_name(symbol: str) -> str:
    """The last name in a mangled one: `w` of `_ZN2nsL1wE`, `s` of `_ZZ1fPfE1s`."""
    if symbol.startswith("_ZZ"):
        return local_name(symbol) or symbol
    rest, last = symbol.removeprefix("_Z").removeprefix("N").removeprefix("L"), ""
    while symbol.startswith("_Z") and (digits := re.match(r"\d+", rest)):
        end = digits.end() + int(digits.group())
        last, rest = rest[digits.end() : end], rest[end:].removeprefix("L")
    return last or symbol


def static_local(source: str, name: str) -> int:
    """Line on which a function declares a `static` local `name`, else 0."""
    bare = blank(source)
    for match in re.finditer(rf"\bstatic\b[^;(){{}}]*\b{re.escape(name)}\b", bare):
        if "__shared__" not in match.group():
            return line_of(bare, match.start())
    return 0


def structures_of(source: str) -> set[str]:
    """ "some" if the source has structures, "aligned" if one says how it is aligned.

    What has an alignment of 8 or 16 bytes a GPU may move whole.
    """
    bare, found = blank(source), set[str]()
    if re.search(r"\b(?:struct|class|union)\b", bare):
        found.add("some")
    aligned = r"\b(?:struct|class|union)\s+(?:__align__|alignas|__builtin_align__)\b"
    if re.search(aligned, bare):
        found.add("aligned")
    return found


def constants(source: str, image: Image) -> tuple[Variable, ...]:
    """The variables that are declared `__constant__`: no kernel may change them.

    One behind a macro that hides the word is not found.
    """
    bare = blank(source)
    return tuple(
        v
        for v in image.device
        if re.search(
            rf"\b__constant__\b[^;]*?(?<![\w.>]){re.escape(plain_name(v.name))}\b", bare
        )
    )


def are_independent(source: str, image: Image) -> bool:
    """Whether no block can depend on another, or on the order of output.

    True when nothing in the source is a way for blocks to communicate: atomics,
    volatile, fences, variables that a kernel can change, and printf.
    """
    if re.search(r"\batomic|\bvolatile\b|\b__threadfence|\bprintf\b", blank(source)):
        return False
    return constants(source, image) == image.device
