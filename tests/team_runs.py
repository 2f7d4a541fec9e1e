"""Training runs for one process or several: what test_train_parallel compares.

As a program, under torchrun, it writes what process 0 found to the folder given.
"""

import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import distributed

from genflow_lite import rectified, vp
from genflow_lite._recipe import main
from genflow_lite.data import checkerboard, digits
from genflow_lite.nets import MLP, UNet
from genflow_lite.train import objective, train

COMMAND = (
    "--data moons --predicts v --steps 12 --batch 10 --width 16 --samples 20 --calls 4"
)


SETTINGS = {"steps": 20, "lr": 1e-2, "ema": 0.9, "clip": 0.3, "progress": False}


def flat(net):
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def points(folder, rank, **more):
    """An average, an optimiser, clipping: all on 9 rows, which no two share evenly."""
    net = MLP(2, width=16, depth=2)
    draw = lambda g: checkerboard(9, generator=g).float()  # noqa: E731
    loss = objective(rectified(), predicts="velocity")
    trained = train(loss, net, draw, **(SETTINGS | more))
    return {"net": flat(net), "average": flat(trained.net), "losses": trained.losses}


def pictures(folder, rank):
    """A U-Net with labels: what it says, for some of its weights have no effect."""
    images, labels = digits("test")
    net = UNet(1, width=8, classes=10)

    def draw(generator):
        row = torch.randint(len(images), (8,), generator=generator)
        return images[row], labels[row]

    loss = objective(vp(), predicts="eps")
    trained = train(loss, net, draw, steps=6, lr=1e-3, progress=False)
    t = torch.linspace(0.1, 0.9, 6)
    return {"said": trained.net(images[:6], t, labels[:6]), "losses": trained.losses}


def begun_together(folder, rank):
    """Ten steps by this team, to be gone on with by another."""

    seen = []

    def bounded(net, batch, generator):
        seen.append(len(batch))
        if len(seen) > 14:
            raise InterruptedError
        return loss(net, batch, generator)

    net = MLP(2, width=16, depth=2)
    loss = objective(rectified(), predicts="velocity")
    draw = lambda g: checkerboard(9, generator=g).float()  # noqa: E731
    more = {"checkpoint": Path(folder) / "begun.safetensors", "every": 10}
    try:
        train(bounded, net, draw, **(SETTINGS | more))
    except InterruptedError:
        return {"seen": torch.tensor(len(seen))}
    raise AssertionError("the run was not stopped")


def wrong(folder, rank):
    """What only a team refuses, as text in numbers."""

    def message(loss, rows):
        try:
            train(
                loss,
                MLP(2, width=8),
                lambda g: torch.zeros(rows, 2),
                steps=1,
                progress=False,
            )
        except ValueError as error:
            return torch.tensor(list(str(error).encode()))
        raise AssertionError("nothing was refused")

    plain = objective(rectified(), predicts="velocity")
    half = lambda net, x, g: net(x[:2], torch.ones(2)).square().sum(1)  # noqa: E731
    other_rows = lambda net, x, g: half(net, x, g).repeat(2)  # noqa: E731
    return {
        "mean": message(lambda *a: plain(*a).mean(), 4),
        "one row": message(plain, 1),
        "other rows": message(other_rows, 4),
    }


def command(folder, rank):
    """The command line, unchanged."""
    out = Path(folder) / "samples.safetensors"
    more = ["--out", str(out), "--device", "cpu"]
    return {"status": torch.tensor(main([*COMMAND.split(), *more]))}


def program(folder):
    torch.set_num_threads(1)
    rank = int(os.environ["RANK"])
    found = {}
    for run in (points, pictures, begun_together, wrong, command):
        for name, value in run(folder, rank).items():
            found[f"{run.__name__}.{name}"] = value.contiguous()
    assert distributed.is_initialized()  # by the first run, for all of them
    save_file(found, Path(folder) / f"rank{rank}.safetensors")


if __name__ == "__main__":
    program(sys.argv[1])
