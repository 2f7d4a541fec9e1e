"""A training run: what has to survive an interruption, and one step of it."""

import copy
import math
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from genflow_lite import _checkpoint
from genflow_lite._shapes import check_count, check_number, check_positive


def learning_rate(step: int, *, lr: float, steps: int, warmup: int) -> float:
    """The learning rate of step 0, 1, …, steps − 1: a ramp, then half a cosine.

    lr (step + 1)/warmup during warm-up, then
    lr ½ (1 + cos(π (step − warmup)/(steps − warmup))), which would reach 0 at `steps`.
    """
    if step < warmup:
        return lr * (step + 1) / warmup
    return lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


def decay(step: int, ema: float) -> float:
    """The decay of the average at step 0, 1, …: min(ema, (step + 1)/(step + 10))."""
    return min(ema, (step + 1) / (step + 10))


def checked_settings(
    steps: int,
    lr: float,
    warmup: int | None,
    ema: float,
    clip: float,
    weight_decay: float,
    seed: int,
) -> dict[str, Any]:
    """The checked settings, by name: what a resumed run must share."""
    steps = check_count(steps, name="steps")
    if warmup is None:
        warmup = min(100, steps // 10)
    warmup = check_count(warmup, name="warmup", least=0)
    if warmup > steps:
        raise ValueError(f"warmup must be at most steps = {steps}; got {warmup}")
    ema, clip = check_number(ema, name="ema"), check_number(clip, name="clip")
    if not 0 <= ema < 1:
        raise ValueError(f"ema must lie in [0, 1); got {ema}")
    if not clip > 0:
        raise ValueError(f"clip must be positive; got {clip}")
    weight_decay = check_number(weight_decay, name="weight_decay")
    if not 0 <= weight_decay < math.inf:
        raise ValueError(
            f"weight_decay must be finite and at least 0; got {weight_decay}"
        )
    return {
        "steps": steps,
        "lr": check_positive(lr, name="lr"),
        "warmup": warmup,
        "ema": ema,
        "clip": clip,
        "weight_decay": weight_decay,
        "seed": check_count(seed, name="seed", least=0),
    }


class Run:
    """Network, average, optimiser, generator, losses and the number of steps taken."""

    def __init__(
        self, net: nn.Module, settings: dict[str, Any], about: dict[str, Any]
    ) -> None:
        self.net = net
        self.settings, self.about = settings, about
        self.average = copy.deepcopy(net).eval().requires_grad_(False)
        self.step = 0
        self.losses = torch.zeros(settings["steps"], dtype=torch.float64)
        self.generator = Generator().manual_seed(settings["seed"])
        self._names = [n for n, p in net.named_parameters() if p.requires_grad]
        self._weights = [p for p in net.parameters() if p.requires_grad]
        kind = self._weights[0].device.type
        self._optimiser = torch.optim.AdamW(
            self._weights,
            lr=settings["lr"],
            weight_decay=settings["weight_decay"],
            fused=kind in ("cpu", "cuda"),
        )

    def seed_step(self, rank: int) -> None:
        """Give torch's global generators, used by dropout, a seed of this step."""
        seed = hash((self.settings["seed"], self.step, rank)) % 2**63
        torch.default_generator.manual_seed(seed)
        if self._weights[0].device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def update(self, value: Tensor, mean: Tensor) -> None:
        """One step along the gradient of `value`; `mean` is the loss to record."""
        self._optimiser.zero_grad(set_to_none=True)
        value.backward()
        norm = nn.utils.clip_grad_norm_(self._weights, self.settings["clip"])
        loss = mean.item()
        if not (math.isfinite(loss) and math.isfinite(norm.item())):
            raise FloatingPointError(
                f"the loss is {loss} and its gradient's norm {norm.item()} at step "
                f"{self.step}; the step was not taken, and a checkpoint holds the last "
                "good state. A smaller lr or a longer warm-up usually helps"
            )
        schedule = {name: self.settings[name] for name in ("lr", "steps", "warmup")}
        for group in self._optimiser.param_groups:
            group["lr"] = learning_rate(self.step, **schedule)
        self._optimiser.step()
        self._follow(1 - decay(self.step, self.settings["ema"]))
        self.losses[self.step] = loss
        self.step += 1

    @torch.no_grad()
    def _follow(self, share: float) -> None:
        """Move the average by a share of its distance to the network."""
        here, there = self.net.state_dict(), self.average.state_dict()
        moving = [name for name in here if here[name].is_floating_point()]
        torch._foreach_lerp_(  # pyright: ignore[reportPrivateImportUsage]
            [there[name] for name in moving], [here[name] for name in moving], share
        )
        for name in here.keys() - set(moving):
            there[name].copy_(here[name])

    def save(self, path: Path) -> None:
        """Write everything to the checkpoint."""
        tensors = {
            "losses": self.losses[: self.step],
            "generator": self.generator.get_state(),
        }
        parts = {"network": self.net, "average": self.average}
        for part, module in parts.items():
            for name, value in module.state_dict().items():
                tensors[f"{part}.{name}"] = value
        for index, state in self._optimiser.state_dict()["state"].items():
            for key, value in state.items():
                tensors[f"optimiser.{index}.{key}"] = torch.as_tensor(value)
        config = {
            "step": self.step,
            "settings": self.settings,
            "about": self.about,
            "network": _checkpoint.architecture(self.net),
        }
        _checkpoint.write(path, tensors, config)

    def open(self, path: Path, *, resume: bool) -> None:
        """Take everything from the checkpoint, or check that it may be replaced.

        Nothing is changed before all is checked.
        """
        if not resume:
            _checkpoint.check_replaceable(path)
            return
        tensors, config = _checkpoint.read(path)
        _checkpoint.check_architecture(path, config, self.net)
        _checkpoint.check_settings(
            path,
            config["settings"] | config["about"],
            self.settings | self.about,
        )
        states: dict[int, dict[str, Tensor]] = {}
        for name, value in _checkpoint.part(tensors, "optimiser").items():
            index, key = name.split(".")
            states.setdefault(int(index), {})[key] = value
        self.net.load_state_dict(_checkpoint.part(tensors, "network"))
        self.average.load_state_dict(_checkpoint.part(tensors, "average"))
        groups = self._optimiser.state_dict()["param_groups"]
        self._optimiser.load_state_dict({"state": states, "param_groups": groups})
        self.generator.set_state(tensors["generator"])
        self.step = config["step"]
        self.losses[: self.step] = tensors["losses"]
