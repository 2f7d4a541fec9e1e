"""Axis limits and scales that hold over all states, so that motion is honest."""

from __future__ import annotations

import numpy as np

from genflow_lite.explorer._arrays import Array
from genflow_lite.explorer._evaluate import Evaluated

MARGIN = 0.04


def _all(ev: Evaluated, key: str) -> Array:
    parts = [np.zeros(0)]
    for state in ev.states:
        for frame in state:
            if "box" in frame.meta and key in "xy":
                box = frame.meta["box"]
                parts.append(np.array(box[:2] if key == "x" else box[2:]))
            parts += [s[key] for s in frame.series.values() if key in s]
    values = np.concatenate(parts)
    return values[~np.isnan(values)]


def _padded(values: Array, margin: float) -> tuple[float, float]:
    if not values.size:
        return (0.0, 1.0)
    low, high = float(values.min()), float(values.max())
    pad = margin * (high - low) if high > low else 0.5 * abs(low) or 0.5
    return low - pad, high + pad


def limits(ev: Evaluated) -> tuple[tuple[float, float], tuple[float, float]]:
    """The x and y limits of a panel (log10 of them on a logarithmic axis)."""
    p = ev.panel
    if "bars" in p.kinds:
        n = len(ev.states[0][0].meta["categories"])
        values = _all(ev, "v")
        if not p.logy:
            values = np.append(values, 0.0)  # a bar's length starts at zero
        low, high = _padded(values, 0.1)  # room for the numbers on the bars
        if not p.logy:
            low = low if values.min() < 0 else 0.0
            high = high if values.max() > 0 else 0.0
        if low == high:
            high = low + 1.0
        return (0.0, float(n)), p.ylim or (low, high)
    if "images" in p.kinds:
        return (0.0, 1.0), (0.0, 1.0)
    tight = "heat" in p.kinds or set(p.kinds) == {"lines"}
    x = p.xlim or _padded(_all(ev, "x"), 0.0 if tight else MARGIN)
    y = p.ylim or _padded(_all(ev, "y"), 0.0 if "heat" in p.kinds else MARGIN)
    return x, y


def arrow_scale(ev: Evaluated) -> float:
    """Data units of arrow for one unit of velocity, the same in every state.

    The 98th percentile of all lengths is drawn as long as the spacing of the points.
    """
    for layer, kind in enumerate(ev.panel.kinds):
        if kind == "field":
            frames = [state[layer].series[""] for state in ev.states]
            speed = np.concatenate([np.hypot(f["u"], f["v"]) for f in frames])
            x, y = frames[0]["x"], frames[0]["y"]
            area = max(np.ptp(x), 1e-12) * max(np.ptp(y), 1e-12)
            spacing = np.sqrt(area / max(x.size, 1))
            usual = float(np.quantile(speed, 0.98)) if speed.size else 0.0
            return ev.panel.arrows * float(spacing) / usual if usual > 0 else 0.0
    return 0.0
