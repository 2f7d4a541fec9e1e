"""Interactive figures that need no kernel to move.

`explore(fn, kind=…, w=[…], …)` evaluates a function over a grid of control values
and stores every state, compactly, in the notebook's output. On the site and in
JupyterLab the same small script draws it; with a kernel, values between those of the
grid are computed on demand.
"""

from genflow_lite.explorer._figure import Explorer, explore
from genflow_lite.explorer._panel import Panel, panel

__all__ = ["Explorer", "Panel", "explore", "panel"]
