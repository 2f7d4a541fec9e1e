"""Several processes, one result: what `train` does differently under ``torchrun``.

Every process draws the whole batch and all the noise from the same generator, and runs
the network on its own share of the rows. So the random numbers do not depend on the
number of processes, and the averaged gradient is that of one process up to rounding.
What is drawn twice is cheap; the network is what costs.
"""

import atexit
import os
from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel


class Team(NamedTuple):
    """This process among those that train together, and where it computes."""

    rank: int
    size: int
    device: torch.device

    def rows(self, count: int) -> slice:
        """The share of `count` rows that this process computes."""
        start, stop = (count * k // self.size for k in (self.rank, self.rank + 1))
        return slice(start, stop)

    def agree(self, step: int) -> None:
        """ValueError unless every process has read the same checkpoint."""
        if self.size == 1:
            return
        steps = torch.tensor([step, -step], device=self.device)
        distributed.all_reduce(steps, op=distributed.ReduceOp.MAX)
        if int(steps[0]) != -int(steps[1]):
            raise ValueError(
                "checkpoint must be one file that all processes see; they read states "
                f"from step {-int(steps[1])} to step {int(steps[0])}"
            )


def team(device: torch.device) -> Team:
    """The team that torchrun's environment describes; a team of one without it.

    Joins it where nobody has yet: gloo on CPUs, nccl on GPUs, one GPU for each process
    of a machine. It is left when Python ends, since a second group with the same name
    would find what the first has left in torchrun's store, and wait for ever.
    """
    joined = distributed.is_available() and distributed.is_initialized()
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 and not joined:
        return Team(0, 1, device)
    if device.type == "cuda":
        index = device.index
        if index is None:
            index = int(os.environ.get("LOCAL_RANK", "0"))
        device = torch.device("cuda", index)
        torch.cuda.set_device(device)
    if not joined:
        backend = "nccl" if device.type == "cuda" else "gloo"
        distributed.init_process_group(backend)
        atexit.register(_leave)
    return Team(distributed.get_rank(), distributed.get_world_size(), device)


def _leave() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()


class Shared:
    """A network that computes only this process's rows; the others come out as 0.

    The loss of a row that was not computed is a number without meaning; `mean` leaves
    it out, and no gradient flows from it.
    """

    def __init__(self, net: nn.Module, team: Team) -> None:
        ids = [team.device.index] if team.device.type == "cuda" else None
        self._inner = net
        self._net = DistributedDataParallel(net, device_ids=ids)
        self._team = team
        self._rows: list[int] = []

    def __getattr__(self, name: str) -> Any:
        """Whatever else a loss asks a network, `classes` for example."""
        return getattr(self._inner, name)

    def __call__(self, x: Tensor, *rest: Any, **named: Any) -> Tensor:
        """The network on this process's rows of every argument that has x's rows."""
        count, own = len(x), self._team.rows(len(x))
        self._rows.append(count)
        if count < self._team.size:
            raise self._refusal(f"a batch of {count}")

        def share(value: Any) -> Any:
            fits = isinstance(value, Tensor) and value.shape[:1] == (count,)
            return value[own] if fits else value

        rest = tuple(share(value) for value in rest)
        named = {name: share(value) for name, value in named.items()}
        out = self._net(x[own], *rest, **named)
        whole = out.new_zeros(count, *out.shape[1:])
        whole[own] = out
        return whole

    def mean(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """What to differentiate here, and the mean over the rows of all processes."""
        calls, self._rows = self._rows, []
        count = len(values) if values.ndim == 1 else -1
        if count < self._team.size or any(rows != count for rows in calls):
            shape = tuple(values.shape)
            raise self._refusal(f"shape {shape} from calls of net on {calls} rows")
        part = values[self._team.rows(count)].sum() / count
        total = part.detach().clone()
        distributed.all_reduce(total)
        # The processes' gradients are averaged, so each counts `size` times.
        return part * self._team.size, total

    def _refusal(self, what: str) -> ValueError:
        return ValueError(
            f"on {self._team.size} processes loss must return (B,), one number for "
            "each row, with B at least the number of processes, and call net on all B "
            f"rows at once; got {what}"
        )
