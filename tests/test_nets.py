"""The networks: their inputs by hand, what they must and must not depend on."""

import math
from typing import Any, cast

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import silu

from genflow_lite import as_denoiser, rectified
from genflow_lite._unet import Attention, Block
from genflow_lite.nets import MLP, UNet, fourier_features, sinusoidal_embedding

NETS = {
    "mlp": lambda **more: MLP(6, width=16, depth=2, **more),
    "mlp of waves": lambda **more: MLP(6, width=16, depth=1, space_octaves=2, **more),
    "unet": lambda **more: UNet(2, width=8, **more),
    "deep unet": lambda **more: UNet(2, width=8, levels=3, attention=False, **more),
}
every_net = pytest.mark.parametrize("make", NETS.values(), ids=NETS)


def awake(net, seed=0):
    """The network with every weight away from its start, the zeros too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in net.parameters():
            p += 0.1 * torch.randn(p.shape, generator=generator)
    return net


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def inputs(net, n=5, seed=0) -> Any:
    generator = torch.Generator().manual_seed(seed)
    shape = (n, 3, 2) if isinstance(net, MLP) else (n, 2, 8, 4)
    x = torch.randn(shape, generator=generator)
    t = torch.rand(n, generator=generator)
    return (x, t) if net.classes is None else (x, t, torch.arange(n) % net.classes)


# What goes in


def test_fourier_features_by_hand():
    u = torch.tensor([[0.5, -0.25]], dtype=torch.float64)
    root = math.sqrt(0.5)
    sines = [1, 0, -root, -1]  # sin π/2, sin π, sin −π/4, sin −π/2
    cosines = [0, -1, root, 0]
    expected = torch.tensor([[0.5, -0.25, *sines, *cosines]], dtype=torch.float64)
    torch.testing.assert_close(fourier_features(u, 2), expected)
    assert torch.equal(fourier_features(u, 0), u)


def test_the_lowest_waves_tell_both_ends_of_time_apart():
    ends = fourier_features(torch.tensor([[0.0], [1.0]]), 1)[:, 1:]
    assert (ends[0] - ends[1]).norm() > 1.9


def test_the_sinusoidal_embedding_is_that_of_a_position():
    width, step = 8, 37
    out = sinusoidal_embedding(torch.tensor([step / 1000], dtype=torch.float64), width)
    angles = [step / 10000 ** (2 * j / width) for j in range(width // 2)]
    expected = [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
    torch.testing.assert_close(out[0], torch.tensor(expected, dtype=torch.float64))


# What comes out


@every_net
def test_a_new_network_says_zero(make):
    net = make(classes=3)
    assert net(*inputs(net)).abs().max() == 0


@every_net
def test_the_result_is_like_x_and_each_row_stands_alone(make):
    net = awake(make(classes=3))
    x, t, cond = inputs(net)
    out = net(x, t, cond)
    assert out.shape == x.shape
    assert out.dtype == torch.float32
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(net(x[order], t[order], cond[order]), out[order])
    one = torch.cat(
        [net(x[k : k + 1], t[k : k + 1], cond[k : k + 1]) for k in range(5)]
    )
    torch.testing.assert_close(one, out, rtol=1e-4, atol=1e-5)


@every_net
def test_x_time_and_label_all_matter(make):
    net = awake(make(classes=3))
    x, t, cond = inputs(net)
    out = net(x, t, cond)
    others = [net(x + 0.1, t, cond), net(x, 1 - t, cond), net(x, t, (cond + 1) % 3)]
    for other in others:
        assert ((other - out).flatten(1).norm(dim=1) > 1e-4).all()


@every_net
def test_every_weight_gets_a_gradient(make):
    net = awake(make(classes=3))
    x, t, _ = inputs(net)
    cond = torch.tensor([0, 1, 2, 3, 0])
    net(x, t, cond).square().sum().backward()
    for name, p in net.named_parameters():
        assert p.grad is not None, name
        assert p.grad.isfinite().all(), name
        assert p.grad.abs().max() > 0, name


@every_net
def test_a_new_network_wakes_up_in_two_steps(make):
    net = make(classes=2)
    x, t, cond = inputs(net)
    step = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(2):
        step.zero_grad()
        (net(x, t, cond) - x).square().mean().backward()
        step.step()
    dead = {n for n, p in net.named_parameters() if p.grad.abs().max() == 0}
    assert not dead


@every_net
def test_no_label_is_the_null_label(make):
    net = awake(make(classes=3))
    x, t, _ = inputs(net)
    null = torch.full((5,), 3)
    assert torch.equal(net(x, t), net(x, t, null))
    assert not torch.equal(net(x, t), net(x, t, null - 1))


@every_net
def test_a_scalar_time_is_one_for_all(make):
    net = awake(make())
    x, _ = inputs(net)
    every = net(x, torch.full((5,), 0.3))
    torch.testing.assert_close(net(x, torch.tensor(0.3)), every)


@every_net
def test_weights_come_from_the_seed_alone(make):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one, two, other = make(seed=4), make(seed=4), make(seed=5)
    assert torch.equal(torch.get_rng_state(), before)
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name]), name
    first = "first.weight"
    assert not torch.equal(one.state_dict()[first], other.state_dict()[first])


def test_a_network_is_a_denoiser():
    net = awake(MLP(2, classes=4, width=16))
    cond = torch.tensor([0, 1, 4])
    denoise = as_denoiser(net, rectified(), predicts="velocity", cond=cond)
    x = torch.randn(3, 2, dtype=torch.float64)
    out = denoise(x, 0.25)
    # On the straight path u = eps − x0 and x = (1 − t) x0 + t eps, so x0 = x − t u.
    expected = x - 0.25 * net(x.float(), torch.full((3,), 0.25), cond).double()
    torch.testing.assert_close(out, expected, rtol=1e-6, atol=1e-7)


# The parts of the U-Net against the same mathematics written another way


def test_attention_is_softmax_by_hand():
    torch.manual_seed(0)
    part = Attention(8)
    h = torch.randn(2, 8, 3, 2)
    w, b = part.qkv.weight[:, :, 0, 0], part.qkv.bias
    out = torch.zeros_like(h)
    for i in range(2):
        pixels = part.norm(h)[i].flatten(1).T  # (6, 8)
        q, k, v = (pixels @ w.T + b).split(8, dim=1)
        for p in range(6):
            weight = torch.stack([(q[p] @ k[r] / math.sqrt(8)).exp() for r in range(6)])
            mixed = (weight[:, None] * v).sum(0) / weight.sum()
            out[i].view(8, 6)[:, p] = (
                part.out.weight[:, :, 0, 0] @ mixed + part.out.bias
            )
    torch.testing.assert_close(part(h), h + out, rtol=1e-4, atol=1e-5)


def test_a_block_is_its_formula():
    torch.manual_seed(0)
    part = Block(8, 12, 5)
    h, code = torch.randn(3, 8, 4, 4), torch.randn(3, 5)

    def norm(x, layer):
        groups = x.reshape(3, 4, -1)
        spread = (groups.var(2, unbiased=False, keepdim=True) + layer.eps).sqrt()
        flat = (groups - groups.mean(2, keepdim=True)) / spread
        weight, bias = (p[:, None, None] for p in (layer.weight, layer.bias))
        return flat.reshape(x.shape) * weight + bias

    scale, shift = (code @ part.code.weight.T + part.code.bias).split(12, dim=1)
    r = part.conv1(silu(norm(h, part.norm1)))
    r = norm(r, part.norm2) * (1 + scale[..., None, None]) + shift[..., None, None]
    mix: Any = part.skip
    skip = torch.einsum("oi,bihw->bohw", mix.weight[:, :, 0, 0], h)
    skip = skip + mix.bias[:, None, None]
    expected = part.conv2(silu(r)) + skip
    torch.testing.assert_close(part(h, code), expected, rtol=1e-4, atol=1e-5)


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.booleans())
def test_unets_of_all_sizes_keep_the_shape(levels, height, width, attention):
    net = UNet(1, width=4, levels=levels, attention=attention)
    x = torch.zeros(2, 1, height * 2 ** (levels - 1), width * 2 ** (levels - 1))
    assert net(x, torch.zeros(2)).shape == x.shape


def test_the_unet_halves_and_doubles():
    net = UNet(1, width=8, levels=3)
    sizes = []
    for part in [*net.down, net.middle, *net.up]:
        part.register_forward_hook(lambda m, i, o: sizes.append(tuple(o.shape[1:])))
    net(torch.zeros(1, 1, 8, 12), torch.zeros(1))
    down = [(8, 8, 12), (16, 4, 6), (16, 2, 3)]
    up = [(16, 4, 6), (16, 8, 12), (8, 8, 12)]
    assert sizes == [*down, (16, 2, 3), *up]


# Bad input


@every_net
def test_bad_labels_are_named(make):
    net = make(classes=3)
    x, t, cond = inputs(net)
    with pytest.raises(ValueError, match=r"cond must hold labels from 0 to 2.*1 to 4"):
        net(x, t, cond.clamp(min=1) + torch.tensor([0, 0, 2, 0, 0]))
    with pytest.raises(ValueError, match="got values from -1 to 2"):
        net(x, t, torch.tensor([0, 1, 2, -1, 0]))
    with pytest.raises(ValueError, match=r"cond must have shape \(B,\) = \(5,\)"):
        net(x, t, cond[:4])
    with pytest.raises(TypeError, match="cond must be an int64 tensor"):
        net(x, t, cond.float())
    with pytest.raises(ValueError, match="made without classes"):
        make()(x, t, cond)


@every_net
def test_bad_times_are_named(make):
    net = make()
    x, t = inputs(net)
    with pytest.raises(ValueError, match=r"t must have shape \(\) or \(B,\) = \(5,\)"):
        net(x, t[:4])
    with pytest.raises(TypeError, match="t must be a floating-point tensor"):
        net(x, torch.arange(5))


def test_bad_states_are_named():
    t = torch.rand(3)
    with pytest.raises(ValueError, match=r"x must have 6 entries.*\(3, 5\)"):
        MLP(6)(torch.zeros(3, 5), t)
    with pytest.raises(ValueError, match=r"x must have shape \(B, 2, H, W\)"):
        UNet(2)(torch.zeros(3, 1, 8, 8), t)
    with pytest.raises(ValueError, match="multiples of 4 for 3 levels"):
        UNet(1, levels=3)(torch.zeros(3, 1, 8, 6), t)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: MLP(0), ValueError, "dim must be at least 1"),
        (lambda: MLP(2, width=0), ValueError, "width must be at least 1"),
        (lambda: MLP(2, depth=cast(Any, 2.0)), TypeError, "depth must be an int"),
        (lambda: MLP(2, octaves=-1), ValueError, "octaves must be at least 0"),
        (lambda: MLP(2, classes=0), ValueError, "classes must be at least 1"),
        (lambda: MLP(2, seed=-1), ValueError, "seed must be at least 0"),
        (lambda: UNet(0), ValueError, "channels must be at least 1"),
        (lambda: UNet(1, width=6), ValueError, "width must be a multiple of 4"),
        (lambda: UNet(1, levels=0), ValueError, "levels must be at least 1"),
    ],
)
def test_bad_sizes_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_networks_are_modules_of_float32_whatever_the_default_is():
    torch.set_default_dtype(torch.float64)
    try:
        made = [make(classes=3) for make in NETS.values()]
    finally:
        torch.set_default_dtype(torch.float32)
    for net, make in zip(made, NETS.values(), strict=True):
        assert same(net.state_dict(), make(classes=3).state_dict())
    for net in (MLP(2, classes=2), UNet(1, classes=2)):
        assert isinstance(net, nn.Module)
        assert {p.dtype for p in net.parameters()} == {torch.float32}
