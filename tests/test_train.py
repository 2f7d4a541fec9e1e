"""The training loop: each part by hand, and the arguments that it refuses."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from small_runs import Line, ones, run, same, small, squares
from torch import nn

from genflow_lite import rectified, vp
from genflow_lite.data import moons
from genflow_lite.timesteps import data_heavy
from genflow_lite.train import (
    learning_rate,
    objective,
    train,
)

# Schedules


def test_the_learning_rate_by_hand():
    rates = [learning_rate(k, lr=2.0, steps=8, warmup=4) for k in range(8)]
    root = math.sqrt(0.5)
    assert rates == pytest.approx([0.5, 1, 1.5, 2, 2, 1 + root, 1, 1 - root])


@given(st.integers(1, 50), st.integers(0, 50), st.integers(0, 49))
def test_the_learning_rate_is_positive_and_at_most_lr(steps, warmup, k):
    warmup, k = min(warmup, steps), min(k, steps - 1)
    rate = learning_rate(k, lr=3.0, steps=steps, warmup=warmup)
    assert 0 < rate <= 3.0
    if k + 1 < warmup:
        assert rate < learning_rate(k + 1, lr=3.0, steps=steps, warmup=warmup)
    if warmup <= k < steps - 1:
        assert rate > learning_rate(k + 1, lr=3.0, steps=steps, warmup=warmup)


def test_the_optimiser_takes_those_rates():
    """A linear loss has a constant gradient, and AdamW moves by the rate itself."""
    places = []

    def slope(net, batch, generator):
        places.append(net.w.item())
        return -net.w.sum() + 0 * batch.sum()

    train(slope, Line(0.0), ones, steps=8, lr=0.5, warmup=4, progress=False)
    moved = [b - a for a, b in pairwise(places)]
    expected = [learning_rate(k, lr=0.5, steps=8, warmup=4) for k in range(7)]
    assert moved == pytest.approx(expected, rel=1e-4)


# The average


def test_the_average_by_hand():
    places = []

    def loss(net, batch, generator):
        places.append(net.w.item())
        return squares(net, batch, generator)

    net = Line()
    trained = train(loss, net, ones, steps=40, lr=0.1, ema=0.7, progress=False)
    places.append(net.w.item())
    average = places[0]
    for k, place in enumerate(places[1:]):
        d = min(0.7, (k + 1) / (k + 10))
        average = d * average + (1 - d) * place
    assert trained.net.w.item() == pytest.approx(average, rel=1e-5)
    assert abs(places[-1] - average) > 1e-3


def test_no_average_is_the_network_itself():
    net = Line()
    trained = train(squares, net, ones, steps=5, ema=0.0, progress=False)
    assert torch.equal(trained.net.w, net.w)


def test_buffers_follow_the_average_too():
    net = nn.Sequential(Line(), nn.BatchNorm1d(4))

    def loss(net, batch, generator):
        return (net(batch) - 1).square().mean()

    trained = train(
        loss,
        net,
        lambda g: torch.randn(16, 4, generator=g) + 5,
        steps=60,
        ema=0.5,
        progress=False,
    )
    assert int(trained.net[1].num_batches_tracked) == 60
    assert trained.net[1].running_mean.mean() > 2  # it started at 0


def test_what_comes_back():
    net = Line()
    trained = train(squares, net, ones, steps=30, lr=0.2, progress=False)
    assert trained.losses.shape == (30,)
    assert trained.losses.dtype == torch.float64
    assert float(trained.losses[0]) == 4.0  # (1 − 3)², before the first step
    assert trained.losses[-1] < 0.5 * trained.losses[0]
    assert trained.net is not net
    assert not trained.net.training
    assert not any(p.requires_grad for p in trained.net.parameters())
    assert net.w.item() != 1.0  # the network was trained in place


# Clipping


def test_long_gradients_are_cut_and_short_ones_are_not():
    """Adam forgets a common factor, so what is compared is its first moment."""

    def moment(clip, scale):
        net = Line(0.0)
        seen = {}

        def loss(net, batch, generator):
            net.w.register_hook(lambda g: seen.update(raw=float(g)))
            return (scale * net.w * batch).mean()

        train(loss, net, ones, steps=1, clip=clip, progress=False)
        assert net.w.grad is not None
        return seen["raw"], net.w.grad.item()

    assert moment(1.0, 50.0) == pytest.approx((50, 1), rel=1e-4)
    assert moment(1.0, 0.5) == pytest.approx((0.5, 0.5))
    assert moment(math.inf, 50.0) == pytest.approx((50, 50))


# Seeds


def test_a_seed_is_a_run_and_nothing_else_matters():
    torch.manual_seed(1)
    one = run(seed=5)
    before = torch.get_rng_state()
    torch.manual_seed(2)
    two, other = run(seed=5), run(seed=6)
    assert same(one.net.state_dict(), two.net.state_dict())
    assert torch.equal(one.losses, two.losses)
    assert not torch.equal(one.losses, other.losses)
    torch.manual_seed(1)
    run()
    assert torch.equal(torch.get_rng_state(), before)


# The objective


def test_the_objective_is_the_denoising_loss_of_what_it_drew():
    path, seen = vp(), []

    class Net:
        classes = 2

        def __call__(self, x, t, cond):
            seen.append((x, t, cond))
            return torch.sin(x)

    x0, label = moons(
        64, generator=torch.Generator().manual_seed(1), return_labels=True
    )
    loss = objective(path, predicts="x0", drop=0.25, t_min=0.1, t_max=0.9)
    out = loss(Net(), (x0, label), torch.Generator().manual_seed(3))
    ((x, t, cond),) = seen
    torch.testing.assert_close(out, (torch.sin(x) - x0).square().mean(1))
    assert 0.1 <= t.min() < t.max() <= 0.9
    eps = (x - path.alpha(t.double())[:, None] * x0) / path.sigma(t.double())[:, None]
    assert eps.std() == pytest.approx(1, abs=0.15)
    assert set(cond.tolist()) == {0, 1, 2}
    kept = cond < 2
    assert torch.equal(cond[kept], label[kept])


def test_the_times_of_the_objective_follow_their_law():
    def drawn(**more):
        seen = []

        def net(x, t):
            seen.append(t)
            return x

        x0 = torch.zeros(4000, 1)
        loss = objective(rectified(), predicts="velocity", **more)
        loss(net, x0, torch.Generator().manual_seed(0))
        return seen[0].double()

    t = drawn(t_min=0.5, t_max=0.75)
    # One in each of 4000 slices, and not in their order.
    slices = ((t - 0.5) / 0.25 * 4000).floor()
    assert len(slices.unique()) >= 3999
    assert (slices.diff() < 0).any()
    t = drawn(times=data_heavy(2.0), t_min=0.0)
    # P(u² < a) = √a.
    for a in (0.2, 0.5, 0.8):
        share = float((t < a).double().mean())
        assert share == pytest.approx(math.sqrt(a), abs=0.01)


@pytest.mark.parametrize(("drop", "share"), [(0.0, 0), (1.0, 1), (0.3, 0.3)])
def test_the_share_of_dropped_labels(drop, share):
    seen = []

    class Net:
        classes = 2

        def __call__(self, x, t, cond):
            seen.append(cond)
            return x

    x0, label = torch.zeros(4000, 1), torch.zeros(4000, dtype=torch.int64)
    loss = objective(vp(), predicts="eps", drop=drop)
    loss(Net(), (x0, label), torch.Generator().manual_seed(0))
    assert float((seen[0] == 2).double().mean()) == pytest.approx(share, abs=0.03)


# Bad input


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"steps": 0}, ValueError, "steps must be at least 1"),
        ({"steps": 1.0}, TypeError, "steps must be an int"),
        ({"lr": 0.0}, ValueError, "lr must be positive"),
        ({"lr": math.nan}, ValueError, "lr must be positive"),
        ({"warmup": 13}, ValueError, "warmup must be at most steps = 12"),
        ({"warmup": -1}, ValueError, "warmup must be at least 0"),
        ({"ema": 1.0}, ValueError, r"ema must lie in \[0, 1\)"),
        ({"clip": 0.0}, ValueError, "clip must be positive"),
        ({"weight_decay": -1.0}, ValueError, "weight_decay must be finite"),
        ({"seed": -1}, ValueError, "seed must be at least 0"),
        ({"every": 0}, ValueError, "every must be at least 1"),
        ({"net": nn.Identity()}, TypeError, "net must be a torch.nn.Module with"),
        ({"net": torch.sin}, TypeError, "net must be a torch.nn.Module"),
        ({"batches": [1, 2]}, TypeError, r"iterator such as iter\(loader\)"),
        ({"batches": iter([])}, ValueError, "batches ended after 0 of 12 steps"),
    ],
)
def test_bad_arguments_are_named(change, error, message):
    with pytest.raises(error, match=message):
        run(**change)


@pytest.mark.parametrize(
    ("loss", "error", "message"),
    [
        (None, TypeError, "loss must be a function"),
        (lambda n, b, g: 1.0, TypeError, "loss must return a tensor"),
        (lambda n, b, g: b.sum(), ValueError, "its result has no gradient"),
        (lambda n, b, g: n.w * torch.ones(2, 2), ValueError, r"\(B,\) or \(\)"),
    ],
)
def test_bad_losses_are_named(loss, error, message):
    with pytest.raises(error, match=message):
        train(loss, Line(), ones, steps=2, progress=False)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, bad):
    file, count = tmp_path / "run.safetensors", 0

    def loss(net, batch, generator):
        nonlocal count
        count += 1
        return squares(net, batch, generator) * (bad if count == 4 else 1)

    net = Line()
    with pytest.raises(FloatingPointError, match=r"the loss is .* at step 3"):
        train(loss, net, ones, steps=9, checkpoint=file, every=1, progress=False)
    assert torch.isfinite(net.w).all()
    saved = load_file(file)
    assert len(saved["losses"]) == 3
    assert torch.equal(saved["network.w"], net.w.detach())


def test_a_gradient_that_is_not_finite_stops_the_run():
    def loss(net, batch, generator):
        return (net.w - 1).abs().sqrt().sum() + 0 * batch.sum()  # slope ∞ at w = 1

    net = Line(1.0)
    with pytest.raises(FloatingPointError, match="gradient's norm"):
        train(loss, net, ones, steps=3, progress=False)
    assert net.w.item() == 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"drop": 1.5}, r"drop must lie in \[0, 1\]"),
        ({"t_min": 0.5, "t_max": 0.5}, "0 <= t_min < t_max <= 1"),
        ({"t_max": 1.5}, "0 <= t_min < t_max <= 1"),
        ({"predicts": "noise"}, "predicts must be one of"),
        ({"weight": "snr"}, "weight must be None, a function or one of"),
    ],
)
def test_bad_objectives_are_named(change, message):
    def draw():
        loss = objective(**({"path": vp(), "predicts": "eps"} | change))
        return loss(small(), torch.zeros(2, 2), torch.Generator())

    with pytest.raises(ValueError, match=message):
        draw()


# The bar


def test_the_bar_is_on_stderr_and_silent_in_a_stored_notebook(capfd, monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    monkeypatch.delenv("GENFLOW_STATIC", raising=False)
    train(squares, Line(), ones, steps=3)
    out, err = capfd.readouterr()
    assert out == ""
    assert "3" in err
    monkeypatch.setenv("GENFLOW_STATIC", "1")
    train(squares, Line(), ones, steps=3)
    monkeypatch.delenv("GENFLOW_STATIC")
    train(squares, Line(), ones, steps=3, progress=False)
    assert capfd.readouterr() == ("", "")


def test_all_is_float32_whatever_the_default_is():
    """Chapters run under a default of float64."""
    plain = run()
    torch.set_default_dtype(torch.float64)
    try:
        other = run()
    finally:
        torch.set_default_dtype(torch.float32)
    assert same(plain.net.state_dict(), other.net.state_dict())
    assert torch.equal(plain.losses, other.losses)
