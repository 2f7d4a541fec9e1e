"""Normalizing flows: invertible networks with a density, in layers or in time.

A flow is an invertible map z = F(x) from data to standard normal noise, and gives data
the density of the change of variables,

    log p(x) = log N(F(x); 0, I) + log |det ∂F/∂x|.

A coupling flow composes layers whose determinant is cheap; a continuous flow integrates
a velocity, and its log-determinant is the integral of the divergence.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

import torch
from torch import Generator, Tensor, nn

from genflow_lite._coupling_layers import (
    AffineCoupling,
    Coupling,
    Mapped,
    SplineCoupling,
    check_points,
)
from genflow_lite._divergence import ProbeLaw
from genflow_lite._priors import standard_normal
from genflow_lite._shapes import (
    Numbers,
    Points,
    check_count,
    check_generator,
    describe,
)
from genflow_lite._transport import Solver, Trace, transport
from genflow_lite.ode import last, rk4

__all__ = ["AffineCoupling", "ContinuousFlow", "CouplingFlow", "SplineCoupling"]


class _Flow(nn.Module, ABC):
    """What a flow can do once it maps both ways."""

    dim: int

    @abstractmethod
    def inverse(self, z: Tensor) -> Mapped:
        """(x, log |det ∂x/∂z|)."""
        ...

    @torch.no_grad()
    def sample(self, n: int, *, generator: Generator) -> Points:
        """n draws of the flow's law: the inverse at normal noise; (n, D), no graph."""
        n = check_count(n, name="n", least=0)
        check_generator(generator)
        z = torch.randn(n, self.dim, dtype=torch.float64, generator=generator)
        own = next(self.parameters())
        return self.inverse(z.to(own))[0]


class CouplingFlow(_Flow):
    """`layers` coupling layers in a row, their masks taking turns.

    dim: D ≥ 2. kind: "affine" (Real NVP, Dinh et al. 2017) or "spline" (neural spline
    flow, Durkan et al. 2019).
    masks: "alternating", every second coordinate passes and the other ones in the next
        layer; or "random", a random half of them and the other half in the next layer,
        which is what permuting the coordinates between layers amounts to.
    seed: of masks and starting weights. A fresh flow is the identity.
    options: of each layer, as in `AffineCoupling` or `SplineCoupling`, such as width.

    Float32, unless moved by ``.double()``; points are brought to the weights' dtype.
    Raises TypeError and ValueError for bad arguments, there and at the call; points
    that are not finite have no likelihood and are refused.
    """

    def __init__(
        self,
        dim: int,
        *,
        layers: int = 8,
        kind: Literal["affine", "spline"] = "affine",
        masks: Literal["alternating", "random"] = "alternating",
        seed: int = 0,
        **options: float,
    ) -> None:
        super().__init__()
        self.dim = check_count(dim, name="dim", least=2)
        kinds = {"affine": AffineCoupling, "spline": SplineCoupling}
        if kind not in kinds:
            raise ValueError(f"kind must be 'affine' or 'spline'; got {kind!r}")
        chosen = _masks(dim, check_count(layers, name="layers"), masks, seed)
        make: Callable[..., Coupling] = kinds[kind]
        self.layers = nn.ModuleList(
            make(mask, seed=seed + k, **options) for k, mask in enumerate(chosen)
        )

    def forward(self, x: Points) -> Mapped:
        """(z, log |det ∂z/∂x|) at x (B, D), towards the noise: (B, D) and (B,)."""
        total = torch.zeros((), dtype=next(self.parameters()).dtype)
        for layer in self.layers:
            x, log_det = layer(x)
            total = total + log_det
        return x, total

    def inverse(self, z: Points) -> Mapped:
        """(x, log |det ∂x/∂z|) with forward(x) = z, towards the data."""
        total = torch.zeros((), dtype=next(self.parameters()).dtype)
        for layer in reversed(self.layers):
            assert isinstance(layer, Coupling)
            z, log_det = layer.inverse(z)
            total = total + log_det
        return z, total

    def log_prob(self, x: Points) -> Numbers:
        """log p(x) in nats, (B,), with gradients: maximise its mean to train."""
        z, log_det = self(x)
        return standard_normal(z) + log_det


def _masks(dim: int, layers: int, kind: str, seed: int) -> list[Tensor]:
    places = torch.arange(dim)
    if kind == "alternating":
        return [(places + k) % 2 == 0 for k in range(layers)]
    if kind != "random":
        raise ValueError(f"masks must be 'alternating' or 'random'; got {kind!r}")
    generator = torch.Generator().manual_seed(seed)
    found: list[Tensor] = []
    while len(found) < layers:
        half = torch.randperm(dim, generator=generator) % 2 == 0
        found += [half, ~half]
    return found[:layers]


class ContinuousFlow(_Flow):
    """A flow in continuous time: z = x(1) of dx/dt = field(x, t) from x(0) = x.

    field: a network called as field(x, t), x (B, D) and t (B,), both in its own dtype,
        giving (B, D); t = 0 is data and t = 1 noise. dim: D.
    steps: uniform steps of `solver` (`genflow_lite.ode`). What is trained is the map of
        the discrete solver, by backpropagation through its steps; with enough of them
        the log-determinant is that of this map too, up to the solver's error.
    divergence: "exact", or "hutchinson" with `n_probes` probes of the law `probes`
        (Grathwohl et al. 2019): unbiased in log p, for which `log_prob` then needs a
        generator.

    The state is float64, whatever the field is. Raises TypeError and ValueError for
    bad arguments, there and at the call, as for a field of another shape.
    """

    def __init__(
        self,
        field: nn.Module,
        *,
        dim: int,
        steps: int = 16,
        solver: Solver = rk4,
        divergence: Trace = "exact",
        probes: ProbeLaw = "rademacher",
        n_probes: int = 1,
    ) -> None:
        super().__init__()
        if not isinstance(field, nn.Module) or not list(field.parameters()):
            raise TypeError(
                "field must be a torch.nn.Module with parameters; "
                f"got {describe(field)}"
            )
        self.field = field
        self.dim = check_count(dim, name="dim")
        self.steps = check_count(steps, name="steps")
        self.solver, self.n_probes = solver, n_probes
        self.divergence: Trace = divergence
        self.probes: ProbeLaw = probes

    def velocity(self, x: Points, t: Tensor) -> Points:
        """dx/dt at x (B, D), t (); the field in its own dtype, the result in x's."""
        own = next(self.parameters())
        return self.field(x.to(own), t.to(own).expand(len(x))).to(x.dtype)

    def forward(self, x: Points, *, generator: Generator | None = None) -> Mapped:
        """(z, log |det ∂z/∂x|) at x (B, D): (B, D) and (B,), with gradients.

        generator: of the probes, where the divergence is Hutchinson's.
        """
        return self._carry(x, 0.0, 1.0, generator)

    def inverse(self, z: Points, *, generator: Generator | None = None) -> Mapped:
        """(x, log |det ∂x/∂z|): the same equation backwards, up to solver error."""
        return self._carry(z, 1.0, 0.0, generator)

    def log_prob(self, x: Points, *, generator: Generator | None = None) -> Numbers:
        """log p(x) in nats, (B,), with gradients: maximise its mean to train."""
        z, log_det = self(x, generator=generator)
        return standard_normal(z) + log_det

    @torch.no_grad()
    def sample(self, n: int, *, generator: Generator) -> Points:
        """n draws of the flow's law: noise carried back to t = 0; (n, D), no graph."""
        n = check_count(n, name="n", least=0)
        check_generator(generator)
        z = torch.randn(n, self.dim, dtype=torch.float64, generator=generator)
        return last(self.solver(self.velocity, z, self._grid(1.0, 0.0)))

    def _grid(self, start: float, end: float) -> Tensor:
        return torch.linspace(start, end, self.steps + 1, dtype=torch.float64)

    def _carry(
        self, x: Tensor, start: float, end: float, generator: Generator | None
    ) -> Mapped:
        moved = transport(
            self.velocity,
            check_points(x, self.dim),
            self._grid(start, end),
            divergence=self.divergence,
            probes=self.probes,
            n_probes=self.n_probes,
            generator=generator,
            solver=self.solver,
            differentiable=torch.is_grad_enabled(),
        )
        return moved.x, moved.log_det
