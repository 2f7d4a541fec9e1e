"""What a network is trained on: times, noise and dropped labels for the loss."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor

from genflow_lite._shapes import check_number, describe
from genflow_lite.losses import Weight, denoising_loss
from genflow_lite.paths import GaussianPath
from genflow_lite.predict import Prediction, check_is_path
from genflow_lite.timesteps import TimeLaw, uniform


def objective(
    path: GaussianPath,
    *,
    predicts: Prediction,
    weight: Weight | None = None,
    times: TimeLaw | None = None,
    drop: float = 0.1,
    t_min: float = 1e-3,
    t_max: float = 1.0,
) -> Callable[[Any, Any, Generator], Tensor]:
    """The denoising loss as `train` wants it, loss(net, batch, generator) -> (B,).

    batch: x0 (B, *S), or the pair of x0 and labels (B,) for a network with classes,
    which sees its null label in place of a share `drop` of them, so that it learns
    both denoisers of classifier-free guidance. times: a `TimeLaw`, the uniform one
    unless given, moved from [0, 1] to [t_min, t_max] and stratified over the rows.
    path, predicts, weight: as in `denoising_loss`.

    Raises TypeError and ValueError for bad arguments, there or at the call.
    """
    path = check_is_path(path)
    law = uniform() if times is None else times
    if not isinstance(law, TimeLaw):
        raise TypeError(f"times must be a TimeLaw; got {describe(law)}")
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
        u = law.sample(n, generator=generator, stratified=True).to(x0.dtype)
        t = (t_min + (t_max - t_min) * u).to(device)
        call = net
        if labels is not None:
            dropped = (torch.rand(n, generator=generator) < drop).to(device)
            cond = torch.where(dropped, net.classes, labels)

            def call(x: Tensor, t: Tensor) -> Tensor:
                return net(x, t, cond)

        return denoising_loss(call, path, x0, eps, t, predicts=predicts, weight=weight)

    return loss
