"""The live side: an anywidget that answers for values between those of the grid."""

from __future__ import annotations

import math
import secrets
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from genflow_lite.explorer._evaluate import call, encode_layers
from genflow_lite.explorer._panel import Panel

if TYPE_CHECKING:
    from genflow_lite.explorer._figure import Explorer

# What turns the plain script into a module. A plain script may hold no `export`, and
# a module does not load from file://; so the two are joined only here.
#
# `initialize` runs when the kernel opens the widget, before and without any view: it
# makes the stored HTML figure live. A saved notebook then holds that HTML alone, which
# shows its picture without a kernel; a stored widget view would show "model not
# found". `render` is for front ends that load widgets only by their view.
MODULE_END = """
const reach = (model) => ({
  send: (message) => model.send(message),
  listen: (hear) => {
    model.on("msg:custom", hear);
    return () => model.off("msg:custom", hear);
  },
});
export default {
  initialize({ model, signal }) {
    const mine = `figure.lx[data-lx-key="${model.get("key")}"]:not(.lx-live)`;
    const stops = [];
    const look = () => {
      for (const figure of document.querySelectorAll(mine)) {
        stops.push(globalThis.lx.mount(figure, model.get("spec"), reach(model)));
      }
    };
    // The figure may come later, and again: a copied output, a second view.
    const seen = new MutationObserver(look);
    seen.observe(document.body, { childList: true, subtree: true });
    look();
    const end = () => {
      seen.disconnect();
      stops.forEach((stop) => stop());
    };
    if (signal) signal.addEventListener("abort", end);
    else return end;
  },
  render({ model, el }) {
    const figure = document.createElement("figure");
    figure.className = "lx";
    const caption = document.createElement("figcaption");
    caption.textContent = model.get("caption");
    figure.append(caption);
    el.append(figure);
    return globalThis.lx.mount(figure, model.get("spec"), reach(model));
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
        key = traitlets.Unicode().tag(sync=True)

    return ExplorerWidget


def open_widget(figure: Explorer) -> Any:
    """A widget in the front end that knows `figure` and asks this kernel.

    Its `key` is what the HTML figure carries as ``data-lx-key``.
    """
    widget = _widget_class()(
        spec=figure.spec, caption=figure.caption, key=secrets.token_hex(8)
    )

    def hear(_widget: Any, content: Any, _buffers: Any) -> None:
        widget.send(answer(figure.panels, content))

    widget.on_msg(hear)
    return widget
