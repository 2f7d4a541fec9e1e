"""Networks small enough to train in a chapter: a perceptron, and a U-Net for images.

Both are called as ``net(x, t, cond=None)`` with x (B, *S), t (B,) in [0, 1] and, where
the network was made with ``classes``, integer labels cond (B,). The label ``classes``
is the null label, "no class at all": train with it in place of some of the labels, and
one network gives both denoisers of classifier-free guidance. Without `cond` every row
has the null label.

A network is float32 and its weights start from ``seed``, without a look at torch's
global generator: two networks made alike are alike.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from genflow_lite._shapes import (
    Numbers,
    State,
    check_count,
    check_floating,
    check_state,
    describe,
)
from genflow_lite._unet import Down, Middle, Up

__all__ = ["MLP", "UNet", "fourier_features", "sinusoidal_embedding"]


def fourier_features(u: Tensor, octaves: int) -> Tensor:
    """(u, sin π u, cos π u, sin 2π u, …): u with its waves of 1, 2, 4, … half turns.

    A perceptron learns the low frequencies of its input first; sines of the input hand
    it the high ones (Tancik et al. 2020). For octave k = 0, …, octaves − 1 the angle
    is 2ᵏ π u, so that on [0, 1] the lowest cosine still tells both ends apart.

    u (B, D), octaves ≥ 0. Returns (B, D (1 + 2 octaves)).
    """
    scales = math.pi * 2.0 ** torch.arange(octaves, dtype=u.dtype, device=u.device)
    angles = (u[..., None] * scales).flatten(-2)
    return torch.cat([u, angles.sin(), angles.cos()], dim=-1)


def sinusoidal_embedding(t: Tensor, width: int) -> Tensor:
    """(sin ω_j τ, cos ω_j τ) for j < width/2, τ = 1000 t, ω_j = 10000^(−2j/width).

    The embedding of a position in a sentence (Vaswani et al. 2017), as DDPM uses it
    for the step n = 1000 t of 1000 (Ho et al. 2020). t (B,), width even. Returns
    (B, width): all sines, then all cosines.
    """
    half = width // 2
    exponent = torch.arange(half, dtype=t.dtype, device=t.device) / half
    angles = 1000 * t[:, None] * 10000.0**-exponent
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class _Net(nn.Module):
    """What both networks share: checks, labels, and weights that start from a seed."""

    def __init__(self, classes: int | None) -> None:
        super().__init__()
        if classes is not None:
            check_count(classes, name="classes")
        self.classes = classes

    def _labels(self, cond: Tensor | None, x: Tensor) -> Tensor | None:
        """The labels of a batch; ValueError for a label that the network lacks."""
        if self.classes is None:
            if cond is not None:
                raise ValueError(
                    "cond must be None for a network made without classes; "
                    f"got {describe(cond)}"
                )
            return None
        if cond is None:
            return torch.full((len(x),), self.classes, device=x.device)
        kinds = (torch.int64, torch.int32)
        if not isinstance(cond, Tensor) or cond.dtype not in kinds:
            raise TypeError(f"cond must be an int64 tensor; got {describe(cond)}")
        if cond.shape != x.shape[:1]:
            raise ValueError(
                f"cond must have shape (B,) = ({len(x)},); got {tuple(cond.shape)}"
            )
        if len(x) and not 0 <= int(cond.min()) <= int(cond.max()) <= self.classes:
            raise ValueError(
                f"cond must hold labels from 0 to {self.classes - 1}, or the null "
                f"label {self.classes}; got values from {int(cond.min())} to "
                f"{int(cond.max())}"
            )
        return cond.to(x.device)


def _checked_time(t: Tensor, x: Tensor) -> Tensor:
    t = check_floating(t, name="t")
    if t.shape not in ((), x.shape[:1]):
        raise ValueError(
            f"t must have shape () or (B,) = ({len(x)},); got {tuple(t.shape)}"
        )
    return t.to(x).expand(len(x))


class MLP(_Net):
    """A perceptron of residual layers for points, or for small things flattened.

    h = W₀ [x, waves of x, waves of t] + e(cond), then `depth` times
    h ← h + W₂ silu(W₁ silu(h) …), and a linear layer back to `dim`.

    dim: D, the number of entries of x without its batch axis; x may be (B, *S) with
        any S of D entries. width, depth: of the hidden layers. octaves: Fourier
        octaves of t. space_octaves: of each coordinate of x, for data with sharp
        edges whose coordinates are of order one. classes: how many labels there are.
        seed: of the starting weights.

    Raises TypeError and ValueError for bad arguments, there and at the call.
    """

    def __init__(
        self,
        dim: int,
        *,
        width: int = 128,
        depth: int = 3,
        octaves: int = 4,
        space_octaves: int = 0,
        classes: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(classes)
        self.dim = check_count(dim, name="dim")
        check_count(width, name="width")
        check_count(depth, name="depth")
        self.octaves = check_count(octaves, name="octaves", least=0)
        self.space_octaves = check_count(space_octaves, name="space_octaves", least=0)
        inputs = dim * (1 + 2 * space_octaves) + 1 + 2 * octaves
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.first = nn.Linear(inputs, width)
            self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
            self.last = nn.Linear(width, dim)
            if classes is not None:
                self.label = nn.Embedding(classes + 1, width)

    def forward(self, x: State, t: Numbers, cond: Tensor | None = None) -> State:
        """The prediction at x (B, *S), t (B,) or (), cond (B,); (B, *S) float32."""
        x = check_state(x)
        flat = x.reshape(len(x), -1)
        if flat.shape[1] != self.dim:
            raise ValueError(
                f"x must have {self.dim} entries in each row; got shape "
                f"{tuple(x.shape)}"
            )
        t = _checked_time(t, x)
        waves = fourier_features(t[:, None], self.octaves)
        h = self.first(
            torch.cat([fourier_features(flat, self.space_octaves), waves], 1)
        )
        labels = self._labels(cond, x)
        if labels is not None:
            h = h + self.label(labels)
        for layer in self.hidden:
            h = layer(silu(h))
        return self.last(silu(h)).reshape(x.shape)


class UNet(_Net):
    """A U-Net for images, with sinusoidal time, attention and class conditioning.

    Residual blocks on each of `levels` resolutions on the way down, one pair with
    attention between them at the bottom, and the mirror image on the way up, where
    each block also sees what the way down left at its resolution (Ronneberger et al.
    2015; Ho et al. 2020). Time and label enter every block as a scale and a shift of
    its channels.

    channels: of x, (B, channels, H, W), with H and W multiples of 2^(levels − 1).
    width: channels of the first level; level k has width · min(k + 1, 2).
    attention: self-attention over all pixels at the lowest level. classes, seed as in
    `MLP`. Raises TypeError and ValueError for bad arguments, there and at the call.
    """

    def __init__(
        self,
        channels: int = 1,
        *,
        width: int = 32,
        levels: int = 2,
        attention: bool = True,
        classes: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(classes)
        self.channels = check_count(channels, name="channels")
        self.width = check_count(width, name="width", least=4)
        self.levels = check_count(levels, name="levels")
        if width % 4:
            raise ValueError(f"width must be a multiple of 4; got {width}")
        widths = [width * min(k + 1, 2) for k in range(levels)]
        inner = 4 * width
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.time = nn.Sequential(
                nn.Linear(width, inner), nn.SiLU(), nn.Linear(inner, inner)
            )
            if classes is not None:
                self.label = nn.Embedding(classes + 1, inner)
            self.first = nn.Conv2d(channels, width, 3, padding=1)
            ends = zip([width, *widths], widths, strict=False)
            self.down = nn.ModuleList(
                Down(a, b, inner, halve=k > 0) for k, (a, b) in enumerate(ends)
            )
            self.middle = Middle(widths[-1], inner, attention=attention)
            below = [*widths[1:], widths[-1]]
            self.up = nn.ModuleList(
                Up(a, b, inner, double=k > 0)
                for k, (a, b) in reversed(
                    list(enumerate(zip(below, widths, strict=True)))
                )
            )
            self.norm = nn.GroupNorm(4, width)
            self.last = nn.Conv2d(width, channels, 3, padding=1)
        for parameter in self.last.parameters():
            nn.init.zeros_(
                parameter
            )  # a new network says 0, the mean of what it predicts

    def forward(self, x: State, t: Numbers, cond: Tensor | None = None) -> State:
        """The prediction at x (B, C, H, W), t (B,) or (), cond (B,), like x."""
        x = check_state(x)
        step = 2 ** (self.levels - 1)
        if x.ndim != 4 or x.shape[1] != self.channels:
            raise ValueError(
                f"x must have shape (B, {self.channels}, H, W); got {tuple(x.shape)}"
            )
        if x.shape[2] % step or x.shape[3] % step:
            raise ValueError(
                f"x must have a height and width that are multiples of {step} for "
                f"{self.levels} levels; got {tuple(x.shape[2:])}"
            )
        code = self.time(sinusoidal_embedding(_checked_time(t, x), self.width))
        labels = self._labels(cond, x)
        if labels is not None:
            code = code + self.label(labels)
        code = silu(code)
        h = self.first(x)
        left = []
        for down in self.down:
            h = down(h, code)
            left.append(h)
        h = self.middle(h, code)
        for up in self.up:
            h = up(h, left.pop(), code)
        return self.last(silu(self.norm(h)))
