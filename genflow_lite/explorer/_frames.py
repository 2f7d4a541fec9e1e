"""What a figure's function may return, brought to one form.

A *layer* is one kind of drawing; a *frame* is that layer in one state of the
controls. Whatever the function returns (tensors, arrays, lists; named or not)
becomes a :class:`Frame`: for every series a few flat float64 channels.

| kind           | the function returns                            | channels   |
|----------------|-------------------------------------------------|------------|
| `scatter`      | `(n, 2)` or `{name: (n, 2)}`                    | x, y       |
| `lines`        | `(x, y)` or `{name: (x, y)}`, NaN in y is a gap | x, y       |
| `trajectories` | `(paths, steps, 2)` or `{name: …}`              | x, y       |
| `field`        | `(points (m, 2), vectors (m, 2))`               | x, y, u, v |
| `heat`         | `(density (ny, nx), (x0, x1, y0, y1))`          | z          |
| `images`       | `(n, h, w)` in [0, 1]                           | z          |
| `bars`         | `{category: value}` or `{series: {…}}`          | v          |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from genflow_lite.explorer._arrays import Array, array, finite, shaped

CHANNELS = {
    "scatter": ("x", "y"),
    "lines": ("x", "y"),
    "trajectories": ("x", "y"),
    "field": ("x", "y", "u", "v"),
    "heat": ("z",),
    "images": ("z",),
    "bars": ("v",),
}


@dataclass(frozen=True)
class Frame:
    """One layer in one state: series name → channel → flat values.

    `meta` holds what must be the same in every state: the shape of a heat map
    or of the images, the categories of the bars.
    """

    series: dict[str, dict[str, Array]]
    meta: dict[str, Any] = field(default_factory=dict)


def _named(value: Any, where: str) -> dict[str, Any]:
    """Series by name; a bare value is one series without a name."""
    if not isinstance(value, Mapping):
        return {"": value}
    if not value:
        raise ValueError(f"{where} must hold at least one series; got an empty dict")
    return {str(name): item for name, item in value.items()}


def _pair(value: Any, where: str, wanted: str) -> tuple[Any, Any]:
    if not isinstance(value, tuple | list) or len(value) != 2:
        got = f"{len(value)} items" if isinstance(value, tuple | list) else value
        got = got if isinstance(got, str) else type(value).__name__
        raise ValueError(f"{where} must be a pair {wanted}; got {got}")
    return value[0], value[1]


def _scatter(value: Any, where: str) -> Frame:
    series = {}
    for name, item in _named(value, where).items():
        xy = shaped(
            item,
            f"{where} {name!r}" if name else where,
            "(n, 2)",
            lambda a: a.ndim == 2 and a.shape[1] == 2,
        )
        series[name] = {"x": xy[:, 0], "y": xy[:, 1]}
    return Frame(series)


def _lines(value: Any, where: str) -> Frame:
    series = {}
    for name, item in _named(value, where).items():
        at = f"{where} {name!r}" if name else where
        first, second = _pair(item, at, "(x, y)")
        x = shaped(first, f"{at}, x,", "(n,)", lambda a: a.ndim == 1)
        y = array(second, f"{at}, y,")
        if y.shape != x.shape:
            raise ValueError(
                f"{at}: x and y must have one shape; got {x.shape} and {y.shape}"
            )
        if np.isinf(y).any():
            raise ValueError(f"{at}: y must be finite, or NaN for a gap; got inf")
        series[name] = {"x": x, "y": y}
    return Frame(series)


def _trajectories(value: Any, where: str) -> Frame:
    series = {}
    for name, item in _named(value, where).items():
        xy = shaped(
            item,
            f"{where} {name!r}" if name else where,
            "(paths, steps, 2)",
            lambda a: a.ndim == 3 and a.shape[2] == 2,
        )
        # One NaN after each path separates it from the next: paths may then have
        # another number of steps in every state, at no cost in bookkeeping.
        gap = np.pad(xy, ((0, 0), (0, 1), (0, 0)), constant_values=np.nan)
        series[name] = {"x": gap[..., 0].ravel(), "y": gap[..., 1].ravel()}
    return Frame(series)


def _field(value: Any, where: str) -> Frame:
    first, second = _pair(value, where, "(points, vectors)")
    points = shaped(
        first,
        f"{where}, points,",
        "(m, 2)",
        lambda a: a.ndim == 2 and a.shape[1] == 2,
    )
    wanted = f"{where}, vectors,", f"{points.shape}"
    vectors = shaped(second, *wanted, lambda a: a.shape == points.shape)
    return Frame(
        {
            "": {
                "x": points[:, 0],
                "y": points[:, 1],
                "u": vectors[:, 0],
                "v": vectors[:, 1],
            }
        }
    )


def _heat(value: Any, where: str) -> Frame:
    first, second = _pair(value, where, "(density, (x0, x1, y0, y1))")
    wanted = f"{where}, density,", "(ny, nx)"
    z = shaped(first, *wanted, lambda a: a.ndim == 2 and a.size > 0)
    if z.min() < 0:
        raise ValueError(f"{where}, density, must be ≥ 0; its least is {z.min():.3g}")
    box = shaped(second, f"{where}, extent,", "(4,)", lambda a: a.shape == (4,))
    if not (box[0] < box[1] and box[2] < box[3]):
        raise ValueError(
            f"{where}, extent, must be x0 < x1, y0 < y1; got {box.tolist()}"
        )
    meta = {"ny": z.shape[0], "nx": z.shape[1], "box": box.tolist()}
    return Frame({"": {"z": z.ravel()}}, meta)


def _images(value: Any, where: str) -> Frame:
    z = shaped(value, where, "(n, h, w)", lambda a: a.ndim == 3 and a.size > 0)
    if z.min() < 0 or z.max() > 1:
        raise ValueError(
            f"{where} must lie in [0, 1]; got {z.min():.3g} to {z.max():.3g}"
        )
    n, h, w = z.shape
    return Frame({"": {"z": z.ravel()}}, {"n": n, "h": h, "w": w})


def _bars(value: Any, where: str) -> Frame:
    if not isinstance(value, Mapping) or not value:
        raise ValueError(
            f"{where} must be a non-empty dict {{category: value}}; "
            f"got {type(value).__name__}"
        )
    nested = [isinstance(item, Mapping) for item in value.values()]
    if any(nested) and not all(nested):
        raise ValueError(f"{where} mixes numbers and dicts; use one or the other")
    groups = value if all(nested) else {"": value}
    categories: list[str] | None = None
    series = {}
    for name, group in groups.items():
        labels = [str(label) for label in group]
        if categories is None:
            categories = labels
        elif labels != categories:
            raise ValueError(
                f"{where} {name!r} must have the categories {categories}; got {labels}"
            )
        at = f"{where} {name!r}" if name else where
        values = [finite(item, at).item() for item in group.values()]
        series[str(name)] = {"v": np.array(values, dtype=np.float64)}
    if not categories:
        raise ValueError(f"{where} must have at least one category")
    return Frame(series, {"categories": categories})


_READERS: dict[str, Callable[[Any, str], Frame]] = {
    "scatter": _scatter,
    "lines": _lines,
    "trajectories": _trajectories,
    "field": _field,
    "heat": _heat,
    "images": _images,
    "bars": _bars,
}


def read(
    kinds: tuple[str, ...], value: Any, where: str, *, logx: bool, logy: bool
) -> list[Frame]:
    """The layers of one state.

    `where` names the call in error messages, as in ``f(w=1.0)``. On a logarithmic
    axis the channel holds log10 of the value, from here to the drawing.

    Raises ValueError or TypeError where the value does not fit its kind.
    """
    if len(kinds) == 1:
        values: tuple[Any, ...] = (value,)
    elif isinstance(value, tuple | list) and len(value) == len(kinds):
        values = tuple(value)
    else:
        got = len(value) if isinstance(value, tuple | list) else type(value).__name__
        raise ValueError(
            f"{where} must return a tuple of {len(kinds)} layers {kinds}; got {got}"
        )
    frames = []
    for kind, item in zip(kinds, values, strict=True):
        frame = _READERS[kind](item, f"{kind} from {where}")
        logs = [*("x" * logx), *("yv" * logy)] if kind != "field" else []
        for name, channels in frame.series.items():
            for key in set(logs) & set(channels):
                low = np.nanmin(channels[key], initial=np.inf)
                if low <= 0:
                    raise ValueError(
                        f"{kind} from {where}, {name!r}: a logarithmic axis needs "
                        f"positive values; got {low:.3g}"
                    )
                channels[key] = np.log10(channels[key])
        frames.append(frame)
    return frames
