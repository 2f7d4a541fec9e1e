"""The parts of the U-Net: residual block, attention, and the ways down and up."""

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, scaled_dot_product_attention, silu


class Block(nn.Module):
    """h + conv(silu((1 + a) norm(conv(silu(norm(h)))) + b)); (a, b) from the code."""

    def __init__(self, inputs: int, outputs: int, code: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(4, inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2 = nn.GroupNorm(4, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.code = nn.Linear(code, 2 * outputs)
        same = inputs == outputs
        self.skip = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1)

    def forward(self, h: Tensor, code: Tensor) -> Tensor:
        """h (B, inputs, H, W), code (B, code); returns (B, outputs, H, W)."""
        scale, shift = self.code(code)[:, :, None, None].chunk(2, dim=1)
        r = self.conv1(silu(self.norm1(h)))
        r = self.conv2(silu((1 + scale) * self.norm2(r) + shift))
        return self.skip(h) + r


class Attention(nn.Module):
    """h + W softmax(qᵀk/√d) v over the pixels of an image, one head."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(4, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, h: Tensor) -> Tensor:
        """h (B, C, H, W); returns the same shape."""
        q, k, v = self.qkv(self.norm(h)).flatten(2).transpose(1, 2).chunk(3, dim=2)
        mixed = scaled_dot_product_attention(q, k, v)
        return h + self.out(mixed.transpose(1, 2).reshape(h.shape))


class Down(nn.Module):
    """To half the resolution, except on the first level, then a block."""

    def __init__(self, inputs: int, outputs: int, code: int, *, halve: bool) -> None:
        super().__init__()
        halving = nn.Conv2d(inputs, inputs, 3, stride=2, padding=1)
        self.halve = halving if halve else nn.Identity()
        self.block = Block(inputs, outputs, code)

    def forward(self, h: Tensor, code: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H/2, W/2)."""
        return self.block(self.halve(h), code)


class Middle(nn.Module):
    """A block and attention at the lowest resolution."""

    def __init__(self, channels: int, code: int, *, attention: bool) -> None:
        super().__init__()
        self.block = Block(channels, channels, code)
        self.attention = Attention(channels) if attention else nn.Identity()

    def forward(self, h: Tensor, code: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        return self.attention(self.block(h, code))


class Up(nn.Module):
    """A block that also sees the way down, then back to twice the resolution."""

    def __init__(self, inputs: int, outputs: int, code: int, *, double: bool) -> None:
        super().__init__()
        self.block = Block(inputs + outputs, outputs, code)
        self.doubles = double
        doubling = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.smooth = doubling if double else nn.Identity()

    def forward(self, h: Tensor, left: Tensor, code: Tensor) -> Tensor:
        """(B, inputs, H, W) and what was left, to (B, outputs, 2H, 2W)."""
        h = self.block(torch.cat([h, left], dim=1), code)
        if self.doubles:
            h = interpolate(h, scale_factor=2.0, mode="nearest")
        return self.smooth(h)
