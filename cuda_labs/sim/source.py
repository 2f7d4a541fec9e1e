"""From CUDA C to what a host compiler accepts, line for line.

Only two things are changed in the text: `extern __shared__ T s[];` becomes a
pointer to the block's dynamic shared memory, and `static __shared__` loses the
word that the qualifier already implies. What the simulator cannot do is
refused here, with its line.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from cuda_labs.errors import Unsupported

INCLUDE = Path(__file__).parent / "include"

_REFUSED = (
    (r"\b(?:asm|__asm__|__asm)\b", "inline PTX (asm)"),
    (r"<<<", "a launch from CUDA C (<<<...>>>)"),
    (
        r"\b__cluster_dims__|\bthis_cluster\b|\bcluster_group\b",
        "a thread-block cluster",
    ),
    (r"\bthis_grid\b|\bgrid_group\b", "grid-wide synchronisation"),
    (r"\bcudaTextureObject_t\b|\btex[123]D\w*|\btexture\s*<", "a texture"),
    (r"\bcudaSurfaceObject_t\b|\bsurf[123]D\w*", "a surface"),
    (r"\bclock(?:64)?\s*\(|\b__globaltimer\b", "a clock"),
    (r"(?<![\w.:>])(?:malloc|free)\s*\(", "device malloc"),
    (r"\bnew\b\s*(?!\()", "operator new"),
    (r"\bthread_local\b", "thread_local"),
    (r"\bCUtensorMap\b|\bcp_async_bulk\w*", "the tensor memory accelerator"),
)
# Part of every translation unit, or empty: nothing is left to include.
_BUILT_IN = frozenset(
    shlex.split(
        "cuda_runtime.h cuda_runtime_api.h device_launch_parameters.h math.h cmath "
        "stdint.h cstdint stddef.h cstddef stdio.h cstdio assert.h cassert float.h "
        "cfloat limits.h climits math_constants.h vector_types.h string.h cstring "
        "vector_functions.h device_functions.h device_atomic_functions.h "
        "sm_20_atomic_functions.h cuda.h "
    )
)
_DYNAMIC = re.compile(r"\bextern\b(?=[^;{}]*\b__shared__\b)[^;{}]*;")
_DYNAMIC_SWAPPED = re.compile(r"\b__shared__\s+extern\b[^;{}]*;")
_ATTRIBUTE = re.compile(
    r"\b(?:__align__|alignas|__attribute__)\s*\((?:[^()]|\([^()]*\))*\)"
    r"|\bextern\b|\b__shared__\b"
)
_DECLARATOR = re.compile(r"(.*?)(\w+)\s*\[\s*\]((?:\s*\[[^\]]*\])*)\s*;", re.S)
_LITERAL = re.compile(
    r"//(?:\\\n|[^\n])*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|(?<![0-9A-Fa-f])'(?:\\.|[^'\\\n])*'",
    re.S,
)


def blank(source: str) -> str:
    """`source` with comments and literals blanked, every offset kept."""

    def spaces(match: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", match.group())

    return _LITERAL.sub(spaces, source)


def line_of(text: str, offset: int) -> int:
    """1-based line of an offset."""
    return text.count("\n", 0, offset) + 1


def translate(source: str) -> str:
    """Check and rewrite `source`. Raises `Unsupported` with line and name."""
    bare = blank(source)
    for pattern, construct in _REFUSED:
        match = re.search(pattern, bare)
        if match:
            raise Unsupported(construct, line_of(bare, match.start()))
    _check_includes(source, bare)
    changes: list[tuple[int, int, str]] = []
    for pattern in (_DYNAMIC, _DYNAMIC_SWAPPED):
        changes += [
            (*match.span(), _pointer(match, bare)) for match in pattern.finditer(bare)
        ]
    changes += [
        (*match.span(), _newlines(match.group()))
        for match in re.finditer(r"\bstatic\s+(?=__shared__)", bare)
    ]
    changes += [
        (*match.span(), "")
        for match in re.finditer(r"^[ \t]*#[ \t]*include\b[^\n]*", bare, re.M)
        if _header(source, match.start()) in _BUILT_IN
    ]
    for start, end, text in sorted(changes, reverse=True):
        source = source[:start] + text + source[end:]
    return source


def static_local(source: str, name: str) -> int:
    """Line on which a function declares a `static` local `name`, else 0."""
    bare = blank(source)
    for match in re.finditer(rf"\bstatic\b[^;(){{}}]*\b{re.escape(name)}\b", bare):
        if "__shared__" not in match.group():
            return line_of(bare, match.start())
    return 0


def _header(source: str, at: int) -> str:
    match = re.match(r"\s*#\s*include\s*[<\"]([^>\"\n]+)[>\"]", source[at:])
    return match.group(1) if match else ""


def _check_includes(source: str, bare: str) -> None:
    for match in re.finditer(r"^[ \t]*#[ \t]*include\b", bare, re.M):
        name = _header(source, match.start())
        if name not in _BUILT_IN and not (INCLUDE / name).is_file():
            line = line_of(bare, match.start())
            raise Unsupported(f"#include <{name}>", line)


def _newlines(text: str) -> str:
    return "\n" * text.count("\n")


def _pointer(match: re.Match[str], bare: str) -> str:
    text = _ATTRIBUTE.sub(" ", match.group())
    parts = _DECLARATOR.fullmatch(text)
    if parts is None or "," in parts.group(1):
        raise Unsupported(
            "this form of dynamic shared memory", line_of(bare, match.start())
        )
    kind, name, extents = (" ".join(p.split()) for p in parts.groups())
    if extents:
        declared = f"{kind} (*const {name}){extents} = "
        declared += f"reinterpret_cast<{kind} (*){extents}>(sim_dynamic);"
    else:
        declared = f"{kind} *const {name} = reinterpret_cast<{kind} *>(sim_dynamic);"
    return declared + _newlines(match.group())
