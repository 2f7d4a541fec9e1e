"""What the rows of gpu.py say: in words, and against what is aimed at."""

from __future__ import annotations

from typing import Any

# Fractions of the library's speed that are aimed at on an H200, by ladder or rung;
# the best rung of a ladder counts.
GOALS = {
    "vector_add": 1.0,
    "transpose": 0.95,
    "reduction": 1.0,
    "softmax": 1.0,
    "matmul": 0.9,
    "matmul:06_wmma": 0.35,
    "matmul:07_mma": 0.55,
    "matmul:08_wgmma": 0.9,
    "attention:06_mma": 1.0,
    "attention:07_wgmma": 0.75,
    "flash_backward": 0.6,
    "decode": 0.9,
}
# The peer that a goal speaks of, where it is not the fastest.
PEERS = {"attention:06_mma": "SDPA, flash", "attention:07_wgmma": "SDPA, cuDNN"}
GOALS_BY_SHAPE = {("softmax", (1, 1 << 24)): 2.0}  # one huge row

Row = dict[str, Any]


def verdicts(rows: list[Row]) -> list[Row]:
    """For each goal, shape and dtype the best rung's fraction, and is it reached."""
    found: dict[tuple[str, tuple[int, ...], str], Row] = {}
    for row in rows:
        if row.get("fraction") is None:
            continue
        own = f"{row['operation']}:{row['rung']}"
        name = own if own in GOALS else row["operation"]
        shape = tuple(row["shape"])
        goal = GOALS_BY_SHAPE.get((name, shape), GOALS.get(name))
        if goal is None:
            continue
        fraction = row["fraction"]
        if PEERS.get(name) in row.get("peers", {}):
            fraction = row["peers"][PEERS[name]] / row["median"]
        key = name, shape, row.get("dtype", "")
        last = found.get(key)
        if last is None or fraction > last["fraction"]:
            found[key] = {
                "goal": name,
                "shape": list(shape),
                "dtype": row.get("dtype", ""),
                "rung": row["rung"],
                "against": PEERS.get(name, row.get("library")),
                "fraction": fraction,
                "wanted": goal,
                "reached": fraction >= goal,
            }
    return list(found.values())


def line(row: Row) -> str:
    """A row in words."""
    head = f"{row['operation']:15}{row['rung']:20}"
    for word in ("skipped", "failed"):
        if word in row:
            return f"{head}{row.get('shape', '')!s:22} {word}: {row[word]}"
    text = f"{head}{tuple(row['shape'])!s:22}{1e6 * row['median']:11.1f} µs"
    text += f"{row['GB/s']:8.0f} GB/s{row['TFLOP/s']:8.2f} TFLOP/s"
    text += f"  {row['of roof']:.2f} of the {row['bound']} roof"
    if row["library"]:
        text += f", {row['fraction']:.2f} of {row['library']}"
    return text
