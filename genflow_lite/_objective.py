"""What a network is trained on: times, noise and dropped labels for the loss."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor

from genflow_lite._shapes import check_number
from genflow_lite.losses import Weight, denoising_loss
from genflow_lite.paths import GaussianPath
from genflow_lite.predict import Prediction, check_is_path


def stratified_times(
    n: int, *, generator: Generator, t_min: float = 0.0, t_max: float = 1.0
) -> Tensor:
    """n times, each uniform on a share of its own: t_i = t_min + h (i + u_i)/n.

    h = t_max − t_min, u_i uniform on [0, 1). Taken in random order, each time is
    uniform on the whole interval, and their mean loss has less variance than that of
    independent times (Kingma et al. 2021, appendix I.1). (n,) float32, increasing.
    """
    u = torch.rand(n, generator=generator)
    return t_min + (t_max - t_min) * (torch.arange(n) + u) / n


def objective(
    path: GaussianPath,
    *,
    predicts: Prediction,
    weight: Weight | None = None,
    drop: float = 0.1,
    t_min: float = 1e-3,
    t_max: float = 1.0,
) -> Callable[[Any, Any, Generator], Tensor]:
    """The denoising loss as `train` wants it, loss(net, batch, generator) -> (B,).

    batch: x0 (B, *S), or the pair of x0 and labels (B,) for a network with classes,
    which sees its null label in place of a share `drop` of them, so that it learns
    both denoisers of classifier-free guidance. Times are stratified in [t_min, t_max]
    over the rows; draw those at random. path, predicts, weight: as in
    `denoising_loss`.

    Raises TypeError and ValueError for bad arguments, there or at the call.
    """
    path = check_is_path(path)
    drop = check_number(drop, name="drop")
    t_min, t_max = check_number(t_min, name="t_min"), check_number(t_max, name="t_max")
    if not 0 <= drop <= 1:
        raise ValueError(f"drop must lie in [0, 1]; got {drop}")
    if not 0 <= t_min < t_max <= 1:
        raise ValueError(
            f"t_min, t_max must be 0 <= t_min < t_max <= 1; got {t_min}, {t_max}"
        )

    def loss(net: Any, batch: Any, generator: Generator) -> Tensor:
        x0, labels = batch if isinstance(batch, tuple | list) else (batch, None)
        n, device = len(x0), x0.device
        eps = torch.randn(x0.shape, generator=generator, dtype=x0.dtype).to(device)
        t = stratified_times(n, generator=generator, t_min=t_min, t_max=t_max)
        call = net
        if labels is not None:
            dropped = (torch.rand(n, generator=generator) < drop).to(device)
            cond = torch.where(dropped, net.classes, labels)

            def call(x: Tensor, t: Tensor) -> Tensor:
                return net(x, t, cond)

        return denoising_loss(
            call, path, x0, eps, t.to(device), predicts=predicts, weight=weight
        )

    return loss
