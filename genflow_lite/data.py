"""Data to learn from: sets of points in the plane, and real images.

The planar sets are made of formulas, drawn with a generator, centred and of order one.
The digits are real, 1,797 handwritten ones that ship with scikit-learn; MNIST and
CIFAR-10 are fetched by torchvision when asked for, and only then.
"""

import math
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Generator, Tensor

from genflow_lite._shapes import (
    check_count,
    check_generator,
    check_number,
    check_state,
)

__all__ = [
    "checkerboard",
    "cifar10",
    "digits",
    "mnist",
    "moons",
    "on_dark",
    "rings",
    "spirals",
]

Split = Literal["train", "test"]

_HALF = math.sqrt(3)  # half the side of the board: the uniform law on it has variance 1


def checkerboard(n: int, *, squares: int = 4, generator: Generator) -> Tensor:
    """n points, uniform on the dark squares of a board; (n, 2) float64.

    The board is [−√3, √3]², so that each coordinate has mean 0 and variance 1, and has
    `squares` × `squares` squares, an even number of them a side; square (i, j),
    counted from the lower left, is dark where i + j is even. No density is continuous
    across an edge: the hard part for a network.
    """
    n, generator = check_count(n, name="n", least=0), check_generator(generator)
    if check_count(squares, name="squares", least=2) % 2:
        raise ValueError(f"squares must be even; got {squares}")
    column = torch.randint(squares, (n,), generator=generator)
    half = torch.randint(squares // 2, (n,), generator=generator)
    corner = torch.stack([column, 2 * half + column % 2], dim=1)
    inside = torch.rand(n, 2, dtype=torch.float64, generator=generator)
    return (corner + inside) * (2 * _HALF / squares) - _HALF


def on_dark(x: Tensor, *, squares: int = 4) -> Tensor:
    """Which points lie on a dark square of `checkerboard`; x (n, 2), bool (n,)."""
    x = check_state(x)
    if x.ndim != 2 or x.shape[1] != 2:
        raise ValueError(f"x must have shape (n, 2); got {tuple(x.shape)}")
    cell = ((x + _HALF) * (squares / (2 * _HALF))).floor()
    inside = ((cell >= 0) & (cell < squares)).all(dim=1)
    return inside & (cell.sum(dim=1) % 2 == 0)


def moons(
    n: int, *, noise: float = 0.1, generator: Generator, return_labels: bool = False
) -> Any:
    """Two interleaved half circles of radius 1, with Gaussian noise; (n, 2) float64.

    Label 0 is the upper arc (cos φ − ½, sin φ − ¼), label 1 the lower one
    (½ − cos φ, ¼ − sin φ), φ uniform on [0, π]; the noise has standard deviation
    `noise` in both coordinates. With return_labels also the labels, (n,) int64.
    """
    label, u = _arms(n, 2, generator)
    phi = math.pi * u
    upper = torch.stack([phi.cos() - 0.5, phi.sin() - 0.25], dim=1)
    points = torch.where(label[:, None] == 0, upper, -upper)
    return _noisy(points, label, noise, generator, return_labels)


def rings(
    n: int,
    *,
    count: int = 3,
    noise: float = 0.05,
    generator: Generator,
    return_labels: bool = False,
) -> Any:
    """Concentric circles of radius 2 (k + 1)/count, with noise; (n, 2) float64.

    Label k = 0 is the innermost of `count` circles; all have the same probability, so
    the inner ones are denser. Noise and labels as in `moons`.
    """
    label, u = _arms(n, check_count(count, name="count"), generator)
    radius, phi = 2 * (label + 1) / count, 2 * math.pi * u
    points = torch.stack([radius * phi.cos(), radius * phi.sin()], dim=1)
    return _noisy(points, label, noise, generator, return_labels)


def spirals(
    n: int,
    *,
    count: int = 2,
    turns: float = 1.0,
    noise: float = 0.05,
    generator: Generator,
    return_labels: bool = False,
) -> Any:
    """`count` arms of an Archimedean spiral, with noise; (n, 2) float64.

    Arm k is r (cos φ, sin φ) with φ = 2π (turns · r/2 + k/count), r/2 = √u and u
    uniform on [0, 1], so that the density along an arm is nearly even. Noise and
    labels as in `moons`.
    """
    label, u = _arms(n, check_count(count, name="count"), generator)
    turns, share = check_number(turns, name="turns"), u.sqrt()
    if not math.isfinite(turns):
        raise ValueError(f"turns must be finite; got {turns}")
    phi = 2 * math.pi * (turns * share + label / count)
    points = 2 * share[:, None] * torch.stack([phi.cos(), phi.sin()], dim=1)
    return _noisy(points, label, noise, generator, return_labels)


def _arms(n: int, count: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """A label below `count` and a number in [0, 1) for each of n points."""
    n, generator = check_count(n, name="n", least=0), check_generator(generator)
    label = torch.randint(count, (n,), generator=generator)
    return label, torch.rand(n, dtype=torch.float64, generator=generator)


def _noisy(
    points: Tensor, label: Tensor, noise: float, generator: Generator, labels: bool
) -> Any:
    noise = check_number(noise, name="noise")
    if not 0 <= noise < math.inf:
        raise ValueError(f"noise must be finite and at least 0; got {noise}")
    z = torch.randn(points.shape, dtype=torch.float64, generator=generator)
    points = points + noise * z
    return (points, label) if labels else points


def digits(split: Split) -> tuple[Tensor, Tensor]:
    """Real handwritten digits: images (N, 1, 8, 8) float32 in [−1, 1], labels (N,).

    From scikit-learn's copy of the UCI set (Alpaydin and Kaynak 1998), grey values
    0 … 16 mapped to −1 … 1. Within each class, in the order of the file, every fourth
    image is a test image: 1,352 to train with and 445 to test with, the same for
    everybody.

    Raises ValueError for another split.
    """
    _check_split(split)
    images, labels = _digits()
    rank = torch.zeros_like(labels)
    for label in range(10):
        rank[labels == label] = torch.arange(int((labels == label).sum()))
    chosen = (rank % 4 == 3) == (split == "test")
    return images[chosen], labels[chosen]


@lru_cache(maxsize=1)
def _digits() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits

    loaded: Any = load_digits()
    images = torch.as_tensor(loaded.images, dtype=torch.float32)[:, None] / 8 - 1
    return images, torch.as_tensor(loaded.target, dtype=torch.int64)


def mnist(
    split: Split, *, root: str | Path = "data", download: bool = True
) -> tuple[Tensor, Tensor]:
    """MNIST by torchvision: images (N, 1, 28, 28) float32 in [−1, 1], labels (N,).

    root: the folder that torchvision keeps the files in. download: fetch them where
    they are missing. Raises ImportError without torchvision, OSError where the data
    are not there and cannot be fetched, ValueError for another split.
    """
    return _torchvision("MNIST", split, root, download)


def cifar10(
    split: Split, *, root: str | Path = "data", download: bool = True
) -> tuple[Tensor, Tensor]:
    """CIFAR-10 by torchvision: images (N, 3, 32, 32) float32 in [−1, 1], labels (N,).

    Arguments and errors as in `mnist`.
    """
    return _torchvision("CIFAR10", split, root, download)


def _torchvision(
    name: str, split: Split, root: str | Path, download: bool
) -> tuple[Tensor, Tensor]:
    _check_split(split)
    try:
        from torchvision import datasets  # type: ignore[import-not-found]
    except ImportError as error:
        raise ImportError(
            f"{name} comes through torchvision, which is not installed: "
            "pip install torchvision, the version that fits your torch "
            "(digits() needs neither)"
        ) from error
    try:
        loaded = getattr(datasets, name)(
            str(root), train=split == "train", download=download
        )
    except (OSError, RuntimeError) as error:
        raise OSError(
            f"{name} is not in {str(root)!r} and could not be fetched "
            f"({error}); put the files there, or try again with a connection"
        ) from error
    images = torch.as_tensor(loaded.data)
    # CIFAR-10 comes as (N, H, W, 3), MNIST as (N, H, W).
    images = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2)
    scaled = images.float().div_(127.5).sub_(1).contiguous()
    return scaled, torch.as_tensor(loaded.targets, dtype=torch.int64)


def _check_split(split: object) -> None:
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test'; got {split!r}")
