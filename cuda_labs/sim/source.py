"""From CUDA C to what a host compiler accepts, line for line.

Little is changed in the text: `extern __shared__ T s[];` becomes a pointer to
the block's dynamic shared memory, `static __shared__` loses the word that the
qualifier already implies, and `alignas` changes places with the qualifier. What
the simulator cannot do is refused here, with its line.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from cuda_labs.errors import Unsupported
from cuda_labs.sim import deferred
from cuda_labs.sim.host_headers import needless

INCLUDE = Path(__file__).parent / "include"

_REFUSED = (
    (
        r"\b(?:int|void|auto)\s+main\s*\(",
        "host code (paste the kernels and what they call)",
    ),
    (r"\b(?:asm|__asm__|__asm)\b", "inline PTX (asm)"),
    (r"<<<", "a launch from CUDA C (<<<...>>>)"),
    (
        r"\b__cluster_dims__|\bthis_cluster\b|\bcluster_group\b",
        "a thread-block cluster",
    ),
    (r"\bblock_tile_memory\b", "a tile of several warps"),
    (r"\bcudaTextureObject_t\b|\btex[123]D\w*|\btexture\s*<", "a texture"),
    (r"\bcudaSurfaceObject_t\b|\bsurf[123]D\w*", "a surface"),
    (r"\bclock(?:64)?\s*\(|\b__globaltimer\b", "a clock"),
    (r"(?<![\w.:>])(?:malloc|free)\s*\(", "device malloc"),
    (r"\bnew\b\s*(?!\()", "operator new"),
    (r"\bthread_local\b", "thread_local"),
    (r"\blong\s+double\b", "long double (a GPU has none)"),
    (
        r"\b__pipeline_arrive_on\b|\b__mbarrier_\w+|\bcuda::barrier\b",
        "a barrier in shared memory (mbarrier)",
    ),
    (r"\bpipeline_shared_state\b", "a pipeline shared by threads"),
    (r"\bnvcuda::experimental\b", "nvcuda::experimental"),
    (r"\bCUtensorMap\b|\bcp_async_bulk\w*", "the tensor memory accelerator"),
    (
        r"\bcub\s*::(?!\s*(?:BlockReduce|WarpReduce|BLOCK_REDUCE_\w+|Sum|Max|Min"
        r"|ArgMax|ArgMin|KeyValuePair|BlockReduceAlgorithm)\b)",
        "more of CUB than the reductions of a block and of a warp",
    ),
)
CONSTRUCTS = tuple(construct for _, construct in _REFUSED)
# Part of every translation unit, or empty: nothing is left to include.
BUILT_IN = frozenset(
    shlex.split(
        "cuda_runtime.h cuda_runtime_api.h device_launch_parameters.h math.h cmath "
        "stdint.h cstdint stddef.h cstddef stdio.h cstdio assert.h cassert float.h "
        "cfloat limits.h climits math_constants.h vector_types.h string.h cstring "
        "vector_functions.h device_functions.h device_atomic_functions.h "
        "sm_20_atomic_functions.h cuda.h "
    )
)
_DIRECTIVE = r"^[ \t]*#(?:\\\n|[^\n])*\n"
_ALIGNED = re.compile(r"(\b__shared__)(\s+)(\balignas\s*\((?:[^()]|\([^()]*\))*\))")
BOUND_PREFIX = "sim_bound_of_"
RENAMED = {
    "cuda/pipeline": "sim_pipeline.h",
    "thrust/complex.h": "sim_complex.h",
    "type_traits": "sim_traits.h",
    "limits": "sim_traits.h",
    "cuda/std/type_traits": "sim_traits.h",
    "cuda/std/limits": "sim_traits.h",
    "cuda/std/cstdint": "sim_traits.h",
}
_INCLUDE_LINE = r"^[ \t]*#[ \t]*include\b[^\n]*"
_DYNAMIC = re.compile(r"\bextern\b(?=[^;{}]*\b__shared__\b)[^;{}]*;")
_DYNAMIC_MACRO = re.compile(
    r"\bextern\b(?:\\\n|[^;{}\n])*?\b__shared__\b(?:\\\n|[^;{}\n\[])*\[\s*\]"
)
_DYNAMIC_SWAPPED = re.compile(r"\b__shared__\s+extern\b[^;{}]*;")
_ATTRIBUTE = re.compile(
    r"\b(?:__align__|alignas|__attribute__)\s*\((?:[^()]|\([^()]*\))*\)"
    r"|\bextern\b|\b__shared__\b"
)
_DECLARATOR = re.compile(r"(.*?)(\w+)\s*\[\s*\]((?:\s*\[[^\]]*\])*)\s*;?", re.S)
_LITERAL = re.compile(
    r"\bR\"([^()\\\s]*)\(.*?\)\1\"|//(?:\\\n|[^\n])*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|(?<![0-9A-Fa-f])'(?:\\.|[^'\\\n])*'",
    re.S,
)


def blank(source: str) -> str:
    """`source` with comments and literals blanked, every offset kept."""
    return _LITERAL.sub(lambda match: _spaces(match.group()), source)


def _spaces(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)


def line_of(text: str, offset: int) -> int:
    """1-based line of an offset."""
    return text.count("\n", 0, offset) + 1


def translate(source: str) -> str:
    """Check and rewrite `source`. Raises `Unsupported` with line and name."""
    bare = blank(source)
    perhaps = deferred.doubtful(bare)
    changes: list[tuple[int, int, str]] = []
    for number, (pattern, construct) in enumerate(_REFUSED):
        for match in re.finditer(pattern, bare):
            if not _within(match.start(), perhaps):
                raise Unsupported(construct, line_of(bare, match.start()))
            changes.append((*match.span(), deferred.mark(number)))
    changes += _includes(source, bare, perhaps)
    for directive in re.finditer(_DIRECTIVE, bare, re.M):
        for match in _DYNAMIC_MACRO.finditer(bare, *directive.span()):
            lines = "\\\n" * match.group().count("\n")
            changes.append((*match.span(), _pointer(match, bare).rstrip("\n;") + lines))
    outside = re.sub(_DIRECTIVE, lambda m: _spaces(m.group()), bare, flags=re.M)
    for pattern in (_DYNAMIC, _DYNAMIC_SWAPPED):
        changes += [
            (*match.span(), _pointer(match, bare))
            for match in pattern.finditer(outside)
        ]
    changes += [
        (*match.span(), _newlines(match.group()))
        for match in re.finditer(r"\bstatic\s+(?=__shared__)", bare)
    ]
    # C++ wants alignas before the words that the qualifier stands for.
    changes += [
        (*match.span(), match.group(3) + match.group(2) + match.group(1))
        for match in _ALIGNED.finditer(bare)
        if not any(start <= match.start() < end for start, end, _ in changes)
    ]
    for start, end, text in sorted(changes, reverse=True):
        source = source[:start] + text + source[end:]
    return source


def simulated_headers(source: str) -> list[str]:
    """Headers of the simulator that `source` includes, in its order."""
    found: dict[str, None] = {}
    for match in re.finditer(_INCLUDE_LINE, blank(source), re.M):
        name = header_at(source, match.start())
        name = RENAMED.get(name, name)
        if name not in BUILT_IN and (INCLUDE / name).is_file():
            found[name] = None
    return list(found)


def launch_bound(text: str, name: str) -> tuple[str, str]:
    """Translated text and an expression for the threads that `name` allows.

    The argument of the kernel's `__launch_bounds__` may name macros, constants
    and template parameters. It becomes the extent of an array, declared where
    the kernel is, which the compiler evaluates. "0" where there is no bound.
    """
    scope, _, last = name.partition("<")[0].strip().rpartition("::")
    arguments = name.strip()[len(name.partition("<")[0].rstrip()) :]
    bare = blank(text)
    for match in re.finditer(rf"\b{re.escape(last)}\s*\(", bare):
        start = max(bare.rfind(mark, 0, match.start()) for mark in ";{}") + 1
        between = bare[start : match.start()]
        directives = list(re.finditer(_DIRECTIVE, between, re.M))
        start += directives[-1].end() if directives else 0
        declared = bare[start : match.start()]
        bound = re.search(r"\b__launch_bounds__\s*\(", declared)
        if bound is None or "__global__" not in declared:
            continue
        inside = balanced(declared, bound.end() - 1, "()")
        made = f"{BOUND_PREFIX}{last}"
        place = f"{scope}::{made}" if scope else made
        header = re.match(r"\s*template\s*<", declared)
        if header:
            listed = balanced(declared, header.end() - 1, "<>")
            new = f"template <{listed}> char (&{made}())[SIM_FIRST({inside})]; "
            found = f"sizeof({place}{arguments}())"
        else:
            new = f"extern char {made}[SIM_FIRST({inside})]; "
            found = f"sizeof({place})"
        at = start + len(declared) - len(declared.lstrip())
        return text[:at] + new.replace("\n", " ") + text[at:], f"int({found})"
    return text, "0"


def balanced(text: str, at: int, pair: str) -> str:
    """What the bracket at `at` holds."""
    depth = 0
    for i in range(at, len(text)):
        depth += (text[i] == pair[0]) - (text[i] == pair[1])
        if depth == 0:
            return text[at + 1 : i]
    return text[at + 1 :]


def header_at(source: str, at: int) -> str:
    """The name in the #include at `at`, or "" when a macro gives it."""
    match = re.match(r"\s*#\s*include\s*[<\"]([^>\"\n]+)[>\"]", source[at:])
    return match.group(1) if match else ""


def _includes(
    source: str, bare: str, perhaps: list[tuple[int, int]]
) -> list[tuple[int, int, str]]:
    """What stands for each header that is not one of the simulator's own."""
    changes = []
    for match in re.finditer(_INCLUDE_LINE, bare, re.M):
        name = header_at(source, match.start())
        if name in RENAMED:
            instead = f'#include "{RENAMED[name]}"'
        elif (INCLUDE / name).is_file():
            continue
        elif name in BUILT_IN or needless(name, bare):
            instead = ""
        elif _within(match.start(), perhaps):
            instead = deferred.mark_include(name)
        else:
            raise Unsupported(f"#include <{name}>", line_of(bare, match.start()))
        changes.append((*match.span(), instead))
    return changes


def _within(offset: int, spans: list[tuple[int, int]]) -> bool:
    return any(start <= offset < end for start, end in spans)


def _newlines(text: str) -> str:
    return "\n" * text.count("\n")


def _pointer(match: re.Match[str], bare: str) -> str:
    text = _ATTRIBUTE.sub(" ", match.group().replace("\\\n", " "))
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
