"""One training loop for every network of the book.

AdamW with warm-up and a cosine, clipped gradients, an exponential moving average of
the weights, a progress bar, and checkpoints from which an interrupted run goes on as if
nothing had happened. Under ``torchrun`` the same call runs on several processes.

As a command, ``python -m genflow_lite.train --help``, it trains on a data set by name
and writes samples.
"""

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor, nn

from genflow_lite import _checkpoint
from genflow_lite._objective import objective
from genflow_lite._parallel import Shared, team
from genflow_lite._run import Run, checked_settings, learning_rate
from genflow_lite._shapes import check_count, describe

__all__ = [
    "Trained",
    "learning_rate",
    "objective",
    "restore",
    "train",
]


class Trained(NamedTuple):
    """What training gives.

    net: a copy of the network with the averaged weights, in eval mode and without
        gradients: the one to sample with. losses: (steps,) float64, the mean loss of
        each step's batch, before the step.
    """

    net: Any
    losses: Tensor


def train(
    loss: Callable[[Any, Any, Generator], Tensor],
    net: nn.Module,
    batches: Callable[[Generator], Any] | Iterator[Any],
    *,
    steps: int,
    lr: float = 2e-3,
    warmup: int | None = None,
    ema: float = 0.995,
    clip: float = 1.0,
    weight_decay: float = 0.0,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    every: int = 500,
    resume: bool = True,
    progress: bool = True,
    device: str | torch.device | None = None,
    about: Mapping[str, Any] | None = None,
) -> Trained:
    """Train `net`, in place, to a small loss; the averaged network and all losses.

    loss: called as loss(net, batch, generator), gives (B,), one number for each row
        of the batch, or their mean (). It draws times and noise from the generator
        and calls the network as net(x, t) or net(x, t, cond).
    batches: a function of the generator that draws a batch, a tensor or a tuple of
        tensors with B rows each; or an iterator, which a resumed run first winds
        forward by as many batches as were used.
    steps, lr, warmup: the learning rate is `learning_rate`; warm-up takes
        min(100, steps // 10) steps unless given.
    ema: decay d of the average, θ̄ ← d_k θ̄ + (1 − d_k) θ after each step, with
        d_k = min(d, (k + 1)/(k + 10)) at step k = 0, 1, …, so that a short run is not
        held back by its start.
    clip: the gradients' norm is cut to this; math.inf for no clipping.
    seed: of the generator (on the CPU, whatever the device) that batches and loss
        draw from. torch's global generator, for dropout, is seeded from it at each
        step too, and is afterwards what it was before.
    checkpoint: a file, written whole or not at all every `every` steps and at the end:
        network, average, optimiser, generator, losses, settings. If it exists,
        training goes on from it to the bits of an uninterrupted run, and returns at
        once if it is complete. resume=False starts anew and replaces it.
    progress: a bar on stderr; never in a stored notebook.
    device: where to train; None is where the network is.
    about: more settings by name (numbers, strings) that a resumed run must share.

    Under ``torchrun`` every process draws the whole batch and runs the network on its
    share of the rows, with DistributedDataParallel: gloo on CPUs, nccl on GPUs. Then
    the loss must return (B,). The result is that of one process up to rounding.

    Raises ValueError for a checkpoint of another network or of other settings and for
    a file that is damaged or no checkpoint, which is left as it is; FloatingPointError
    for a loss or gradient that is not finite, before the step is taken. TypeError and
    ValueError for other bad arguments.
    """
    _check_loop(loss, net, batches)
    settings = checked_settings(steps, lr, warmup, ema, clip, weight_decay, seed)
    every = check_count(every, name="every")
    file = None if checkpoint is None else _check_file(checkpoint)
    crew = team(next(net.parameters()).device if device is None else _place(device))
    run = Run(net.to(crew.device), settings, dict(about or {}))
    if file is not None and file.exists():
        run.open(file, resume=resume)
    crew.agree(run.step)
    draw = _drawing(batches, run)
    inner = Shared(net, crew) if crew.size > 1 else net
    with _bar(run, progress and crew.rank == 0) as bar, _own_random_numbers(crew):
        net.train()
        while run.step < steps:
            run.seed_step(crew.rank)
            batch = _to(draw(run.generator), crew.device)
            values = loss(inner, batch, run.generator)
            run.update(*_mean(values, inner))
            due = run.step % every == 0 or run.step == steps
            if file is not None and due and crew.rank == 0:
                run.save(file)
            bar.update()
    net.eval()
    return Trained(run.average, run.losses)


def restore(net: nn.Module, checkpoint: str | Path) -> nn.Module:
    """`net` itself with the averaged weights of a checkpoint, in eval mode.

    Raises ValueError, and changes nothing, for a checkpoint of another network and for
    a file that is missing, damaged or no checkpoint.
    """
    file = Path(checkpoint)
    tensors, config = _checkpoint.read(file)
    _checkpoint.check_architecture(file, config, net)
    net.load_state_dict(_checkpoint.part(tensors, "average"))
    return net.eval()


def _mean(values: object, net: Any) -> tuple[Tensor, Tensor]:
    """What to differentiate, and the mean loss."""
    if not isinstance(values, Tensor) or not values.is_floating_point():
        raise TypeError(f"loss must return a tensor (B,) or (); got {describe(values)}")
    if values.ndim > 1:
        raise ValueError(
            f"loss must return (B,) or (); got shape {tuple(values.shape)}"
        )
    if not values.requires_grad:
        raise ValueError("loss must depend on net; its result has no gradient")
    if isinstance(net, Shared):
        return net.mean(values)
    return values.mean(), values.detach().mean()


def _check_loop(loss: object, net: object, batches: object) -> None:
    if not callable(loss):
        raise TypeError(
            f"loss must be a function (net, batch, generator); got {describe(loss)}"
        )
    if not isinstance(net, nn.Module) or not any(
        p.requires_grad for p in net.parameters()
    ):
        raise TypeError(
            f"net must be a torch.nn.Module with parameters; got {describe(net)}"
        )
    if not callable(batches) and not isinstance(batches, Iterator):
        raise TypeError(
            "batches must be a function of a generator, or an iterator such as "
            f"iter(loader); got {describe(batches)}"
        )


def _drawing(batches: Any, run: Run) -> Callable[[Generator], Any]:
    """How to draw a batch; an iterator is wound forward to the step of the run."""
    if callable(batches):
        return batches
    used = itertools.count()

    def draw(_: Generator | None = None) -> Any:
        count = next(used)
        try:
            return next(batches)
        except StopIteration:
            raise ValueError(
                f"batches ended after {count} of {run.settings['steps']} steps"
            ) from None

    for _ in range(run.step):
        draw()
    return draw


def _check_file(checkpoint: str | Path) -> Path:
    file = Path(checkpoint)
    if file.is_dir():
        raise ValueError(f"checkpoint must be a file; {str(file)!r} is a folder")
    if not file.absolute().parent.is_dir():
        raise ValueError(f"checkpoint must lie in a folder that exists; got {file}")
    return file


def _place(device: str | torch.device) -> torch.device:
    try:
        torch.empty(0, device=device)
        # Not that tensor's device, which has an index: torchrun chooses the GPU.
        return torch.device(device)
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).split("\n")[0]
        raise ValueError(
            f"device must be one that this torch has; got {device!r} ({reason})"
        ) from None


def _own_random_numbers(crew: Any) -> Any:
    index = crew.device.index
    on_gpu = crew.device.type == "cuda"
    return torch.random.fork_rng(devices=[index or 0] if on_gpu else [])


def _to(batch: Any, device: torch.device) -> Any:
    """The tensors of a batch on the device."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, tuple | list):
        return type(batch)(_to(item, device) for item in batch)
    return batch


def _bar(run: Run, wanted: bool) -> Any:
    from tqdm import tqdm

    quiet = not wanted or bool(os.environ.get("GENFLOW_STATIC"))
    return tqdm(
        total=run.settings["steps"], initial=run.step, disable=quiet, leave=False
    )


if __name__ == "__main__":
    from genflow_lite._recipe import main

    raise SystemExit(main())
