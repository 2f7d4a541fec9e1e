"""k-diffusion's samplers without the package around them."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

from torch import Tensor


def k_sampling() -> Any:
    """k-diffusion's sampling.py alone: the package around it imports torchvision."""
    if "k_diffusion.sampling" in sys.modules:
        return sys.modules["k_diffusion.sampling"]
    spec = importlib.util.find_spec("k_diffusion")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("No module named 'k_diffusion'", name="k_diffusion")
    folder = Path(next(iter(spec.submodule_search_locations)))
    package, utils = types.ModuleType("k_diffusion"), types.ModuleType("utils")
    package.__path__ = [str(folder)]  # type: ignore[attr-defined]

    def append_dims(x: Tensor, ndim: int) -> Tensor:
        return x[(...,) + (None,) * (ndim - x.ndim)]

    utils.append_dims = append_dims  # type: ignore[attr-defined]
    package.utils = utils  # type: ignore[attr-defined]
    sys.modules.update({"k_diffusion": package, "k_diffusion.utils": utils})
    # Brownian trees serve only the noise of samplers that are not run here.
    stand_in = importlib.util.find_spec("torchsde") is None
    if stand_in:
        sys.modules["torchsde"] = types.ModuleType("torchsde")
    try:
        return importlib.import_module("k_diffusion.sampling")
    finally:
        if stand_in:
            del sys.modules["torchsde"]
