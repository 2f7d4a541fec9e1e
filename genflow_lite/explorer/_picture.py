"""The start state as a small PNG, for readers and tools that run no script.

Drawn with Matplotlib's object-oriented interface on its own canvas: it neither uses
nor changes pyplot's state, and the reader's style sheet does not apply.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator

from genflow_lite.explorer._evaluate import Evaluated
from genflow_lite.explorer._frames import Frame

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
INK, MUTED, RULE = "#1f2933", "#52606d", "#d9dee4"
SHADES = LinearSegmentedColormap.from_list("lx", ["#ffffff", "#d3d8df", "#818c9b"])
DPI = 160
BUDGET = 25_000  # bytes

Style = dict[str, Any]


def draw(evaluated: list[Evaluated], spec: dict) -> bytes:
    """The panels side by side (at most three in a row), at the start state."""
    start = {c["name"]: c["start"] for c in spec["controls"]}
    rows, columns, width, height = _sheet(spec)
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"font.size": 8, "axes.edgecolor": MUTED})
        figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        if spec["title"]:
            figure.suptitle(spec["title"], fontsize=9, color=INK)
        for k, (ev, head) in enumerate(zip(evaluated, spec["panels"], strict=True)):
            axes = figure.add_subplot(rows, columns, k + 1)
            _panel(axes, head, ev.states[ev.position(start)])
        plain = io.BytesIO()
        canvas.print_png(plain)
    return _small(plain.getvalue())


def page_size(spec: dict) -> tuple[int, int]:
    """Width and height in CSS pixels; the file has about twice as many."""
    _, _, width, height = _sheet(spec)
    return round(width * 80), round(height * 80)


def _sheet(spec: dict) -> tuple[int, int, float, float]:
    """Rows and columns of panels; width and height in inches."""
    count = len(spec["panels"])
    columns = 2 if count == 4 else min(count, 3)
    rows = math.ceil(count / columns)
    width = {1: 4.6, 2: 7.0, 3: 8.6}[columns]
    tallest = max(_aspect(head) for head in spec["panels"])
    return rows, columns, width, rows * (width / columns * tallest * 0.86 + 0.75)


def _aspect(head: dict) -> float:
    if head.get("equal"):
        (x0, x1), (y0, y1) = head["xlim"], head["ylim"]
        return min(max((y1 - y0) / (x1 - x0), 0.35), 1.0)
    layer = head["layers"][0]
    if layer["kind"] == "images":
        columns = head.get("columns") or math.ceil(math.sqrt(layer["n"]))
        rows = math.ceil(layer["n"] / columns)
        return min(rows * layer["h"] / (columns * layer["w"]), 1.0)
    return min(head["aspect"], 1.0)


def _panel(axes: Axes, head: dict, frames: list[Frame]) -> None:
    axes.set_title(head.get("title", ""), fontsize=8.5, color=INK)
    axes.set_xlabel(head.get("xlabel", ""), color=INK)
    axes.set_ylabel(head.get("ylabel", ""), color=INK)
    axes.set_xlim(head["xlim"])
    axes.set_ylim(head["ylim"])
    axes.tick_params(colors=MUTED, length=2.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=RULE, linewidth=0.5)
    axes.set_axisbelow(True)
    if head.get("equal"):
        axes.set_aspect("equal")
    power = FuncFormatter(lambda v, _: f"$10^{{{v:g}}}$")
    for log, axis in ((head.get("logx"), axes.xaxis), (head.get("logy"), axes.yaxis)):
        axis.set_major_locator(
            MultipleLocator(1) if log else MaxNLocator(5, steps=[1, 2, 5, 10])
        )
        if log:
            axis.set_major_formatter(power)
    for frame, layer in zip(frames, head["layers"], strict=True):
        for number, name in enumerate(layer["series"]):
            if name not in frame.series:
                continue
            style = {
                "color": PALETTE[layer["color"][number] % len(PALETTE)],
                "label": name or None,
            }
            _LAYERS[layer["kind"]](axes, frame, name, style, head)
    handles, labels = axes.get_legend_handles_labels()
    if any(labels):
        unique = dict(zip(labels, handles, strict=True))
        axes.legend(unique.values(), unique.keys(), frameon=False, fontsize=7)


def _scatter(axes: Axes, frame: Frame, name: str, style: Style, _: dict) -> None:
    s = frame.series[name]
    size = 9.0 if s["x"].size <= 300 else 4.0
    axes.scatter(s["x"], s["y"], s=size, alpha=0.7, linewidths=0, **style)


def _lines(axes: Axes, frame: Frame, name: str, style: Style, _: dict) -> None:
    s = frame.series[name]
    axes.plot(s["x"], s["y"], linewidth=1.4, **style)


def _paths(axes: Axes, frame: Frame, name: str, style: Style, _: dict) -> None:
    s = frame.series[name]
    axes.plot(s["x"], s["y"], linewidth=0.7, alpha=0.55, **style)
    last = np.flatnonzero(np.isnan(s["x"])) - 1
    last = last[last >= 0]
    axes.scatter(s["x"][last], s["y"][last], s=6, linewidths=0, color=style["color"])


def _field(axes: Axes, frame: Frame, name: str, _: Style, head: dict) -> None:
    s = frame.series[name]
    k = head.get("arrow", 0.0)
    axes.quiver(
        s["x"],
        s["y"],
        k * s["u"],
        k * s["v"],
        angles="xy",
        scale_units="xy",
        scale=1,
        width=0.004,
        color=MUTED,
    )


def _heat(axes: Axes, frame: Frame, name: str, _: Style, head: dict) -> None:
    z = frame.series[name]["z"].reshape(frame.meta["ny"], frame.meta["nx"])
    top = head.get("vmax") or z.max() or 1.0
    axes.imshow(
        z,
        extent=tuple(frame.meta["box"]),
        origin="lower",
        aspect="equal" if head.get("equal") else "auto",
        cmap=SHADES,
        vmin=0,
        vmax=top,
        interpolation="nearest" if head.get("cells") else "bilinear",
    )
    axes.grid(visible=False)
    axes.set_xlim(head["xlim"])
    axes.set_ylim(head["ylim"])


def _images(axes: Axes, frame: Frame, name: str, _: Style, head: dict) -> None:
    n, h, w = (frame.meta[key] for key in "nhw")
    columns = head.get("columns") or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    sheet = np.ones((rows * (h + 1), columns * (w + 1)))
    for k, picture in enumerate(frame.series[name]["z"].reshape(n, h, w)):
        top, left = k // columns * (h + 1), k % columns * (w + 1)
        sheet[top : top + h, left : left + w] = picture
    axes.set_axis_off()
    axes.set_xlim(-0.5, sheet.shape[1] - 0.5)
    axes.set_ylim(sheet.shape[0] - 0.5, -0.5)
    axes.imshow(sheet, cmap="gray", vmin=0, vmax=1, interpolation="nearest")


def _bars(axes: Axes, frame: Frame, name: str, style: Style, head: dict) -> None:
    categories = frame.meta["categories"]
    count = len(head["layers"][0]["series"])
    number = head["layers"][0]["series"].index(name)
    width = 0.76 / count
    left = np.arange(len(categories)) + 0.12 + number * width
    base = head["ylim"][0] if head.get("logy") else 0.0
    axes.bar(
        left, frame.series[name]["v"] - base, width * 0.94, base, align="edge", **style
    )
    axes.set_xticks(np.arange(len(categories)) + 0.5, categories)
    axes.grid(visible=False, axis="x")


_LAYERS: dict[str, Callable[[Axes, Frame, str, Style, dict], None]] = {
    "scatter": _scatter,
    "lines": _lines,
    "trajectories": _paths,
    "field": _field,
    "heat": _heat,
    "images": _images,
    "bars": _bars,
}


def _small(png: bytes) -> bytes:
    """The picture with as many palette colours as fit into the budget."""
    from PIL import Image

    full = Image.open(io.BytesIO(png)).convert("RGB")
    out = b""
    for scale in (1.0, 0.75, 0.5):
        size = (round(full.width * scale / 2) * 2, round(full.height * scale / 2) * 2)
        part = full.resize(size, Image.Resampling.LANCZOS) if scale < 1 else full
        for colours in (64, 32, 16):
            buffer = io.BytesIO()
            # An octree keeps a colour that only the legend shows.
            few = part.quantize(
                colours, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE
            )
            few.putpalette(_exact(few.getpalette() or []))
            few.save(buffer, "PNG", optimize=True)
            out = buffer.getvalue()
            if len(out) <= BUDGET:
                return out
    return out


def _exact(palette: list[int]) -> list[int]:
    """The palette with white and the series' colours freed of the octree's rounding."""
    entries = np.array(palette).reshape(-1, 3)
    entries[(entries > 252).all(axis=1)] = 255
    for name in PALETTE:
        colour = [int(name[k : k + 2], 16) for k in (1, 3, 5)]
        distance = np.abs(entries - colour).max(axis=1)
        if distance.min() <= 24:  # the nearest two series are farther apart than this
            entries[distance.argmin()] = colour
    return entries.ravel().tolist()
