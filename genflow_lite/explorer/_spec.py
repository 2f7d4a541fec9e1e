"""A figure as data: the JSON that a page stores and `explorer.js` draws."""

from __future__ import annotations

import html
import json
from typing import Any

from genflow_lite.explorer._evaluate import Evaluated, encode_layers
from genflow_lite.explorer._limits import arrow_scale, limits


def attribute(spec: dict) -> str:
    """The figure as JSON, escaped for an HTML attribute."""
    text = json.dumps(spec, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return html.escape(text)


def head(ev: Evaluated) -> dict:
    """A panel's JSON without its data; options left at their default are left out."""
    p = ev.panel
    xlim, ylim = limits(ev)
    out: dict[str, Any] = {
        "controls": list(p.controls),
        "xlim": list(xlim),
        "ylim": list(ylim),
        "aspect": p.aspect,
    }
    optional = {
        "title": p.title,
        "xlabel": p.xlabel,
        "ylabel": p.ylabel,
        "logx": p.logx,
        "logy": p.logy,
        "equal": p.equal,
        "columns": p.columns,
        "vmax": p.vmax,
        "shade": p.shade if p.shade != "density" else None,
        "cells": p.cells,
        "alt": p.alt,
        "arrow": arrow_scale(ev),
        "notes": ev.summaries if any(ev.summaries) else None,
    }
    return out | {key: value for key, value in optional.items() if value}


def fill(spec: dict, evaluated: list[Evaluated], max_kb: float) -> None:
    """Fill in the layers with as many bits as fit; ValueError if 8 are too many."""
    colours: dict[str, int] = {}
    for ev in evaluated:
        for names in ev.series:
            for name in names:
                if name:
                    colours.setdefault(name, len(colours))
    size = 0.0
    for bits in (12, 10, 9, 8):
        for one, ev in zip(spec["panels"], evaluated, strict=True):
            one["layers"] = encode_layers(ev.panel, ev.states, ev.series, bits)
            for layer in one["layers"]:
                layer["color"] = [colours.get(name, 0) for name in layer["series"]]
        size = len(attribute(spec).encode()) / 1024
        if size <= max_kb:
            return
    most = max(
        (
            (len(channel["d"]), layer["kind"], one)
            for one in spec["panels"]
            for layer in one["layers"]
            for channel in layer["ch"].values()
        ),
        key=lambda item: item[0],
    )
    states = [c for c in spec["controls"] if c["name"] in most[2]["controls"]]
    grid = " × ".join(f"{len(c['values'])} {c['name']}" for c in states)
    raise ValueError(
        f"the figure's data take {size:.0f} KB, more than max_kb = {max_kb:g}; most of "
        f"it is {most[1]} over {grid}: give fewer values of a control or fewer points"
    )
