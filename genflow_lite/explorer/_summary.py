"""A figure in words: the text that a test can compare between machines.

Every printed number is rounded to `digits` significant digits *of the range of its
channel over all states*. A value on a rounding boundary would flip with the last
bit, and exact fractions (0.25, 0.125) are such values; so all are moved up by
1.7e-6 of the range before they are rounded, which no exact result of a short
computation undoes. What remains is noise above 1e-6 of the range: then print less
(`digits=1`, or 0 for shapes only).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from genflow_lite.explorer._arrays import Array
from genflow_lite.explorer._controls import Control
from genflow_lite.explorer._evaluate import Evaluated
from genflow_lite.explorer._frames import CHANNELS, Frame

NUDGE = 1.7e-6


def rounded(value: float, size: float, digits: int) -> str:
    """`value` to `digits` significant digits of a quantity as large as `size`."""
    if not size > 0:
        return "0"
    places = digits - 1 - math.floor(math.log10(size * (1 + NUDGE)))
    shifted = round(value + NUDGE * size, places)
    text = f"{shifted:.{max(places, 0)}f}"
    return "0" if not float(text) else text.replace("-", "\u2212")


def describe(
    title: str,
    controls: Mapping[str, Control],
    labels: Mapping[str, str],
    start: Mapping[str, int],
    evaluated: list[Evaluated],
    digits: int,
) -> str:
    """The text/plain form: controls, kinds, and statistics of every series."""
    lines = [f"Explorer: {title}"]
    for name, control in controls.items():
        at = control.labels[start[name]]
        lines.append(f"  {labels[name]}: {control.describe()}; starts at {at}")
    for number, ev in enumerate(evaluated, 1):
        head = f"  panel {number}" if len(evaluated) > 1 else "  panel"
        name = f" ({ev.panel.title})" if ev.panel.title else ""
        over = " × ".join(ev.panel.controls)
        lines.append(f"{head}{name}: {len(ev.states)} states over {over}")
        first = ev.position(start)
        for layer, kind in enumerate(ev.panel.kinds):
            frames = [state[layer] for state in ev.states]
            for series in ev.series[layer]:
                who = f"{kind} {series}".rstrip()
                lines.append(
                    f"    {who}: {_series(kind, frames, series, first, digits)}"
                )
    return "\n".join(lines)


def _series(
    kind: str, frames: list[Frame], series: str, first: int, digits: int
) -> str:
    items = [f.series[series] for f in frames if series in f.series]
    shown = frames[first].series.get(series, {})
    parts = []
    for key in CHANNELS[kind]:
        everything = np.concatenate([item[key] for item in items])
        everything = everything[~np.isnan(everything)]
        now = shown.get(key, np.zeros(0))
        now = now[~np.isnan(now)]
        parts.append(f"{key} {_channel(everything, now, digits)}")
    return "; ".join(parts)


def _channel(everything: Array, now: Array, digits: int) -> str:
    if not everything.size:
        return "empty"
    if digits == 0:
        return f"{everything.size} values"
    low, high = float(everything.min()), float(everything.max())
    size = high - low if high > low else abs(high)
    text = f"{rounded(low, size, digits)} to {rounded(high, size, digits)}"
    if now.size:
        text += f", mean at start {rounded(float(now.mean()), size, digits)}"
    return text
