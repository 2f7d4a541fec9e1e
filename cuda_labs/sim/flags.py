"""Flags of the compilers that build kernels and the process that runs them."""

from __future__ import annotations

import shlex

FLAVOURS = ("fast", "checked", "profile")
HOST = shlex.split(
    "-std=c++17 -O2 -fno-omit-frame-pointer -fno-exceptions -fno-rtti -rdynamic"
)
# Zig would build for the very processor it runs on. As machines may share a folder of
# objects, and its switch of stacks saves what every processor has, it must not.
HOST_LIBRARIES = {
    "gnu": shlex.split("-Wl,--no-as-needed -lm -ldl"),
    "zig": shlex.split(
        "-mcpu=baseline -nostdlib++ -fno-sanitize=undefined -Wl,--no-as-needed -lm -ldl"
    ),
}

_COMMON = shlex.split(
    "-std=c++17 -O2 -fPIC -shared -nostdinc -nostdlib -w -fvisibility=hidden "
    "-fno-exceptions -fno-rtti -fno-threadsafe-statics -fno-strict-aliasing "
    "-fwrapv -fno-math-errno -ffp-contract=off -fsigned-char "
    "-fno-omit-frame-pointer -fno-optimize-sibling-calls -fstack-clash-protection "
    "-fno-delete-null-pointer-checks -fno-finite-loops -fno-plt -g1"
)
_GNU = shlex.split("-fno-gnu-unique -fno-ipa-reference")
# No transformation that adds, drops, merges or widens accesses, so that what
# the hooks see is what the source says.
_GNU_CHECKED = shlex.split(
    "-fsanitize=thread -fsanitize=bounds,integer-divide-by-zero,shift-exponent,"
    "float-cast-overflow -fstack-protector-strong -fno-tree-vectorize "
    "-fno-tree-slp-vectorize -fno-unroll-loops -fno-tree-loop-distribute-patterns "
    "-fno-store-merging --param=tsan-instrument-func-entry-exit=0 "
    "--param=tsan-distinguish-volatile=1"
)
# Basic blocks and calls are reported too, and code is neither duplicated nor
# merged: lanes at one place in the source are at one place in the object.
_GNU_PROFILE = shlex.split(
    "-fsanitize-coverage=trace-pc --param=tsan-instrument-func-entry-exit=1 "
    "-fno-crossjumping -fno-tree-tail-merge -fno-code-hoisting -fno-tree-sink "
    "-fno-thread-jumps "
    "-fno-split-paths -fno-unswitch-loops -fno-peel-loops -fno-ipa-cp-clone "
    "-fno-split-loops -fno-reorder-blocks-and-partition -fno-ipa-icf "
    "-freorder-blocks-algorithm=simple "
    # The marks of loops (rounds.py) count as code: calls are inlined all the same.
    "--param=max-inline-insns-auto=60 --param=max-inline-insns-small=40 "
    "--param=early-inlining-insns=60 --param=large-function-growth=400 "
    "--param=inline-unit-growth=200"
)
_ZIG = shlex.split("-mcpu=baseline -fno-sanitize=undefined -gline-tables-only")
_ZIG_CHECKS = "array-bounds,integer-divide-by-zero,shift-exponent,float-cast-overflow"
_ZIG_CHECKED = shlex.split(
    f"-Xclang -fsanitize=thread,{_ZIG_CHECKS} -Xclang -fsanitize-recover={_ZIG_CHECKS} "
    "-fno-vectorize -fno-slp-vectorize -fno-unroll-loops "
    "-mllvm -tsan-instrument-func-entry-exit=0 "
    "-mllvm -tsan-instrument-read-before-write=1 "
    "-mllvm -tsan-instrument-atomics=0 -mllvm -tsan-distinguish-volatile=1 "
    "-mllvm -disable-loop-idiom-all"
)
# The option that -Xclang -fsanitize-coverage-type=3 sets is "every edge".
_ZIG_PROFILE = shlex.split(
    "-Xclang -fsanitize-coverage-type=3 -Xclang -fsanitize-coverage-trace-pc "
    "-Xclang -fsanitize-coverage-no-prune "
    "-mllvm -jump-threading-threshold=0 -mllvm -simplifycfg-sink-common=0 "
    "-mllvm -simplifycfg-hoist-common=0 -mllvm -enable-tail-merge=0 "
    "-mllvm -disable-early-taildup -mllvm -disable-tail-duplicate "
    "-mllvm -tail-dup-placement=0"
)
_PLAIN = {"gnu": ["-fno-tree-sra"], "zig": ["-O0"]}
_ENTRY_ON, _ENTRY_OFF = (f"-tsan-instrument-func-entry-exit={n}" for n in (1, 0))


def of_kernel(
    family: str,
    flavour: str,
    *,
    plain: bool = False,
    typed: bool = False,
    whole: bool = False,
) -> list[str]:
    """Compiler flags of a flavour: "fast", "checked" or "profile".

    plain: vector types are structures, which the compiler must not take apart.
    typed: there are structures. g++'s hooks ask nothing above 8 bytes of how they are
    aligned, so it checks what each type needs itself.
    whole: structures have an alignment by which a GPU moves them whole, and a
    profile is to see them so.
    """
    if flavour not in FLAVOURS:
        raise ValueError(f"flavour: one of {FLAVOURS}, got {flavour!r}")
    own, checked, profile = {
        "gnu": (_GNU, _GNU_CHECKED, _GNU_PROFILE),
        "zig": (_ZIG, _ZIG_CHECKED, _ZIG_PROFILE),
    }[family]
    flags = [*_COMMON, *own]
    if flavour != "fast":
        flags += checked
    if typed and family == "gnu" and flavour != "fast":
        flags += ["-fsanitize=alignment", "-DSIM_TYPED"]
    if flavour == "profile":
        flags = [_ENTRY_ON if f == _ENTRY_OFF else f for f in flags] + profile
    if (plain and flavour != "fast") or (whole and flavour == "profile"):
        flags += _PLAIN[family]
    return flags
