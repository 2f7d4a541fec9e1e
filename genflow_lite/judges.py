"""Is a generated digit any good? A classifier that has seen only real ones tells.

Three questions, each with its answer for real images beside it. Is a sample the digit
that was asked for (accuracy)? Are the samples spread as real digits are (Fréchet
distance in the classifier's features)? And are they new (nearest neighbours)?
"""

from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from genflow_lite._shapes import check_number, check_state
from genflow_lite.data import digits
from genflow_lite.metrics import frechet_distance

__all__ = ["DigitJudge", "copies", "digit_classifier"]

FEATURES = 32


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.SiLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(512, FEATURES),
            nn.SiLU(),
        )
        self.head = nn.Linear(FEATURES, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


class DigitJudge:
    """A classifier of 8 × 8 digits, trained on the real training set.

    Images are (N, 1, 8, 8), of any floating dtype, in [−1, 1].
    """

    def __init__(self, net: nn.Module) -> None:
        self._net = net

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """What the last but one layer says of each image; (N, 32) float64."""
        return self._net.body(_images(images)).double()  # type: ignore[operator]

    @torch.no_grad()
    def log_probs(self, images: Tensor) -> Tensor:
        """Log-probabilities of the ten classes; (N, 10) float64."""
        return self._net(_images(images)).double().log_softmax(1)

    def labels(self, images: Tensor) -> Tensor:
        """The most probable digit of each image; (N,) int64."""
        return self.log_probs(images).argmax(1)

    def accuracy(self, images: Tensor, labels: Tensor) -> float:
        """The share of images in which the judge sees the given label."""
        return float((self.labels(images) == labels).double().mean())

    def distance(self, x: Tensor, y: Tensor) -> float:
        """Fréchet distance of two sets of images in the 32 features.

        Biased upwards for small sets: say n, and show real against real of the same
        sizes beside it.
        """
        return frechet_distance(self.features(x), self.features(y))


@lru_cache(maxsize=4)
def digit_classifier(seed: int = 0, steps: int = 600) -> DigitJudge:
    """The judge: trained on the real training digits in about two CPU-seconds.

    Made once in a process for each seed. float32, so that its numbers differ in their
    last digits between machines.
    """
    images, labels = digits("train")
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = _Net()
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, steps)
    for _ in range(steps):
        row = torch.randint(len(images), (128,), generator=generator)
        loss = cross_entropy(net(images[row]), labels[row], label_smoothing=0.05)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return DigitJudge(net.eval().requires_grad_(False))


def copies(
    samples: Tensor, train: Tensor, held_out: Tensor, *, quantile: float = 0.01
) -> float:
    """The share of samples that lie nearer to the training set than real images do.

    "Nearer" is: a Euclidean distance to the nearest training image below the given
    quantile of the same distance for held-out real images. So a perfect sampler scores
    the quantile itself, 0.01, and one that hands out training images scores 1.
    """
    quantile = check_number(quantile, name="quantile")

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
