"""Networks small enough to train in a chapter: a perceptron, and a U-Net for images.

Both are called as ``net(x, t, cond=None)`` with x (B, *S), t (B,) in [0, 1] and, where
the network was made with ``classes``, integer labels cond (B,). The label ``classes``
is the null label, "no class at all": train with it in place of some of the labels, and
one network gives both denoisers of classifier-free guidance. Without `cond` every row
has the null label.

A network is float32 and its weights start from ``seed``, without a look at torch's
global generator: two networks made alike are alike.
"""

from torch import Tensor, nn
from torch.nn.functional import silu

from genflow_lite._net import (
    Net,
    checked_time,
    fourier_features,
    seeded,
    silent,
    sinusoidal_embedding,
)
from genflow_lite._shapes import Numbers, State, check_count, check_state
from genflow_lite._unet import Down, Middle, Up

__all__ = ["MLP", "UNet", "fourier_features", "sinusoidal_embedding"]


class MLP(Net):
    """A perceptron of residual layers, for points or for small things flattened.

    c = silu(W_c silu(W_t waves(t) + e_y)),  h_0 = W_0 waves(x),
    h_k = h_{k−1} + W_k silu((1 + a_k) h_{k−1} + b_k),  (a_k, b_k) linear in c,
    y = W silu(h_depth) + s x,  s a number linear in c;

    biases are not shown, and W and s start at 0. The last term is there because the
    largest part of most predictions is a multiple of x, which layers of silu would
    have to put together from pieces.

    dim: D, the number of entries of x without its batch axis; x may be (B, *S) with
        any S of D entries. width, depth: of the layers. octaves: of `fourier_features`
        of t; space_octaves: of each entry of x, for points with sharp edges whose
        coordinates are of order one. classes: how many labels there are; None is a
        network without labels. seed: of the starting weights.

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
        width = check_count(width, name="width")
        depth = check_count(depth, name="depth")
        self.octaves = check_count(octaves, name="octaves", least=0)
        self.space_octaves = check_count(space_octaves, name="space_octaves", least=0)
        code = max(32, width // 4)
        with seeded(seed):
            self.time = nn.Linear(1 + 2 * octaves, code)
            if classes is not None:
                self.label = nn.Embedding(classes + 1, code)
            self.code = nn.Linear(code, code)
            self.scales = nn.Linear(code, 2 * width * depth)
            self.first = nn.Linear(dim * (1 + 2 * space_octaves), width)
            self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
            self.last = silent(nn.Linear(width, dim))
            self.through = silent(nn.Linear(code, 1))

    def forward(self, x: State, t: Numbers, cond: Tensor | None = None) -> State:
        """The prediction at x (B, *S), t (B,) or (), cond (B,); like x."""
        x = check_state(x)
        flat = x.flatten(1) if x.ndim > 1 else x[:, None]
        if flat.shape[1] != self.dim:
            raise ValueError(
                f"x must have {self.dim} entries in each row; got {tuple(x.shape)}"
            )
        c = self.time(fourier_features(checked_time(t, x)[:, None], self.octaves))
        labels = self.labels(cond, x)
        if labels is not None:
            c = c + self.label(labels)
        c = silu(self.code(silu(c)))
        scales = self.scales(c).chunk(2 * len(self.layers), 1)
        h = self.first(fourier_features(flat, self.space_octaves))
        for layer, a, b in zip(self.layers, scales[::2], scales[1::2], strict=True):
            h = h + layer(silu((1 + a) * h + b))
        return (self.last(silu(h)) + self.through(c) * flat).reshape(x.shape)


class UNet(Net):
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
        with seeded(seed):
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
        code = self.time(sinusoidal_embedding(checked_time(t, x), self.width))
        labels = self.labels(cond, x)
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
