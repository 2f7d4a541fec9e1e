"""One panel: a function over its own grid of controls, evaluated and encoded."""

from __future__ import annotations

import itertools
import math
import os
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from genflow_lite.explorer._codec import encode
from genflow_lite.explorer._controls import Control, match_parameters, read_control
from genflow_lite.explorer._frames import CHANNELS, Frame, read

BITS = {
    "scatter": 10,
    "lines": 12,
    "trajectories": 10,
    "field": 10,
    "heat": 8,
    "images": 8,
    "bars": 12,
}


@dataclass(frozen=True)
class Panel:
    """A function, what it draws, and the controls it depends on. See `panel`."""

    fn: Callable[..., Any]
    kinds: tuple[str, ...]
    controls: dict[str, Control]
    title: str = ""
    xlabel: str = ""
    ylabel: str = ""
    xlim: tuple[float, float] | None = None
    ylim: tuple[float, float] | None = None
    logx: bool = False
    logy: bool = False
    equal: bool = False
    aspect: float = 0.62
    columns: int | None = None
    vmax: float | None = None
    shade: str = "density"
    arrows: float = 1.0
    summary: Callable[[Any], str] | None = None
    alt: str = ""


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


def panel(
    fn: Callable[..., Any],
    *,
    kind: str | Sequence[str],
    title: str = "",
    xlabel: str = "",
    ylabel: str = "",
    xlim: Sequence[float] | None = None,
    ylim: Sequence[float] | None = None,
    logx: bool = False,
    logy: bool = False,
    equal: bool = False,
    aspect: float = 0.62,
    columns: int | None = None,
    vmax: float | None = None,
    shade: str = "density",
    arrows: float = 1.0,
    summary: Callable[[Any], str] | None = None,
    alt: str = "",
    **controls: Any,
) -> Panel:
    """One picture of a figure; give several to `explore`.

    `fn(**controls)` returns what `kind` asks for (see `explore`). A tuple of kinds
    draws layers over each other; `fn` then returns a tuple.

    Options: `title`, axis labels, `xlim`/`ylim` (default: the range over *all*
    states, so that motion is honest), `logx`/`logy`, `equal` (one unit is as long in
    x as in y), `aspect` (height over width otherwise), `columns` (images), `vmax`
    (the density drawn darkest; default each state's own maximum, which the colour
    bar shows), `shade` (what a heat layer shows, if it is not the density but, say,
    its root), `arrows` (length of the arrows, 1: the longest usual one spans the
    spacing of the points), `summary(frame) -> str` (a short text on the state, shown
    and read aloud), `alt` (what the panel shows, when there are several).

    Raises TypeError where the controls do not fit `fn`; ValueError for an unknown
    kind or bad limits.
    """
    if not callable(fn):
        raise TypeError(f"fn must be callable; got {type(fn).__name__}")
    kinds = (kind,) if isinstance(kind, str) else tuple(kind)
    for one in kinds:
        if one not in CHANNELS:
            raise ValueError(f"kind must be among {sorted(CHANNELS)}; got {one!r}")
    alone = {"images", "bars"} & set(kinds)
    if not kinds or (alone and len(kinds) > 1):
        raise ValueError(f"kind: images and bars stand alone; got {kinds}")
    if {"heat", "field"} & set(kinds) and (logx or logy):
        raise ValueError("logx and logy do not fit heat and field")
    if columns is not None and columns < 1:
        raise ValueError(f"columns must be at least 1; got {columns}")
    if vmax is not None and not vmax > 0:
        raise ValueError(f"vmax must be positive; got {vmax}")
    if not 0.2 <= aspect <= 2:
        raise ValueError(f"aspect must be from 0.2 to 2; got {aspect}")
    read_controls = {name: read_control(name, v) for name, v in controls.items()}
    if not read_controls:
        raise ValueError("a figure needs at least one control, as in w=[0, 1, 2]")
    match_parameters(fn, read_controls)
    return Panel(
        fn,
        kinds,
        read_controls,
        title,
        xlabel,
        ylabel,
        _limits("xlim", xlim, logx),
        _limits("ylim", ylim, logy),
        logx,
        logy,
        equal,
        float(aspect),
        columns,
        None if vmax is None else float(vmax),
        shade,
        float(arrows),
        summary,
        alt,
    )


def _limits(name: str, value: Any, log: bool) -> tuple[float, float] | None:
    if value is None:
        return None
    pair = tuple(float(v) for v in value)
    if len(pair) != 2 or not pair[0] < pair[1] or not all(map(math.isfinite, pair)):
        raise ValueError(f"{name} must be (low, high), finite, low < high; got {value}")
    if log and pair[0] <= 0:
        raise ValueError(f"{name} must be positive on a logarithmic axis; got {value}")
    return (math.log10(pair[0]), math.log10(pair[1])) if log else (pair[0], pair[1])


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
