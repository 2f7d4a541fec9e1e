"""Samples in a file: a picture of them, or the numbers themselves."""

from pathlib import Path

import torch
from torch import Tensor


def write(path: Path, samples: Tensor, labels: Tensor | None) -> None:
    """A picture of the samples, or the numbers themselves."""
    if path.suffix == ".safetensors":
        from safetensors.torch import save_file

        tensors = {"samples": samples.contiguous()}
        save_file(tensors if labels is None else tensors | {"labels": labels}, path)
    elif samples.ndim == 2:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(5, 5))
        axes = figure.subplots()
        axes.scatter(*samples.T.tolist(), s=4, linewidths=0)
        axes.set(xlabel="$x_1$", ylabel="$x_2$", aspect="equal")
        figure.savefig(path, dpi=150)
    else:
        from matplotlib.image import imsave

        imsave(path, grid(samples).numpy(), cmap="gray", vmin=0, vmax=1)


def grid(images: Tensor, columns: int = 10) -> Tensor:
    """Images (N, C, H, W) in [−1, 1] side by side, (rows·H, columns·W[, 3]) in [0, 1].

    Ten in a row, so that labels in turn stand in columns; missing ones are black.
    """
    n, channels, height, width = images.shape
    rows = -(-n // columns)
    padded = torch.full((rows * columns, channels, height, width), -1.0)
    padded[:n] = images
    tiles = padded.reshape(rows, columns, channels, height, width)
    sheet = tiles.permute(0, 3, 1, 4, 2).reshape(rows * height, columns * width, -1)
    sheet = ((sheet + 1) / 2).clamp(0, 1)
    return sheet[:, :, 0] if channels == 1 else sheet
