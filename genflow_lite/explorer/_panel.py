"""One panel: a function, what it draws, and a grid of its own controls."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from genflow_lite.explorer._controls import Control, match_parameters, read_control
from genflow_lite.explorer._frames import CHANNELS


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
    cells: bool = False
    arrows: float = 1.0
    summary: Callable[[Any], str] | None = None
    alt: str = ""


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
    cells: bool = False,
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
    its root), `cells` (a heat layer's numbers are drawn as squares with edges, not as
    samples of something smooth), `arrows` (length of the arrows, 1: the longest usual
    one spans the spacing of the points), `summary(frame) -> str` (a short text on the
    state, shown and read aloud), `alt` (what the panel shows, when there are several).

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
        cells,
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
