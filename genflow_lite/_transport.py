"""A batch carried along a flow, and the log-determinant of the map on the way."""

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Literal, NamedTuple, TypedDict

import torch
from torch import Generator, Tensor

from genflow_lite._divergence import (
    ProbeLaw,
    draw_probes,
    standard_error,
    with_divergence,
)
from genflow_lite._shapes import (
    State,
    check_count,
    check_generator,
    check_grid,
    check_state,
    describe,
    holds,
)
from genflow_lite._stepping import Velocity
from genflow_lite.ode import last, rk4

Solver = Callable[[Velocity, Tensor, Tensor], Iterable[Tensor]]
"""A solver of `genflow_lite.ode`: (u, x, ts) to the states along ts."""

Trace = Literal["exact", "hutchinson"]
"""How the divergence is found."""


class TransportOptions(TypedDict, total=False):
    """The options of `transport` that a likelihood passes on."""

    divergence: Trace
    probes: ProbeLaw
    n_probes: int
    generator: Generator | None
    solver: Solver


class Transported(NamedTuple):
    """What the flow did to a batch between the ends of a grid.

    x (B, *S): where it arrived. log_det (B,): ∫ div u dt along the grid, which is
    log |det ∂x_end/∂x_start|. stderr (B,): its standard error over the probes; 0 where
    the trace is exact, NaN for a single probe, which cannot tell.
    """

    x: Tensor
    log_det: Tensor
    stderr: Tensor


def transport(
    u: Velocity,
    x: State,
    ts: Tensor,
    *,
    divergence: Trace = "exact",
    probes: ProbeLaw = "rademacher",
    n_probes: int = 1,
    generator: Generator | None = None,
    solver: Solver = rk4,
    differentiable: bool = False,
) -> Transported:
    """Carry x along dx/dt = u from ts[0] to ts[-1], with the log-determinant.

    u: called as (x, t), x (B, *S) float64, t (); row b may depend on row b alone.
    ts: (n + 1,) float64, strictly monotone in [0, 1], in either direction.
    divergence: "exact", D products with the Jacobian for each evaluation of u, or
        "hutchinson": n_probes products, with probes v drawn once from `generator` and
        kept along the whole way, so that the solver sees a smooth integrand. The
        estimate is unbiased for what the same solver gives with the exact trace.
    probes: "rademacher" (signs) or "gaussian".
    solver: any of `genflow_lite.ode`, as it is or with its options bound.
    differentiable: keep the graph, for gradients to x and to the parameters of u.
        Otherwise the results are detached and no graph is ever kept.

    Raises TypeError or ValueError, naming the argument: for an x that is not finite, a
    grid that is not monotone, a missing generator, and a u whose result has another
    shape than x or cannot be followed back to x.
    """
    if not callable(u):
        raise TypeError(f"u must be a function (x, t) -> dx/dt; got {describe(u)}")
    x = check_state(x)
    if not holds(x.isfinite()):
        raise ValueError("x must be finite; it holds NaN or infinity")
    x = x.to(torch.float64)
    if divergence not in ("exact", "hutchinson"):
        raise ValueError(
            f"divergence must be 'exact' or 'hutchinson'; got {divergence!r}"
        )
    drawn = None
    if divergence == "hutchinson":
        drawn = draw_probes(
            x,
            check_count(n_probes, name="n_probes"),
            law=probes,
            generator=check_generator(generator),
        )
    rows, flat = len(x), x.reshape(len(x), -1)
    d, p = flat.shape[1], 1 if drawn is None else len(drawn)

    def extended(z: Tensor, t: Tensor) -> Tensor:
        state = z[:, :d].reshape(x.shape)
        value, trace = with_divergence(
            u, state, t, drawn, differentiable=differentiable
        )
        return torch.cat([value.reshape(rows, -1), trace.mT], 1).to(z.dtype)

    with nullcontext() if differentiable else torch.no_grad():
        start = torch.cat([flat, flat.new_zeros(rows, p)], 1)
        end = last(solver(extended, start, check_grid(ts)))
    logs = end[:, d:].mT
    stderr = torch.zeros_like(logs[0]) if drawn is None else standard_error(logs)
    return Transported(end[:, :d].reshape(x.shape), logs.mean(0), stderr.detach())
