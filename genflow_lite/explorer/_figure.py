"""The interactive figure: what `explore` builds and what a notebook stores."""

from __future__ import annotations

import base64
import html
import os
import sys
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from genflow_lite.explorer._controls import Control, merge
from genflow_lite.explorer._evaluate import Evaluated, evaluate
from genflow_lite.explorer._panel import Panel, panel
from genflow_lite.explorer._spec import attribute, fill, head
from genflow_lite.explorer._summary import describe

WIDGET = "application/vnd.jupyter.widget-view+json"


class Explorer:
    """An interactive figure; the value of `explore`. Display it as a cell's last line.

    It shows itself as HTML with a picture inside, which a script brings to life and,
    in a running JupyterLab, a widget connects with the kernel; else as a PNG; else as
    text.
    """

    def __init__(
        self,
        evaluated: list[Evaluated],
        controls: dict[str, Control],
        spec: dict,
        caption: str,
        text: str,
    ) -> None:
        self.panels = [ev.panel for ev in evaluated]
        self.controls = controls
        self.spec = spec
        self.caption = caption
        self.text = text
        self._evaluated = evaluated

    @cached_property
    def png(self) -> bytes:
        """The start state as a small picture on white."""
        from genflow_lite.explorer._picture import draw

        return draw(self._evaluated, self.spec)

    @property
    def payload(self) -> str:
        """The data as stored: JSON, escaped for an HTML attribute."""
        return attribute(self.spec)

    def html(self, key: str = "") -> str:
        """The figure with its data, a picture for where no script runs, a caption.

        `key` ties it to a widget that reaches the kernel.
        """
        # The size in the page, so that nothing jumps while the page loads. It is that
        # of the drawing: how far the file was reduced may differ between machines.
        from genflow_lite.explorer._picture import page_size

        width, height = page_size(self.spec)
        picture = base64.b64encode(self.png).decode("ascii")
        live = f' data-lx-key="{key}"' if key else ""
        return (
            f'<figure class="lx"{live} data-lx="{self.payload}">'
            f'<img src="data:image/png;base64,{picture}" width="{width}" '
            f'height="{height}" style="max-width:100%;height:auto" '
            f'alt="{html.escape(self.spec["alt"])}">'
            f"<figcaption>{html.escape(self.caption)}</figcaption></figure>"
        )

    def __repr__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict:
        del include, exclude  # IPython filters the bundle itself
        bundle: dict[str, Any] = {
            "text/plain": self.text,
            "image/png": base64.b64encode(self.png).decode("ascii"),
        }
        key = ""
        if _kernel_listens():
            from genflow_lite.explorer._widget import open_widget

            widget = open_widget(self)
            key = widget.key
            if _needs_view():
                view = {"version_major": 2, "version_minor": 0}
                bundle[WIDGET] = {**view, "model_id": widget.model_id}
        bundle["text/html"] = self.html(key)
        return bundle


def _kernel_listens() -> bool:
    """Whether a Jupyter kernel runs this, and the output is not to be stored."""
    if os.environ.get("GENFLOW_STATIC") or "ipykernel" not in sys.modules:
        return False
    from IPython.core.getipython import get_ipython

    return getattr(get_ipython(), "kernel", None) is not None


def _needs_view() -> bool:
    """Front ends that load a widget only through its view, unlike JupyterLab."""
    return "google.colab" in sys.modules or "VSCODE_PID" in os.environ


def explore(
    *what: Panel | Callable[..., Any],
    caption: str,
    alt: str,
    title: str = "",
    start: Mapping[str, Any] | None = None,
    play: str | None = None,
    names: Mapping[str, str] | None = None,
    max_kb: float = 120,
    digits: int = 2,
    **options: Any,
) -> Explorer:
    """An interactive figure from a function over a grid of control values.

    ::

        explore(f, kind="scatter", w=[0, 1, 2], steps=[5, 10], caption=…, alt=…)
        explore(panel(f, kind="lines", t=ts), panel(g, kind="bars", t=ts), …)

    The function is called once for every point of the joint grid and returns, for

    * ``scatter``: (n, 2) points, or {name: points}
    * ``lines``: (x, y), or {name: (x, y)}; NaN in y leaves a gap
    * ``trajectories``: (paths, steps, 2), or {name: …}
    * ``field``: (points (m, 2), vectors (m, 2))
    * ``heat``: (density (ny, nx) ≥ 0 with row 0 at the bottom, (x0, x1, y0, y1))
    * ``images``: (n, h, w) in [0, 1]
    * ``bars``: {category: value}, or {series: {category: value}}
    * a tuple of kinds: a tuple with one of these for each layer.

    A control is a list of strictly monotone numbers, or of strings. Panels that name
    the same control share it. `caption` is printed below; `alt` says in one sentence
    what is drawn, for readers who cannot see it. `start` gives starting values (on
    the grid; default the first), `play` the control that the play button runs
    through, `names` a longer label for a control. Further options as in `panel`.

    In a live notebook the sliders also take values between the grid's and ask the
    function; elsewhere they move on the grid. All states are stored, quantised to
    8–12 bits, in at most `max_kb` kilobytes. `digits` is how many significant digits
    the text form prints (0: none, for results that differ between machines).

    Raises ValueError or TypeError, naming the argument, for controls that do not fit
    the function, an empty control, values that are not finite or of the wrong shape,
    an unknown kind, a start off the grid, or data larger than `max_kb`.
    """
    if len(what) == 0:
        raise TypeError("explore needs a function or panels; got nothing")
    first, *more = what
    if all(isinstance(one, Panel) for one in what):
        if options:
            raise TypeError(
                f"with panels, give {sorted(options)} to panel(...), not to explore"
            )
        panels = [one for one in what if isinstance(one, Panel)]
    else:
        if more or isinstance(first, Panel):
            raise TypeError("explore takes one function, or panels only")
        if "kind" not in options:
            raise TypeError("explore needs kind=, such as kind='scatter'")
        panels = [panel(first, **options)]
    for name, value in (("caption", caption), ("alt", alt)):
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"{name} must be a sentence; got {value!r}")
    if digits not in (0, 1, 2, 3):
        raise ValueError(f"digits must be 0, 1, 2 or 3; got {digits!r}")
    controls = merge(p.controls for p in panels)
    labels = {**{name: name for name in controls}, **(names or {})}
    _known("names", names or {}, controls)
    _known("start", start or {}, controls)
    _known("play", [play] if play is not None else [], controls)
    at = dict.fromkeys(controls, 0)
    at |= {name: controls[name].index(value) for name, value in (start or {}).items()}

    evaluated = evaluate(panels)
    spec = {
        "v": 1,
        "title": title,
        "alt": alt,
        "play": play,
        "controls": [
            {
                "name": name,
                "label": labels[name],
                "values": list(control.values),
                "labels": list(control.labels),
                "whole": control.whole,
                "start": at[name],
            }
            for name, control in controls.items()
        ],
        "panels": [head(ev) for ev in evaluated],
    }
    fill(spec, evaluated, max_kb)
    text = describe(title or caption, controls, labels, at, evaluated, digits)
    return Explorer(evaluated, controls, spec, caption, text)


def _known(argument: str, given: Any, controls: Mapping[str, Control]) -> None:
    for name in given:
        if name not in controls:
            raise ValueError(
                f"{argument}: {name!r} is not a control; there are {list(controls)}"
            )
