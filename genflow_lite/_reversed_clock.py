"""A path on the clock of the flow-matching literature, where data come last."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from torch import Tensor

from genflow_lite._shapes import Curve, Instant, State, Time, check_time

if TYPE_CHECKING:
    from genflow_lite._gaussian_path import GaussianPath


@final
@dataclass(frozen=True, eq=False, repr=False)
class ReversedClock:
    """A Gaussian path on the clock τ = 1 − t: noise at τ = 0, data at τ = 1.

    What flow matching's papers write as x_τ = α_τ x_1 + σ_τ x_0, with x_1 the data and
    x_0 the noise: the rectified path has α = τ and σ = 1 − τ here (Lipman et al. 2023;
    Lipman et al. 2024). It is a view for comparing formulas, not a `GaussianPath`:
    samplers and losses take the path itself. Times outside [0, 1] raise ValueError.
    """

    path: "GaussianPath"

    def __repr__(self) -> str:
        return f"ReversedClock({self.path.name})"

    @property
    def name(self) -> str:
        """What the path is called, with its clock."""
        return f"{self.path.name} on the reversed clock"

    def reversed_clock(self) -> "GaussianPath":
        """The path itself: turned twice, a clock runs as before."""
        return self.path

    def time(self, tau: Instant) -> Curve:
        """t = 1 − τ, in the shape of τ; and τ = 1 − t."""
        return 1 - check_time(tau, name="tau")

    def alpha(self, tau: Instant) -> Curve:
        """The data's share at τ, α(1 − τ): 0 or small at τ = 0, 1 at τ = 1."""
        return self.path.alpha(self.time(tau))

    def sigma(self, tau: Instant) -> Curve:
        """The noise's share at τ, σ(1 − τ)."""
        return self.path.sigma(self.time(tau))

    def rates(self, tau: Instant) -> tuple[Curve, Curve]:
        """(dα/dτ, dσ/dτ): the path's own rates at 1 − τ, with the sign turned."""
        alpha_rate, sigma_rate = self.path.rates(self.time(tau))
        return -alpha_rate, -sigma_rate

    def mix(self, noise: State, data: State, tau: Time) -> State:
        """x_τ = α_τ data + σ_τ noise, (B, *S); noise comes first, as in the papers."""
        return self.path.mix(data, noise, self.time(tau))

    def velocity(
        self, u: Callable[[Tensor, Tensor], Tensor]
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """A velocity dx/dt turned into dx/dτ, v(x, τ) = −u(x, 1 − τ), and back.

        u: called as (x, t); the result is called as (x, τ). Turning twice gives u.
        """

        def turned(x: Tensor, tau: Tensor | float) -> Tensor:
            return -u(x, self.time(tau))

        return turned
