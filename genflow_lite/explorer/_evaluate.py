"""A panel over its grid of controls: every state called, read and encoded."""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from genflow_lite.explorer._codec import encode
from genflow_lite.explorer._frames import CHANNELS, Frame, read
from genflow_lite.explorer._panel import Panel

BITS = {
    "scatter": 10,
    "lines": 12,
    "trajectories": 10,
    "field": 10,
    "heat": 8,
    "images": 8,
    "bars": 12,
}


@dataclass
class Evaluated:
    """A panel over its grid: states[k] is the list of layers of the k-th state.

    The states run through the joint grid with the last control fastest.
    """

    panel: Panel
    states: list[list[Frame]]
    summaries: list[str]
    series: list[list[str]] = field(default_factory=list)  # for each layer

    def position(self, at: Mapping[str, int]) -> int:
        """The number of the state where every control is at the given index."""
        k = 0
        for name, control in self.panel.controls.items():
            k = k * len(control.values) + at[name]
        return k


def call(panel: Panel, values: Mapping[str, Any]) -> tuple[list[Frame], str]:
    """The layers and the summary text of one state, on the grid or off it."""
    raw = panel.fn(**values)
    name = getattr(panel.fn, "__name__", "fn").replace("<lambda>", "fn")
    where = f"{name}({', '.join(f'{k}={v!r}' for k, v in values.items())})"
    frames = read(panel.kinds, raw, where, logx=panel.logx, logy=panel.logy)
    text = "" if panel.summary is None else str(panel.summary(raw))
    return frames, text


def evaluate(panels: Sequence[Panel]) -> list[Evaluated]:
    """Every panel in every state of its own joint grid."""
    grids = [
        list(itertools.product(*(c.values for c in p.controls.values())))
        for p in panels
    ]
    tick = _progress(sum(map(len, grids)))
    out = []
    for p, grid in zip(panels, grids, strict=True):
        states, summaries = [], []
        for point in grid:
            frames, text = call(p, dict(zip(p.controls, point, strict=True)))
            states.append(frames)
            summaries.append(text)
            next(tick, None)
        out.append(Evaluated(p, states, summaries, _series(p, states)))
    tick.close()
    return out


def _series(p: Panel, states: list[list[Frame]]) -> list[list[str]]:
    """Names of the series of each layer, in order of first appearance."""
    names: list[list[str]] = []
    for layer, kind in enumerate(p.kinds):
        first = states[0][layer].meta
        seen: dict[str, None] = {}
        for state in states:
            seen.update(dict.fromkeys(state[layer].series))
            if state[layer].meta != first:
                raise ValueError(
                    f"{kind}: shape, extent or categories must be the same in every "
                    f"state; got {first} and {state[layer].meta}"
                )
        names.append(list(seen))
    return names


def encode_layers(
    p: Panel, states: list[list[Frame]], series: list[list[str]], bits: int
) -> list[dict]:
    """The layers of these states as JSON-ready dicts, at most `bits` a value."""
    layers = []
    empty = np.zeros(0)
    for k, kind in enumerate(p.kinds):
        channels = {}
        for key in CHANNELS[kind]:
            arrays = [
                state[k].series.get(name, {}).get(key, empty)
                for state in states
                for name in series[k]
            ]
            channels[key] = encode(
                arrays, min(bits, BITS[kind]), own_range=kind == "heat"
            )
        layers.append(
            {"kind": kind, "series": series[k], **states[0][k].meta, "ch": channels}
        )
    return layers


def _progress(total: int) -> Generator[None, None, None]:
    """A progress bar that appears only when the grid takes longer than 2 s.

    Never in a notebook that is executed to be stored: its output would be too.
    """
    watched = sys.stderr.isatty() or "ipykernel" in sys.modules
    quiet = bool(os.environ.get("GENFLOW_STATIC")) or not watched
    start, bar = time.perf_counter(), None
    try:
        for done in range(1, total + 1):
            if bar is None and not quiet and time.perf_counter() - start > 2:
                from tqdm.auto import tqdm

                bar = tqdm(total=total, initial=done - 1, desc="states", leave=False)
            if bar is not None:
                bar.update()
            yield
    finally:
        if bar is not None:
            bar.close()
