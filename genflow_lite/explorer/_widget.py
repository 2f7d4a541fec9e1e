"""The live side: an anywidget that answers for values between those of the grid."""

from __future__ import annotations

import math
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from genflow_lite.explorer._panel import Panel, call, encode_layers

if TYPE_CHECKING:
    from genflow_lite.explorer._figure import Explorer

# What turns the plain script into a module. A plain script may hold no `export`, and
# a module does not load from file://; so the two are joined only here.
MODULE_END = """
export default {
  render({ model, el }) {
    const figure = document.createElement("figure");
    figure.className = "lx";
    const caption = document.createElement("figcaption");
    caption.textContent = model.get("caption");
    figure.append(caption);
    el.append(figure);
    return globalThis.lx.mount(figure, model.get("spec"), {
      send: (message) => model.send(message),
      listen: (hear) => {
        model.on("msg:custom", hear);
        return () => model.off("msg:custom", hear);
      },
    });
  },
};
"""


@cache
def source(name: str) -> str:
    """The text of a file of this package: explorer.js or explorer.css."""
    return files("genflow_lite.explorer").joinpath(name).read_text("utf-8")


def answer(panels: list[Panel], request: dict) -> dict:
    """The reply to ``{id, panel, values}``: the encoded layers, or the error.

    Values arrive as JavaScript numbers; a control of whole numbers gets an int.
    """
    reply: dict[str, Any] = {"id": request.get("id"), "panel": request.get("panel")}
    try:
        p = panels[int(request["panel"])]
        values = {}
        for name, control in p.controls.items():
            value = request["values"][name]
            if control.text:
                control.index(value)
            elif not math.isfinite(value):
                raise ValueError(f"{name} must be finite; got {value}")
            elif control.whole:
                value = round(value)
            values[name] = value
        frames, note = call(p, values)
        series = [list(frame.series) for frame in frames]
        reply["layers"] = encode_layers(p, [frames], series, 12)
        reply["note"] = note
    except Exception as error:  # shown in the figure: the kernel must go on
        reply["error"] = f"{type(error).__name__}: {error}"
    return reply


@cache
def _widget_class() -> Any:
    import anywidget
    import traitlets

    class ExplorerWidget(anywidget.AnyWidget):
        _esm = source("explorer.js") + MODULE_END
        _css = source("explorer.css")
        spec = traitlets.Dict().tag(sync=True)
        caption = traitlets.Unicode().tag(sync=True)

    return ExplorerWidget


def view(figure: Explorer) -> dict | None:
    """The widget-view entry of the figure's MIME bundle."""
    widget = _widget_class()(spec=figure.spec, caption=figure.caption)

    def hear(_: Any, content: Any, buffers: Any) -> None:
        widget.send(answer(figure.panels, content))

    widget.on_msg(hear)
    bundle = widget._repr_mimebundle_()
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    return (data or {}).get("application/vnd.jupyter.widget-view+json")
