"""The text that a compiler is given for a kernel, and what it answers."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from functools import lru_cache

from cuda_labs.errors import CompileError, Unsupported
from cuda_labs.sim.source import INCLUDE, balanced, blank, simulated_headers

SOURCE_NAME = "kernel.cu"
_TYPE_NAMES = shlex.split(
    "size_t ptrdiff_t intptr_t uintptr_t uchar ushort uint ulong "
    "int8_t int16_t int32_t int64_t uint8_t uint16_t uint32_t uint64_t"
)
# Headers that are read when a source may need them, and what tells that.
RARE = {
    "sim_special.h": r"pi[f]?\s*\(|inv[f]?\s*\(|norm|rhypot|erfcx|rcbrt|exp10|fdivide",
    "sim_round.h": r"_r[nzud]\b|2(?:hi|lo)int\b|\b__hiloint",
    "sim_traits.h": r"\bstd\s*::\s*(?:is_|enable_if|conditional|remove_|decay|declval"
    r"|void_t|true_|false_|integral_c|make_u?n?signed|numeric_l|u?int|size_t|ptrdiff)",
    "sim_std.h": r"\bstd\s*::\s*(?!forward\b|move\b)",
    "sim_simd.h": r"\b__(?:v[a-z]|dp[24]a|fns|u?sad|u?r?hadd|u?mul64|funnelshift_.c)",
}
# A new type or constant, [] for what its braces hold; not a template's further case.
_ADDED = re.compile(
    r"\b(?:struct|class)\s+(\w+)\s*[\[:]|\busing\s+(\w+)\s*="
    r"|\bconstexpr\s+[\w:]+\s+(\w+)\s*[=\[]"
)
# Names that only host code uses, as compilers report them.
_HOST_NAME = (
    r"\bcuda[A-Z]\w*\b.*declared|(?:undeclared identifier|unknown type).*\bcuda[A-Z]"
    r"|not a member of .std\b|in namespace .std\b"
    r"|[‘'](?:FILE|std(?:in|out|err)|f(?:open|close|printf)|exit|ato[fi]|s?rand|getenv"
    r"|perror|time(?:val)?|gettimeofday|thrust)[’']"
)
# What compilers say of a call that there is nothing for.
_LACKING = re.compile(r"attribute error: (.*)|'error' attribute: (.*)")
# What is said first of a function whose parameters hold the actual error.
_FOLLOWS = r"declared void$|variable has incomplete type 'void'"
_UNCLOSED = re.compile(
    rf"^{re.escape(SOURCE_NAME)}:(\d+):.*note: to match this .(.)", re.M
)
_AFTER_UNCLOSED = r"expected unqualified-id|function.definition is not allowed"
_ASKED = re.compile(
    rf"^{re.escape(SOURCE_NAME)}:(\d+):.*(?:required from|requested here)", re.M
)


def head(source: str, options: Sequence[str], *, rare: bool = False) -> str:
    """What stands before `source`: the simulator's headers, then -D and -U.

    rare: with those too that nothing in `source` seems to need.

    Headers that `source` includes come here too, so that no macro of the source
    or the options changes what they say.
    """
    own = [*taken_names(source), *taken_traits(source)]
    hidden = "".join(f"#define {name} sim_own_{name}\n" for name in own)
    shown = "".join(f"#undef {name}\n" for name in [*own, *taken_macros(source)])
    headers = [name for name, use in RARE.items() if rare or re.search(use, source)]
    headers += simulated_headers(source)
    included = "".join(f"#include <{name}>\n" for name in headers)
    defined = "".join(_directive(option) for option in options)
    core = f'{hidden}#include "sim_core.h"\n{included}{shown}{defined}'
    return f'{core}#line 1 "{SOURCE_NAME}"\n'


def taken_names(source: str) -> list[str]:
    """Integer types that `source` defines for itself, as it may in CUDA C."""
    bare = blank(source)
    return [
        name
        for name in _TYPE_NAMES
        if re.search(rf"\btypedef\b[^;{{}}]*\b{name}\s*;|\busing\s+{name}\s*=", bare)
    ]


def taken_traits(source: str) -> list[str]:
    """Types and constants that `source` adds to std, as it must for NVRTC."""
    bare = blank(source)
    added: set[str] = set()
    for match in re.finditer(r"\bnamespace\s+std\s*(?=\{)", bare):
        inside, held = balanced(bare, match.end(), "{}"), 1
        while held:  # what has braces of its own adds but its name
            inside, held = re.subn(r"\{[^{}]*\}", "[]", inside)
        added |= {name for names in _ADDED.findall(inside) for name in names if name}
    return sorted(added)


def taken_macros(source: str) -> list[str]:
    """Macros of the host's headers whose names `source` gives to variables."""
    bare = blank(source)
    return [
        name
        for name in sorted(set(re.findall(r"\w+", bare)) & names_of_headers()[0])
        if re.search(rf"\w\s+{name}\s*(?:=(?!=)|\{{|;|\[)", bare)
        and not re.search(rf"\b(?:return|else|case)\s+{name}\b", bare)
    ]


@lru_cache(maxsize=1)
def names_of_headers() -> tuple[frozenset[str], frozenset[str]]:
    """Macros and types that sim_names.h defines."""
    text = (INCLUDE / "sim_names.h").read_text("utf-8")
    macros = re.findall(r"^#define (\w+)", text, re.M)
    types = re.findall(r"^typedef [^;]*?(\w+);", text, re.M)
    return frozenset(macros), frozenset(types)


def _directive(option: str) -> str:
    name, _, value = option[2:].partition("=")
    if option.startswith("-U"):
        return f"#undef {name}\n"
    return f"#define {name} {value if '=' in option else 1}\n"


def failure(log: str) -> CompileError:
    """What to raise for a compiler's log."""
    for line in log.splitlines():
        lacking = _LACKING.search(line)
        if lacking and line.startswith(SOURCE_NAME):
            what = lacking.group(1) or lacking.group(2)
            return Unsupported(what, int(line.split(":")[1]))
    return CompileError(first_error(log), log)


def first_error(log: str) -> str:
    """The first error in a compiler's log, with its line of the source."""
    found = [line for line in log.splitlines() if "error:" in line]
    if len(found) > 1 and re.search(_FOLLOWS, found[0]):
        del found[0]
    for line in found:
        place, _, message = line.partition("error:")
        unclosed = _UNCLOSED.search(log)
        if place.startswith(SOURCE_NAME):
            said = _hint(message.strip())
            if unclosed and re.search(_AFTER_UNCLOSED, message):
                line_there, brace = unclosed.groups()
                said += f" (is the {brace} of line {line_there} closed?)"
            return f"line {place.split(':')[1]}: {said}"
        if "reference" in message and "pointer" in message:
            return "a parameter of the kernel is a reference"
        if "'sim_entry" in message or "‘sim_entry" in message:
            return "the kernel is no __global__ function that returns void"
        if unclosed:  # the source ends before it does
            return f"line {unclosed.group(1)}: this {unclosed.group(2)} is never closed"
        if place.startswith("entry") or "unable to deduce" in message:
            return f"no such kernel, or more than one: {message.strip()}"
        asked = _ASKED.search(log)
        if asked:  # a header's template, of that line's arguments
            said = re.sub(r"static assertion failed.*?: ", "", message.strip())
            return f"line {asked.group(1)}: {said}"
        return line.strip()
    return log or "the compiler failed without a message"


def _hint(message: str) -> str:
    """A compiler's message, with what to do about it where that is known."""
    unmasked = re.search(r"\b__(?:shfl(?:_up|_down|_xor)?|ballot|any|all)\b", message)
    if unmasked:
        name = unmasked.group()
        return f"{message} (removed since GPUs of 2017: write {name}_sync with a mask)"
    if re.search(_HOST_NAME, message):
        return f"{message} (is it host code? paste the kernels and what they call)"
    return message


def kernel_names(source: str) -> set[str]:
    """Names of the functions that `source` declares `__global__`, and some more."""
    bare = blank(source)
    found: set[str] = set()
    for match in re.finditer(r"\b__global__\b[^;{}]*", bare):
        found |= set(re.findall(r"\b(\w+)\s*\(", match.group())[:2])
    return found


def owner(symbol: str) -> str:
    """The function whose local a mangled name is: `f` of `_ZZN1n1fIiEEvPfE1s`."""
    rest, last = symbol.removeprefix("_ZZ").removeprefix("N"), ""
    if not symbol.startswith("_ZZ"):
        return ""
    while digits := re.match(r"\d+", rest):
        end = digits.end() + int(digits.group())
        last, rest = rest[digits.end() : end], rest[end:]
    return last


def local_name(symbol: str) -> str:
    """The variable in a mangled local name: `s` of `_ZZ1fPfE1s`."""
    tail = symbol.rpartition("E")[2]
    digits = tail[: len(tail) - len(tail.lstrip("0123456789"))]
    return tail[len(digits) :][: int(digits)] if digits else ""
