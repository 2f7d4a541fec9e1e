"""Conversions against the definitions of the predictions, and against oracles."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from paths_under_test import PATHS, generator, randn, tensor

import genflow_lite
from genflow_lite import (
    GaussianMixture,
    as_denoiser,
    convert,
    cosine,
    rectified,
    sub_vp,
    ve,
    vp,
)
from genflow_lite.predict import Prediction

KINDS: list[Prediction] = ["x0", "eps", "v", "velocity", "score"]
EVERY = pytest.mark.parametrize("name", PATHS)


def literal(kind, x0, eps, t, path):
    """A prediction of one sample with known x0 and ε, from what its name means."""
    if kind == "x0":
        return x0
    if kind == "eps":
        return eps
    if kind == "v":
        return path.alpha(t) * eps - path.sigma(t) * x0
    if kind == "velocity":  # the sample's own speed: its position is differentiated

        def position(s):
            return path.alpha(s) * x0 + path.sigma(s) * eps

        return torch.func.jacfwd(position)(t)
    mean, std = path.alpha(t) * x0, path.sigma(t)  # "score": that of N(α x0, σ²)
    density = torch.distributions.Normal(mean, std)
    return torch.func.grad(lambda x: density.log_prob(x).sum())(mean + std * eps)


@EVERY
@pytest.mark.parametrize("source", KINDS)
@pytest.mark.parametrize("target", KINDS)
def test_every_conversion_gives_what_the_target_means(name, source, target):
    path, x0, eps = PATHS[name], randn(4, 3), randn(4, 3, seed=1)
    for t in tensor(0.0131, 0.3107, 0.6203, 0.9871):
        x_t = path.mix(x0, eps, t)
        y, wanted = (literal(k, x0, eps, t, path) for k in (source, target))
        found = convert(y, x_t, t, path, source=source, target=target)
        scale = wanted.abs().max().item() + x_t.abs().max().item()
        torch.testing.assert_close(found, wanted, rtol=1e-11, atol=1e-12 * scale)


@given(
    name=st.sampled_from(sorted(PATHS)),
    source=st.sampled_from(KINDS),
    target=st.sampled_from(KINDS),
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    per_sample=st.booleans(),
    seed=st.integers(0, 99),
)
def test_round_trips_to_1e_12(name, source, target, shape, per_sample, seed):
    path = PATHS[name]
    u = torch.rand(
        shape[0] if per_sample else (), dtype=torch.float64, generator=generator(seed)
    )
    t = 0.01 + 0.98 * u
    x0, eps = randn(*shape, seed=seed), randn(*shape, seed=seed + 1)
    x_t = path.mix(x0, eps, t)
    y = convert(x0, x_t, t, path, source="x0", target=source)
    there = convert(y, x_t, t, path, source=source, target=target)
    back = convert(there, x_t, t, path, source=target, target=source)
    scale = max(y.abs().max().item(), 1.0)
    torch.testing.assert_close(back, y, rtol=1e-12, atol=1e-12 * scale)
    again = convert(back, x_t, t, path, source=source, target="x0")
    torch.testing.assert_close(
        again, x0, rtol=1e-12, atol=1e-12 * max(1.0, x_t.abs().max().item())
    )


@EVERY
def test_time_runs_over_the_batch_also_where_batch_equals_dimension(name):
    path, t = PATHS[name], tensor(0.1, 0.5, 0.9)
    y, x_t = randn(3, 3), randn(3, 3, seed=1)
    for source in KINDS:
        for target in KINDS:
            whole = convert(y, x_t, t, path, source=source, target=target)
            for i in range(3):
                one = convert(
                    y[i : i + 1],
                    x_t[i : i + 1],
                    t[i],
                    path,
                    source=source,
                    target=target,
                )
                torch.testing.assert_close(whole[i : i + 1], one, rtol=1e-14, atol=0)


@EVERY
def test_conversion_holds_for_conditional_expectations(name):
    """What is linear holds for averages: the oracle's D, s and u agree."""
    path = PATHS[name]
    mixture = GaussianMixture(
        tensor(0.3, 0.7), randn(2, 2), torch.rand(2, 2, generator=generator()) + 0.3
    )
    x, t = randn(5, 2, seed=2), tensor(0.05, 0.25, 0.5, 0.75, 0.95)
    exact: dict[Prediction, torch.Tensor] = {
        "x0": mixture.denoiser(path)(x, t),
        "score": mixture.score(x, t, path),
        "velocity": mixture.velocity(path)(x, t),
    }
    for source in exact:
        for target in exact:
            found = convert(exact[source], x, t, path, source=source, target=target)
            scale = exact[target].abs().max().item() + x.abs().max().item()
            torch.testing.assert_close(
                found, exact[target], rtol=1e-9, atol=1e-11 * scale
            )


@pytest.mark.parametrize(
    ("path", "t", "source", "target", "message"),
    [
        (rectified(), 1.0, "eps", "x0", "source 'eps' is singular .* alpha = 0"),
        (cosine(), 1.0, "eps", "v", "source 'eps' is singular .* alpha = 0"),
        (cosine(), 1.0, "score", "x0", "source 'score' is singular .* alpha = 0"),
        (rectified(), 1.0, "score", "velocity", "source 'score' is singular"),
        (rectified(), 0.0, "x0", "eps", "source 'x0' is singular .* sigma = 0"),
        (vp(), 0.0, "x0", "v", "source 'x0' is singular .* sigma = 0"),
        (sub_vp(), 0.0, "x0", "velocity", "source 'x0' is singular .* sigma = 0"),
        (vp(), 0.0, "velocity", "x0", "source 'velocity' is singular .* infinite"),
        (vp(), 0.0, "v", "velocity", "target 'velocity' is infinite"),
        (cosine(), 0.0, "eps", "score", "target 'score' is infinite at sigma = 0"),
        (vp(), 0.0, "v", "score", "target 'score' is infinite at sigma = 0"),
    ],
)
def test_singular_points_are_refused_by_name(path, t, source, target, message):
    t = tensor(0.5, t)
    with pytest.raises(ValueError, match=message):
        convert(randn(2, 2), randn(2, 2), t, path, source=source, target=target)


@pytest.mark.parametrize(
    ("path", "t", "source", "target"),
    [
        (rectified(), 1.0, "x0", "eps"),
        (rectified(), 1.0, "x0", "score"),
        (rectified(), 1.0, "v", "x0"),
        (cosine(), 1.0, "velocity", "x0"),
        (cosine(), 1.0, "velocity", "score"),
        (cosine(), 1.0, "eps", "score"),
        (cosine(), 1.0, "score", "eps"),
        (cosine(), 0.0, "eps", "x0"),
        (vp(), 0.0, "eps", "x0"),
        (vp(), 0.0, "v", "eps"),
        (rectified(), 0.0, "velocity", "eps"),
        (sub_vp(), 0.0, "velocity", "x0"),
        (vp(), 0.0, "score", "x0"),
        (ve(), 0.0, "x0", "score"),
    ],
)
def test_regular_at_an_end_means_right_at_that_end(path, t, source, target):
    """Where the determinant is not zero the end point is exact, not just finite."""
    x0, eps, time = randn(4, 2), randn(4, 2, seed=1), tensor(t)
    x_t = path.mix(x0, eps, time)
    if source == "score" and t == 0:  # at σ = 0 any finite score says x0 = x/α
        y = randn(4, 2, seed=2)
    else:
        y = literal(source, x0, eps, time, path)
    wanted = literal(target, x0, eps, time, path)
    found = convert(y, x_t, time, path, source=source, target=target)
    torch.testing.assert_close(found, wanted, rtol=1e-11, atol=1e-12)


def test_a_prediction_converted_to_itself_is_itself_everywhere():
    y = randn(2, 2)
    for kind in KINDS:
        for t in (0.0, 1.0):
            found = convert(y, randn(2, 2), t, rectified(), source=kind, target=kind)
            assert torch.equal(found, y)


def test_convert_passes_through_torch_func():
    def on_one(y, x, t):
        return convert(y[None], x[None], t, vp(), source="velocity", target="x0")[0]

    y, x, t = randn(3, 2), randn(3, 2, seed=1), tensor(0.2, 0.5, 0.8)
    whole = convert(y, x, t, vp(), source="velocity", target="x0")
    torch.testing.assert_close(torch.vmap(on_one)(y, x, t), whole, rtol=1e-13, atol=0)
    slope = torch.func.jacrev(on_one)(y[0], x[0], t[0])
    g = vp().sde(t[0])[1]
    # D = (x + σ² s)/α and u = f x − ½ g² s: dD/du = −2 σ²/(α g²).
    expected = -2 * vp().sigma_sq(t[0]) / (vp().alpha(t[0]) * g**2)
    torch.testing.assert_close(
        slope, expected * torch.eye(2).double(), rtol=1e-11, atol=1e-13
    )


class Oracle(torch.nn.Module):
    """A network that returns exact predictions, and remembers how it was called."""

    def __init__(self, mixture, path, kind):
        super().__init__()
        self.mixture, self.path, self.kind, self.calls = mixture, path, kind, []

    def forward(self, x, t, cond=None):
        self.calls.append((x, t, cond))
        x, t = x.double(), t.double()
        mixture = self.mixture if cond is None else self.mixture.given(cond)
        if self.kind == "x0":
            y = mixture.denoiser(self.path)(x, t)
        elif self.kind == "score":
            y = mixture.score(x, t, self.path)
        elif self.kind == "velocity":
            y = mixture.velocity(self.path)(x, t)
        else:
            s = mixture.score(x, t, self.path)
            y = convert(s, x, t, self.path, source="score", target=self.kind)
        return y.to(self.calls[-1][0].dtype)


MIXTURE = GaussianMixture(tensor(0.4, 0.6), randn(2, 3), tensor(0.5, 0.8))


@EVERY
@pytest.mark.parametrize("kind", KINDS)
def test_any_prediction_makes_the_same_denoiser(name, kind):
    path, x, t = PATHS[name], randn(4, 3, seed=3), tensor(0.2, 0.4, 0.6, 0.8)
    net = Oracle(MIXTURE, path, kind)
    denoise = as_denoiser(net, path, predicts=kind, dtype=torch.float64)
    wanted = MIXTURE.denoiser(path)(x, t)
    scale = 1 + x.abs().max().item()
    torch.testing.assert_close(denoise(x, t), wanted, rtol=1e-10, atol=1e-10 * scale)
    assert denoise.path is path


@pytest.mark.parametrize("kind", KINDS)
def test_a_float32_output_is_widened_before_it_is_converted(kind):
    """The conversion has float64's error although the network has float32's."""
    path, x, t = vp(), randn(4, 3, seed=3), tensor(0.2, 0.4, 0.6, 0.8)
    out = randn(4, 3, seed=4).to(torch.float32)
    found = as_denoiser(lambda x, t: out, path, predicts=kind)(x, t)
    wanted = convert(out.double(), x, t, path, source=kind, target="x0")
    assert found.dtype == torch.float64
    assert torch.equal(found, wanted)


def test_a_float32_network_serves_a_float64_sampler():
    net = Oracle(MIXTURE, rectified(), "velocity")
    denoise = as_denoiser(net, rectified(), predicts="velocity")
    x, t = randn(4, 3), tensor(0.5)
    found = denoise(x, t)
    seen_x, seen_t, cond = net.calls[0]
    assert (seen_x.dtype, seen_t.dtype, found.dtype) == (
        torch.float32,
        torch.float32,
        torch.float64,
    )
    assert seen_t.shape == (4,)
    assert cond is None
    torch.testing.assert_close(
        found, MIXTURE.denoiser(rectified())(x, t), rtol=1e-5, atol=1e-5
    )
    # The state itself never goes through float32: a zero velocity leaves x exactly.
    still = as_denoiser(
        lambda x, t: torch.zeros_like(x), rectified(), predicts="velocity"
    )
    torch.testing.assert_close(still(x, tensor(0.3)), x, rtol=1e-15, atol=0)


def test_condition_is_bound():
    net = Oracle(MIXTURE, vp(), "x0")
    x, t = randn(4, 3), tensor(0.5)
    for label in (0, 1):
        denoise = as_denoiser(net, vp(), predicts="x0", cond=label, dtype=torch.float64)  # type: ignore[arg-type]
        assert torch.equal(denoise(x, t), MIXTURE.denoiser(vp(), label)(x, t))


@EVERY
def test_edm_preconditioning_is_karras_table_one(name):
    """In x̃ = x/α and σ̃ = σ/α: D = c_skip x̃ + c_out F(c_in x̃, c_noise)."""
    path, sigma_data = PATHS[name], 0.7
    x, t = randn(4, 3), tensor(0.1, 0.3, 0.6, 0.9)

    def net(x, noise):
        return torch.sin(3 * x) + noise[:, None]

    denoise = as_denoiser(
        net,
        path,
        predicts="x0",
        precondition="edm",
        sigma_data=sigma_data,
        dtype=torch.float64,
    )
    level = (path.sigma(t) / path.alpha(t))[:, None]
    total = level**2 + sigma_data**2
    scaled = x / path.alpha(t)[:, None]
    raw = torch.sin(3 * scaled / total.sqrt()) + 0.25 * level.log()
    wanted = sigma_data**2 / total * scaled + level * sigma_data / total.sqrt() * raw
    torch.testing.assert_close(denoise(x, t), wanted, rtol=1e-12, atol=1e-12)


def test_edm_at_both_ends_and_on_gaussian_data():
    seen = []

    def silent(x, noise):
        seen.append((x, noise))
        return torch.zeros_like(x)

    x = randn(5, 2)
    for path in (rectified(), cosine(), vp(), ve()):
        denoise = as_denoiser(
            silent,
            path,
            predicts="x0",
            precondition="edm",
            sigma_data=0.7,
            dtype=torch.float64,
        )
        # F = 0 is exact for data N(0, 0.7²), at both ends as well.
        normal = GaussianMixture(
            tensor(1.0).reshape(1), torch.zeros(1, 2), tensor(0.7).reshape(1)
        )
        for t in (0.0, 0.4, 1.0):
            exact = normal.denoiser(path)(x, tensor(t))
            torch.testing.assert_close(
                denoise(x, tensor(t)), exact, rtol=1e-13, atol=1e-15
            )
        # The network's input has variance 1 at every noise level, for such data.
        x_t = path.mix(0.7 * randn(20000, 2), randn(20000, 2, seed=1), 0.6)
        denoise(x_t, tensor(0.6))
        assert seen[-1][0].std().item() == pytest.approx(1.0, abs=0.02)
        assert all(bool(noise.isfinite().all()) for _, noise in seen)
    clamped = as_denoiser(silent, rectified(), predicts="x0", precondition="edm")
    clamped(x, tensor(1.0))
    assert seen[-1][1].tolist() == [2.5] * 5
    clamped(x, tensor(0.0))
    assert seen[-1][1].tolist() == [-2.5] * 5
    clamped(x, tensor(0.5))
    assert seen[-1][1].abs().max() < 1e-7


def test_gradients_reach_the_network_through_the_conversion():
    net = torch.nn.Linear(3, 3)
    for kind in KINDS:
        denoise = as_denoiser(lambda x, t: net(x), vp(), predicts=kind)
        net.zero_grad()
        denoise(randn(2, 3), tensor(0.5)).square().sum().backward()
        assert net.weight.grad is not None
        assert net.weight.grad.abs().max() > 0


def _net(x, t):
    return x


wrong: Any = genflow_lite  # unchecked, so that bad arguments can be passed


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (
            lambda y, x: wrong.convert(y, x, 0.5, vp(), source="noise", target="x0"),
            ValueError,
            "source must be one of 'x0'.*got 'noise'",
        ),
        (
            lambda y, x: wrong.convert(y, x, 0.5, vp(), source="eps", target="D"),
            ValueError,
            "target must be one of",
        ),
        (
            lambda y, x: wrong.convert(y, x, 0.5, "vp", source="eps", target="x0"),
            TypeError,
            "path must be a GaussianPath",
        ),
        (
            lambda y, x: wrong.convert(y[:1], x, 0.5, vp(), source="eps", target="x0"),
            ValueError,
            "y and x_t must have the same shape",
        ),
        (
            lambda y, x: wrong.convert(
                y.long(), x, 0.5, vp(), source="eps", target="x0"
            ),
            TypeError,
            "y must be a floating",
        ),
        (
            lambda y, x: wrong.convert(
                y, x.long(), 0.5, vp(), source="eps", target="x0"
            ),
            TypeError,
            "x_t must be a floating",
        ),
        (
            lambda y, x: wrong.convert(y, x, 1.5, vp(), source="eps", target="x0"),
            ValueError,
            r"t must lie in \[0, 1\]",
        ),
        (
            lambda y, x: wrong.convert(
                y, x, tensor(0.1, 0.2, 0.3), vp(), source="eps", target="x0"
            ),
            ValueError,
            r"t must have shape \(\) or \(B,\) = \(2,\)",
        ),
        (
            lambda y, x: wrong.as_denoiser(None, vp(), predicts="x0"),
            TypeError,
            "net must be callable",
        ),
        (
            lambda y, x: wrong.as_denoiser(_net, None, predicts="x0"),
            TypeError,
            "path must be",
        ),
        (
            lambda y, x: wrong.as_denoiser(_net, vp(), predicts="noise"),
            ValueError,
            "predicts must be one of",
        ),
        (
            lambda y, x: wrong.as_denoiser(
                _net, vp(), predicts="x0", precondition="EDM"
            ),
            ValueError,
            "precondition must be None or 'edm'",
        ),
        (
            lambda y, x: wrong.as_denoiser(
                _net, vp(), predicts="eps", precondition="edm"
            ),
            ValueError,
            "predicts must be 'x0' with",
        ),
        (
            lambda y, x: wrong.as_denoiser(_net, vp(), predicts="x0", sigma_data=0.0),
            ValueError,
            "sigma_data must be positive",
        ),
        (
            lambda y, x: wrong.as_denoiser(
                _net, vp(), predicts="x0", sigma_data=math.nan
            ),
            ValueError,
            "sigma_data must be",
        ),
        (
            lambda y, x: wrong.as_denoiser(_net, vp(), predicts="x0", dtype="float32"),
            TypeError,
            "dtype must be a floating-point torch.dtype",
        ),
        (
            lambda y, x: wrong.as_denoiser(
                _net, vp(), predicts="x0", dtype=torch.int64
            ),
            TypeError,
            "dtype must be a floating-point torch.dtype",
        ),
        (
            lambda y, x: wrong.as_denoiser(lambda x, t: x[:1], vp(), predicts="x0")(
                x, 0.5
            ),
            ValueError,
            r"net must return a tensor of x's shape \(2, 3\)",
        ),
        (
            lambda y, x: wrong.as_denoiser(_net, vp(), predicts="x0")(x[0, 0], 0.5),
            ValueError,
            "x must have a batch",
        ),
        (
            lambda y, x: wrong.as_denoiser(
                _net, vp(), predicts="x0", precondition="edm"
            )(x.long(), 0.5),
            TypeError,
            "x must be a float",
        ),
        (
            lambda y, x: wrong.as_denoiser(_net, rectified(), predicts="eps")(x, 1.0),
            ValueError,
            "source 'eps' is singular",
        ),
        (
            lambda y, x: wrong.as_denoiser(_net, rectified(), predicts="eps")(x, -0.1),
            ValueError,
            "t must lie",
        ),
    ],
)
def test_bad_arguments_are_named(call, kind, message):
    with pytest.raises(kind, match=message):
        call(randn(2, 3), randn(2, 3, seed=1))
