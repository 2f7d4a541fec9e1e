"""Is a generated digit any good? A classifier that has seen only real ones tells.

Three questions, each with its answer for real images beside it. Is a sample the digit
that was asked for (accuracy)? Are the samples spread as real digits are (Fréchet
distance in the classifier's features)? And are they new (nearest neighbours)?
"""

from functools import lru_cache

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import affine_grid, cross_entropy, grid_sample

from genflow_lite._net import seeded
from genflow_lite._shapes import check_number, check_same_shape, check_state
from genflow_lite.data import digits
from genflow_lite.metrics import frechet_distance

__all__ = ["DigitJudge", "copies", "digit_classifier"]

FEATURES = 32
WARP = 0.1  # standard deviation of the entries of a random affine map, about 6 degrees


class _Net(nn.Module):
    """Two convolutions, 32 features, ten classes."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.SiLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(512, FEATURES),
            nn.SiLU(),
        )
        self.head = nn.Linear(FEATURES, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, 10) of images (N, 1, 8, 8)."""
        return self.head(self.body(x))


class DigitJudge:
    """A classifier of 8 × 8 digits, trained on the real training set.

    Images are (N, 1, 8, 8), of any floating dtype, in [−1, 1].
    """

    def __init__(self, net: _Net) -> None:
        self._net = net

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """What the last but one layer says of each image; (N, 32) float64."""
        return self._net.body(_images(images)).double()

    @torch.no_grad()
    def log_probs(self, images: Tensor) -> Tensor:
        """Log-probabilities of the ten classes; (N, 10) float64."""
        return self._net(_images(images)).double().log_softmax(1)

    def labels(self, images: Tensor) -> Tensor:
        """The most probable digit of each image; (N,) int64."""
        return self.log_probs(images).argmax(1)

    def accuracy(self, images: Tensor, labels: Tensor) -> float:
        """The share of images in which the judge sees the given label."""
        if labels.shape != images.shape[:1]:
            raise ValueError(
                f"labels must have shape ({len(images)},), one for each image; got "
                f"{tuple(labels.shape)}"
            )
        return float((self.labels(images) == labels).double().mean())

    def distance(self, x: Tensor, y: Tensor) -> float:
        """Fréchet distance of two sets of images in the 32 features.

        Biased upwards for small sets: say n, and show real against real of the same
        sizes beside it.
        """
        return frechet_distance(self.features(x), self.features(y))


@lru_cache(maxsize=4)
def digit_classifier(seed: int = 0) -> DigitJudge:
    """The judge, trained on the real training digits in about two CPU-seconds.

    500 steps of AdamW on batches of 128 images, each slightly turned, sheared, scaled
    and shifted at random; 99 % of the test digits are then named right. Made once in a
    process for each seed. float32: the last digits of its verdicts differ between
    machines.
    """
    return DigitJudge(_trained(seed, steps=500))


def _trained(seed: int, *, steps: int, lr: float = 3e-3) -> _Net:
    """The classifier; torch's global generator and default dtype play no part."""
    images, labels = digits("train")
    generator = torch.Generator().manual_seed(seed)
    with seeded(seed):
        net = _Net()
    optimiser = torch.optim.AdamW(net.parameters(), lr, weight_decay=0.05, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, steps)
    with torch.enable_grad():
        for _ in range(steps):
            row = torch.randint(len(images), (128,), generator=generator)
            loss = cross_entropy(net(_warped(images[row], generator)), labels[row])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return net.eval().requires_grad_(False)


def _warped(images: Tensor, generator: Generator) -> Tensor:
    """Each image under a random affine map near the identity."""
    n = len(images)
    noise = torch.randn(n, 2, 3, generator=generator, dtype=images.dtype)
    turn = torch.eye(2, 3, dtype=images.dtype) + WARP * noise
    grid = affine_grid(turn, list(images.shape), align_corners=False)
    return grid_sample(images, grid, padding_mode="border", align_corners=False)


def copies(
    samples: Tensor, train: Tensor, held_out: Tensor, *, quantile: float = 0.01
) -> float:
    """The share of samples that lie nearer to the training set than real images do.

    "Nearer" is: a Euclidean distance to the nearest training image below the given
    quantile of the same distance for held-out real images. So a perfect sampler scores
    the quantile itself, 0.01, and one that hands out training images scores 1.
    """
    quantile = check_number(quantile, name="quantile")
    if not 0 <= quantile <= 1:
        raise ValueError(f"quantile must lie in [0, 1]; got {quantile}")
    for name, other in (("train", train), ("held_out", held_out)):
        check_same_shape(samples[:0], other[:0], names=("samples", name))

    def nearest(x: Tensor) -> Tensor:
        flat = check_state(x).double().flatten(1)
        return torch.cdist(flat, train.double().flatten(1)).min(dim=1).values

    limit = nearest(held_out).quantile(quantile)
    return float((nearest(samples) < limit).double().mean())


def _images(images: Tensor) -> Tensor:
    images = check_state(images, name="images")
    if images.shape[1:] != (1, 8, 8):
        raise ValueError(
            f"images must have shape (N, 1, 8, 8); got {tuple(images.shape)}"
        )
    return images.float()
