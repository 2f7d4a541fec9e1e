"""The command ``python -m genflow_lite.train``: a data set by name, to samples."""

import argparse
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from genflow_lite import data as sets
from genflow_lite._objective import objective
from genflow_lite._shapes import check_count
from genflow_lite._sheet import write
from genflow_lite.grids import time_grid
from genflow_lite.guidance import cfg
from genflow_lite.nets import MLP, UNet
from genflow_lite.ode import last
from genflow_lite.paths import GaussianPath, cosine, rectified, sub_vp, ve, vp
from genflow_lite.predict import as_denoiser
from genflow_lite.samplers import ddim
from genflow_lite.train import train

PATHS = {"vp": vp, "cosine": cosine, "rectified": rectified, "sub_vp": sub_vp, "ve": ve}
IMAGES = {"digits": sets.digits, "mnist": sets.mnist, "cifar10": sets.cifar10}
POINTS = {
    "checkerboard": (sets.checkerboard, None),
    "moons": (sets.moons, 2),
    "rings": (sets.rings, 3),
    "spirals": (sets.spirals, 2),
}


class Source(NamedTuple):
    """A data set: how to draw from it, the shape of a row, how many classes."""

    draw: Callable[[Generator], Any]
    shape: tuple[int, ...]
    classes: int | None


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="python -m genflow_lite.train",
        description="Train a network on a data set and write samples. Run the same "
        "command again to go on after an interruption. Under torchrun "
        "(torchrun --nproc-per-node 2 -m genflow_lite.train ...) it uses all "
        "processes.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    what = top.add_argument_group("what is learnt")
    what.add_argument("--data", choices=[*IMAGES, *POINTS], default="digits")
    what.add_argument("--root", default="data", help="folder of mnist and cifar10")
    what.add_argument("--path", choices=list(PATHS), default="vp")
    what.add_argument(
        "--predicts", choices=["eps", "x0", "v", "velocity"], default="eps"
    )
    what.add_argument("--unconditional", action="store_true", help="ignore labels")
    net = top.add_argument_group("network")
    net.add_argument("--net", choices=["unet", "mlp"], help="unet if it is images")
    net.add_argument("--width", type=int, default=None, help="of its layers")
    net.add_argument("--depth", type=int, help="layers of an mlp, levels of a unet")
    loop = top.add_argument_group("training")
    loop.add_argument("--steps", type=int, default=2000)
    loop.add_argument("--batch", type=int, default=128, help="rows over all processes")
    loop.add_argument("--lr", type=float, default=2e-3)
    loop.add_argument("--ema", type=float, default=0.995)
    loop.add_argument("--drop", type=float, default=0.1, help="share of dropped labels")
    loop.add_argument("--seed", type=int, default=0)
    loop.add_argument("--device", default="auto", help="cpu, cuda, mps, ...")
    loop.add_argument("--checkpoint", type=Path, help="file to write and to go on from")
    loop.add_argument(
        "--every", type=int, default=500, help="steps from one to the next"
    )
    loop.add_argument("--restart", action="store_true", help="replace the checkpoint")
    draw = top.add_argument_group("samples")
    draw.add_argument("--out", type=Path, help="a .png picture, or .safetensors")
    draw.add_argument("--samples", type=int, default=100)
    draw.add_argument("--calls", type=int, default=50, help="of the network")
    draw.add_argument("--eta", type=float, default=0.0, help="1 is DDPM, 0 is DDIM")
    draw.add_argument("--guidance", type=float, default=0.0, help="scale w; 0 is none")
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 0, or 1 with one line on stderr that says what was wrong."""
    options = parser().parse_args(arguments)
    try:
        _run(options)
    except KeyboardInterrupt:
        kept = "the same command goes on from the checkpoint"
        told = kept if options.checkpoint else "nothing kept"
        print(f"stopped; {told}", file=sys.stderr)
        return 130
    except (ImportError, OSError, TypeError, ValueError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _run(options: argparse.Namespace) -> None:
    _check(options)
    source = _source(options)
    net = _network(options, source)
    path = PATHS[options.path]()
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    names = ("data", "path", "predicts", "batch", "drop", "unconditional")
    trained = train(
        objective(path, predicts=options.predicts, drop=options.drop),
        net,
        source.draw,
        steps=options.steps,
        lr=options.lr,
        ema=options.ema,
        seed=options.seed,
        checkpoint=options.checkpoint,
        every=options.every,
        resume=not options.restart,
        device=device,
        about={name: getattr(options, name) for name in names},
    )
    if int(os.environ.get("RANK", "0")) > 0:
        return
    tail = trained.losses[-max(1, options.steps // 10) :].mean()
    print(f"trained {options.steps} steps, loss {tail:.4f} at the end")
    if options.out is not None:
        samples, labels = sample(trained.net, path, source, options)
        write(options.out, samples, labels)
        print(f"{len(samples)} samples written to {options.out}")


def _source(options: argparse.Namespace) -> Source:
    """The data set that was asked for."""
    batch = options.batch
    if options.data in POINTS:
        draw, classes = POINTS[options.data]
        if classes is None or options.unconditional:
            return Source(lambda g: draw(batch, generator=g).float(), (2,), None)

        def labelled(generator: Generator) -> tuple[Tensor, Tensor]:
            x, label = draw(batch, generator=generator, return_labels=True)
            return x.float(), label

        return Source(labelled, (2,), classes)
    more = {} if options.data == "digits" else {"root": options.root}
    images, labels = IMAGES[options.data]("train", **more)

    def rows(generator: Generator) -> Any:
        row = torch.randint(len(images), (batch,), generator=generator)
        return images[row] if options.unconditional else (images[row], labels[row])

    return Source(rows, tuple(images.shape[1:]), None if options.unconditional else 10)


def _network(options: argparse.Namespace, source: Source) -> MLP | UNet:
    kind = options.net or ("unet" if len(source.shape) == 3 else "mlp")
    if kind == "unet" and len(source.shape) != 3:
        raise ValueError(f"net must be mlp for the points of {options.data}; got unet")
    common = {"classes": source.classes, "seed": options.seed}
    if kind == "unet":
        size = {"width": options.width or 32, "levels": options.depth or 2}
        return UNet(source.shape[0], **size, **common)
    size = {"width": options.width or 256, "depth": options.depth or 3}
    octaves = 2 if source.shape == (2,) else 0
    dim = torch.Size(source.shape).numel()
    return MLP(dim, space_octaves=octaves, **size, **common)


@torch.no_grad()
def sample(
    net: Any, path: GaussianPath, source: Source, options: argparse.Namespace
) -> tuple[Tensor, Tensor | None]:
    """Samples of a trained network, the labels in turn where it has classes."""
    n = options.samples
    generator = Generator().manual_seed(options.seed + 1)
    start = path.prior((n, *source.shape), generator=generator)
    device = next(net.parameters()).device
    cond = None
    if source.classes is not None:
        cond = (torch.arange(n) % source.classes).to(device)

    def on_device(x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        return net(x.to(device), t.to(device), labels).to(x.device)

    denoise = as_denoiser(on_device, path, predicts=options.predicts, cond=cond)
    if options.guidance:
        plain = as_denoiser(on_device, path, predicts=options.predicts)
        denoise = cfg(denoise, plain, options.guidance)
    # A prediction of the noise says nothing about the data where α = 0.
    blind = options.predicts == "eps" and float(path.alpha(torch.tensor(1.0))) == 0
    ts = time_grid(
        path, options.calls, spacing="uniform", t_max=0.999 if blind else 1.0
    )
    states = ddim(denoise, path, start, ts, eta=options.eta, generator=generator)
    return last(states).float(), None if cond is None else cond.cpu()


def _check(options: argparse.Namespace) -> None:
    """What would otherwise be noticed only after the training."""
    for name in ("batch", "samples", "calls"):
        check_count(getattr(options, name), name=name)
    if not 0 <= options.eta <= 1:
        raise ValueError(f"eta must lie in [0, 1]; got {options.eta}")
    if not -1 <= options.guidance < math.inf:
        raise ValueError(f"guidance must be at least -1; got {options.guidance}")
    if options.guidance and (options.unconditional or options.data == "checkerboard"):
        raise ValueError("guidance needs labels, and this network has none")
    out = options.out
    if out is not None and out.suffix not in (".png", ".safetensors"):
        raise ValueError(f"out must end in .png or .safetensors; got {str(out)!r}")
    if out is not None and not out.absolute().parent.is_dir():
        raise ValueError(f"out must lie in a folder that exists; got {str(out)!r}")
