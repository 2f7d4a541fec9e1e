"""What a damaged kernel differs by: one piece of its code, and what it becomes."""

from __future__ import annotations

# What may become of a piece of code; the pattern's match is replaced.
CHANGES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r" \+ ", (" - ", " * ")),
    (r" - ", (" + ",)),
    (r" \* ", (" + ", " / ")),
    (r" / ", (" * ", " % ")),
    (r" % ", (" / ", " * ")),
    (r" < ", (" <= ", " > ", " != ")),
    (r" <= ", (" < ",)),
    (r" > ", (" >= ", " < ")),
    (r" >= ", (" > ", " < ")),
    (r" == ", (" != ",)),
    (r" && ", (" || ",)),
    (r" \^ ", (" | ", " + ")),
    (r" = ", (" += ", " -= ")),
    (r" \+= ", (" -= ", " = ")),
    (r" /= ", (" *= ", " -= ")),
    (r"\+\+(?=\w)", ("--", "")),
    (r"(?<![\w.])\d+(?![\w.])", ("{n} + 1", "{n} - 1", "{n} * 2", "0", "-{n}")),
    (r"\[(?=[^\]])", ("[1 + ", "[-1 + ", "[1000003 * ", "[2 * ")),
    (r"\bthreadIdx\.x\b", ("threadIdx.y", "blockIdx.x", "(threadIdx.x + 1)")),
    (r"\bblockIdx\.x\b", ("blockIdx.y", "threadIdx.x", "(blockIdx.x + 1)")),
    (r"\bthreadIdx\.y\b", ("threadIdx.x",)),
    (r"\bblockIdx\.y\b", ("blockIdx.x",)),
    (r"\b(?:rows|cols|[mnk])\b(?! \w)", ("1", "(-{n})", "({n} + 1)", "(2 * {n})")),
    (r"__syncthreads\(\);", ("",)),
    (r"__syncwarp\(\);", ("",)),
    (r"\(size_t\)|\(long long\)", ("(short)", "(unsigned char)")),
    (r"0xffffffffu", ("0x0000ffffu", "1u")),
    (r"(?<=\n)[ ]+[\w\[\].* ]+ \+?= [^;{}]*;(?=\n)", ("",)),
    (r"\bif \(", ("while (", "if (!")),
)
