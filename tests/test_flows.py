"""Flows against autograd's Jacobian, quadrature, closed forms, their own inverses."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from paths_under_test import generator, randn
from torch import nn
from torch.func import jacrev, vmap

from genflow_lite._spline import LEAST_SLOPE, Knots, knots, spline
from genflow_lite.flows import (
    AffineCoupling,
    ContinuousFlow,
    CouplingFlow,
    SplineCoupling,
)
from genflow_lite.nets import MLP
from genflow_lite.ode import heun

F64 = torch.float64


def wrong(value: Any) -> Any:
    """A value that the signature forbids, hidden from the type checker."""
    return value


def stirred(flow: Any, scale: float = 0.2, seed: int = 1) -> Any:
    """The flow with random weights in the last layer of each conditioner, not zeros."""
    g = generator(seed)
    with torch.no_grad():
        for name, parameter in flow.named_parameters():
            if name.split(".")[-2] in ("4", "conditioner"):
                parameter.normal_(0, scale, generator=g)
    return flow


def log_dets(function, x: torch.Tensor) -> torch.Tensor:
    """log |det| of the Jacobian of a map of batches, row by row, by autograd."""
    jacobians = vmap(jacrev(lambda row: function(row[None])[0]))(x)
    return torch.linalg.slogdet(jacobians)[1]


# --- the spline ----------------------------------------------------------------------


def test_spline_by_hand() -> None:
    """One bin on [0, 1]² with slopes 2 and 1/2: y(1/2) = 2/3, y'(1/2) = 8/9."""
    ends = torch.tensor([[0.0, 1.0]], dtype=F64)
    at = Knots(ends, ends, torch.tensor([[2.0, 0.5]], dtype=F64))
    half = torch.tensor([0.5], dtype=F64)
    y, log_slope = spline(half, at)
    assert y.item() == pytest.approx(2 / 3, rel=1e-14)
    assert log_slope.item() == pytest.approx(math.log(8 / 9), rel=1e-13)
    back, log_back = spline(y, at, inverse=True)
    assert back.item() == pytest.approx(0.5, rel=1e-14)
    assert log_back.item() == pytest.approx(-math.log(8 / 9), rel=1e-13)


def test_spline_without_parameters_is_the_identity() -> None:
    at = knots(torch.zeros(5, 3 * 7 - 1, dtype=F64), 3.0)
    x = torch.tensor([-5.0, -3.0, 0.123, 2.9, 4.0], dtype=F64)
    y, log_slope = spline(x, at)
    assert torch.allclose(y, x, rtol=1e-14)
    assert log_slope.abs().max() < 1e-14


@given(
    seed=st.integers(0, 1000),
    bins=st.integers(2, 9),
    scale=st.sampled_from([0.1, 1.0, 3.0]),
)
def test_spline_is_a_monotone_bijection(seed: int, bins: int, scale: float) -> None:
    raw = scale * randn(1, 3 * bins - 1, seed=seed)
    at = Knots(*(v.expand(400, -1) for v in knots(raw, 2.0)))
    x = torch.linspace(-3, 3, 400, dtype=F64)
    y, log_slope = spline(x, at)
    back, log_back = spline(y, at, inverse=True)
    assert (y.diff() > 0).all()
    assert torch.allclose(back, x, atol=1e-11)
    assert torch.allclose(log_slope, -log_back, atol=1e-9)
    outside = x.abs() > 2
    assert torch.equal(y[outside], x[outside])
    assert (log_slope[outside] == 0).all()


def test_spline_derivative_is_autograds_and_continuous() -> None:
    raw = randn(1, 14, seed=3)
    x = torch.linspace(-2.5, 2.5, 301, dtype=F64).requires_grad_()
    at = Knots(*(v.expand(301, -1) for v in knots(raw, 2.0)))
    y, log_slope = spline(x, at)
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert torch.allclose(slope.log(), log_slope, atol=1e-12)
    # At a knot the slope is the knot's, from either side.
    one = knots(raw, 2.0)
    for k in range(1, 5):
        sides = one.x[0, k] + torch.tensor([-1e-9, 1e-9], dtype=F64)
        both = Knots(*(v.expand(2, -1) for v in one))
        slopes = spline(sides, both)[1].exp()
        assert torch.allclose(slopes, one.slope[0, k].expand(2), rtol=1e-6)


@pytest.mark.parametrize("scale", [1e2, 1e4])
def test_spline_keeps_its_limits_for_any_parameters(scale: float) -> None:
    at = knots(scale * randn(50, 23, seed=5), 4.0)
    assert (at.x.diff() > 0.09).all()  # a tenth of the even width, 8/8
    assert (at.y.diff() > 0.09).all()
    assert (at.slope >= LEAST_SLOPE).all()
    assert (at.x[:, -1] == 4).all()


def test_spline_gradients_are_finite_everywhere() -> None:
    raw = randn(4, 23, seed=6).requires_grad_()
    x = torch.tensor([-100.0, -4.0, 4.0, 1e30], dtype=F64)
    for inverse in (False, True):
        y, log_slope = spline(x, knots(raw, 4.0), inverse=inverse)
        (gradient,) = torch.autograd.grad((y + log_slope).sum(), raw)
        assert gradient.isfinite().all()


# --- coupling layers -----------------------------------------------------------------

LAYERS: list[Any] = [AffineCoupling, SplineCoupling]
KINDS: list[Any] = ["affine", "spline"]


@pytest.mark.parametrize("make", LAYERS)
def test_layer_passes_what_the_mask_names_and_is_triangular(make) -> None:
    mask = torch.tensor([True, False, True, False, False])
    layer = stirred(make(mask, width=16)).double()
    x = randn(6, 5)
    z, _ = layer(x)
    assert torch.equal(z[:, mask], x[:, mask])
    assert (z[:, ~mask] != x[:, ~mask]).all()
    jacobian = vmap(jacrev(lambda row: layer(row[None])[0][0]))(x)
    among_moved = jacobian[:, ~mask][:, :, ~mask]
    assert torch.equal(
        among_moved, torch.diag_embed(torch.diagonal(among_moved, 0, 1, 2))
    )
    assert (torch.diagonal(among_moved, 0, 1, 2) > 0).all()


def test_affine_layer_by_hand() -> None:
    """raw = 0 but the last bias: z = x e^s + m with s = 2 tanh(raw/2)."""
    layer: Any = AffineCoupling([True, False], width=4).double()
    with torch.no_grad():
        layer.conditioner[-1].bias.copy_(torch.tensor([0.8, -0.3]))
    z, log_det = layer(torch.tensor([[5.0, 2.0]], dtype=F64))
    s = 2 * math.tanh(0.4)
    assert z[0].tolist() == pytest.approx([5.0, 2 * math.exp(s) - 0.3], rel=1e-7)
    assert log_det.item() == pytest.approx(s, rel=1e-7)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("masks", ["alternating", "random"])
@pytest.mark.parametrize("dim", [2, 5])
def test_log_determinant_is_that_of_autograds_jacobian(kind, masks, dim) -> None:
    flow: Any = CouplingFlow(dim, layers=6, kind=kind, masks=masks, width=16)
    flow: Any = stirred(flow).double()
    x = 1.5 * randn(8, dim, seed=2)
    truth = log_dets(lambda y: flow(y)[0], x)
    assert truth.std() > 0.1  # far from the identity
    assert (flow(x)[1] - truth).abs().max() < 1e-6
    z, log_det = flow(x)
    back, log_back = flow.inverse(z)
    assert (back - x).abs().max() < 1e-10
    assert torch.allclose(log_back, -log_det, atol=1e-9)
    assert (log_dets(lambda y: flow.inverse(y)[0], z) - log_back).abs().max() < 1e-6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dim", [2, 6])
def test_inverse_of_sixteen_layers_in_float32(kind, dim) -> None:
    flow: Any = stirred(CouplingFlow(dim, layers=16, kind=kind, width=32), scale=0.05)
    x = 1.5 * randn(1000, dim).float()
    with torch.no_grad():
        z, log_det = flow(x)
        back, _ = flow.inverse(z)
        again, _ = flow(flow.inverse(x)[0])
    assert z.dtype == torch.float32
    assert log_det.std() > 0.15  # far from the identity
    assert (z - x).abs().mean() > 0.15
    assert (back - x).abs().max() < 1e-5
    assert (again - x).abs().max() < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_density_integrates_to_one(kind) -> None:
    flow: Any = stirred(CouplingFlow(2, layers=4, kind=kind, width=16)).double()
    axis = torch.linspace(-12, 12, 241, dtype=F64)
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    with torch.no_grad():
        mass = flow.log_prob(grid).exp().sum() * (axis[1] - axis[0]) ** 2
    assert mass.item() == pytest.approx(1, abs=2e-3)


def test_alternating_masks_alternate_and_random_ones_are_complements() -> None:
    short: Any = CouplingFlow(3, layers=2)
    masks = [layer.mask.tolist() for layer in short.layers]
    assert masks == [[True, False, True], [False, True, False]]
    flow: Any = CouplingFlow(7, layers=4, masks="random")
    a, b, c, d = (layer.mask for layer in flow.layers)
    assert torch.equal(a, ~b)
    assert torch.equal(c, ~d)
    assert not torch.equal(a, c)


def test_fresh_flow_is_the_identity_and_reproducible() -> None:
    x = randn(5, 3).float()
    for kind in KINDS:
        z, log_det = CouplingFlow(3, kind=kind)(x)
        assert torch.allclose(z, x, atol=1e-6)
        assert log_det.abs().max() < 1e-5
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    one, two = CouplingFlow(3, seed=4), CouplingFlow(3, seed=4)
    assert torch.equal(torch.random.get_rng_state(), before)
    for p, q in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(p, q)
    other = next(CouplingFlow(3, seed=5).parameters())
    assert not torch.equal(next(one.parameters()), other)


def test_weights_are_float32_whatever_the_default_is() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        flow: Any = CouplingFlow(2, kind="spline")
        sample = flow.sample(3, generator=generator())
    finally:
        torch.set_default_dtype(torch.float32)
    assert {p.dtype for p in flow.parameters()} == {torch.float32}
    assert sample.dtype == torch.float32


def test_sample_is_the_inverse_at_the_generators_noise() -> None:
    flow: Any = stirred(CouplingFlow(2, kind="spline")).double()
    x = flow.sample(4, generator=generator(7))
    assert torch.allclose(flow(x)[0], randn(4, 2, seed=7), atol=1e-10)
    assert not x.requires_grad
    assert flow.sample(0, generator=generator()).shape == (0, 2)


def test_training_reaches_the_entropy_of_a_correlated_normal_law() -> None:
    """Affine couplings hold every normal law: the loss tends to its entropy."""
    factor = torch.tensor([[1.0, 0.0], [0.8, 0.6]])
    g = generator()
    flow: Any = CouplingFlow(2, layers=4, width=16, depth=1)
    optimiser = torch.optim.Adam(flow.parameters(), 1e-2)
    for _ in range(150):
        x = torch.randn(256, 2, generator=g) @ factor.T
        loss = -flow.log_prob(x).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    x = torch.randn(20000, 2, generator=g) @ factor.T
    entropy = 1 + math.log(2 * math.pi) + math.log(0.6)
    start = 1 + math.log(2 * math.pi)  # the loss of the untrained identity
    with torch.no_grad():
        nll = -flow.log_prob(x).mean().item()
    assert nll < entropy + 0.1 * (start - entropy)


# --- the continuous flow -------------------------------------------------------------


class Linear(nn.Module):
    """x ↦ A x, with an A that has a rotation in it."""

    def __init__(self) -> None:
        super().__init__()
        matrix = torch.tensor([[0.3, -1.0], [0.7, -0.5]], dtype=F64)
        self.matrix = nn.Parameter(matrix)

    def forward(self, x, t):
        return x @ self.matrix.T


def field(seed: int = 0) -> Any:
    """A small field that moves points by about their own size."""
    net: Any = MLP(2, width=16, depth=1, seed=seed).double()
    with torch.no_grad():
        net.last.weight.normal_(0, 1, generator=generator(seed))
    return net


def test_linear_field_has_the_matrix_exponential_and_the_trace() -> None:
    flow: Any = ContinuousFlow(Linear(), dim=2, steps=20)
    x = randn(5, 2)
    matrix = Linear().matrix.detach()
    z, log_det = flow(x)
    assert torch.allclose(z, x @ torch.linalg.matrix_exp(matrix).T, atol=1e-6)
    assert torch.allclose(log_det, torch.tensor(-0.2, dtype=F64), atol=1e-12)
    back, log_back = flow.inverse(z)
    assert torch.allclose(back, x, atol=1e-6)
    assert torch.allclose(log_back, -log_det)


def test_continuous_log_determinant_is_that_of_the_solvers_map() -> None:
    flow: Any = ContinuousFlow(field(), dim=2, steps=40)
    x = randn(4, 2)
    z, log_det = flow(x)
    rows = [
        torch.autograd.functional.jacobian(lambda y: flow(y[None])[0][0], row)
        for row in x
    ]
    truth = torch.linalg.slogdet(torch.stack(rows))[1]
    assert truth.std() > 0.05
    assert (log_det - truth).abs().max() < 1e-6
    assert (flow.inverse(z)[0] - x).abs().max() < 1e-6


def test_continuous_gradient_is_that_of_finite_differences() -> None:
    flow: Any = ContinuousFlow(field(), dim=2, steps=4, solver=heun)
    x = randn(6, 2)
    flow.log_prob(x).sum().backward()
    bias = flow.field.first.bias
    claimed = bias.grad[0].item()
    values = []
    for step in (1e-5, -1e-5):
        with torch.no_grad():
            bias[0] += step
            values.append(flow.log_prob(x).sum().item())
            bias[0] -= step
    assert claimed == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-6)


def test_continuous_gradient_reaches_the_points() -> None:
    flow: Any = ContinuousFlow(field(), dim=2, steps=4)
    x = randn(3, 2).requires_grad_()
    (claimed,) = torch.autograd.grad(flow.log_prob(x).sum(), x)
    shift = torch.zeros_like(x)
    shift[1, 0] = 1e-5
    with torch.no_grad():
        change = flow.log_prob(x + shift) - flow.log_prob(x - shift)
    assert claimed[1, 0].item() == pytest.approx(change[1].item() / 2e-5, rel=1e-6)


@pytest.mark.parametrize("probes", ["rademacher", "gaussian"])
def test_continuous_flow_with_probes_is_unbiased(probes) -> None:
    exact = ContinuousFlow(field(), dim=2, steps=4)
    flow: Any = ContinuousFlow(
        field(),
        dim=2,
        steps=4,
        divergence="hutchinson",
        probes=probes,
        n_probes=2,
    )
    x = randn(1, 2).expand(2000, 2)
    with torch.no_grad():
        estimates = flow.log_prob(x, generator=generator())
        truth = exact.log_prob(x[:1])
    error = estimates.std() / math.sqrt(2000)
    assert error > 1e-4
    assert abs(estimates.mean() - truth) < 4 * error


def test_continuous_sample_inverts_its_noise() -> None:
    flow: Any = ContinuousFlow(field(), dim=2, steps=40)
    x = flow.sample(5, generator=generator(3))
    assert torch.allclose(flow(x)[0], randn(5, 2, seed=3), atol=1e-6)
    assert not x.requires_grad
    with torch.no_grad():
        assert not flow.log_prob(x).requires_grad


def test_float32_field_serves_a_float64_state() -> None:
    net = field()
    single, double = MLP(2, width=16, depth=1), net
    single.load_state_dict(net.state_dict())
    x = randn(4, 2)
    a = ContinuousFlow(single.float(), dim=2, steps=4).log_prob(x)
    b = ContinuousFlow(double, dim=2, steps=4).log_prob(x)
    assert a.dtype == F64
    assert torch.allclose(a, b, atol=1e-4)


# --- refusals ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: CouplingFlow(1), ValueError, "dim must be at least 2"),
        (lambda: CouplingFlow(2, layers=0), ValueError, "layers"),
        (lambda: CouplingFlow(2, kind=wrong("glow")), ValueError, "kind must be"),
        (lambda: CouplingFlow(2, masks=wrong("odd")), ValueError, "masks must be"),
        (lambda: CouplingFlow(2, limit=0.0), ValueError, "limit"),
        (lambda: SplineCoupling([True, False], bins=1), ValueError, "bins"),
        (lambda: SplineCoupling([True, False], bound=-1), ValueError, "bound"),
        (lambda: AffineCoupling([True, True]), ValueError, "mask must hold both"),
        (lambda: AffineCoupling(wrong([1, 0])), TypeError, "mask must be a bool"),
        (lambda: AffineCoupling([True, False], depth=0), ValueError, "depth"),
        (lambda: ContinuousFlow(wrong(lambda x, t: x), dim=2), TypeError, "field"),
        (lambda: ContinuousFlow(field(), dim=2, steps=0), ValueError, "steps"),
    ],
)
def test_bad_arguments_are_refused_at_the_call(call, error, message) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    "flow",
    [CouplingFlow(2), CouplingFlow(2, kind="spline"), ContinuousFlow(field(), dim=2)],
)
def test_bad_points_are_refused(flow) -> None:
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match="x must be finite"):
            flow.log_prob(torch.tensor([[0.0, bad]]))
    with pytest.raises(ValueError, match=r"\(B, 2\)"):
        flow.log_prob(torch.zeros(3, 3))
    with pytest.raises(TypeError, match="x must be a floating-point tensor"):
        flow.log_prob(torch.zeros(3, 2, dtype=torch.int64))
    with pytest.raises(TypeError, match="generator"):
        flow.sample(3, generator=None)


def test_field_of_another_shape_is_refused() -> None:
    class Narrow(Linear):
        def forward(self, x, t):
            return x[:, :1] * self.matrix[0, 0]

    with pytest.raises(ValueError, match="u must return a tensor of x's shape"):
        ContinuousFlow(Narrow(), dim=2).log_prob(torch.zeros(3, 2))
    flow: Any = ContinuousFlow(field(), dim=2, divergence="hutchinson")
    with pytest.raises(TypeError, match="generator"):
        flow.log_prob(torch.zeros(3, 2))
