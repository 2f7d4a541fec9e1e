"""Data against their definitions: where points may lie, how often, which digits."""

import math
import sys
import types
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest
from sklearn.datasets import load_digits

from genflow_lite import data
from genflow_lite.data import checkerboard, digits, moons, on_dark, rings, spirals

LABELLED = {"moons": (moons, 2), "rings": (rings, 3), "spirals": (spirals, 2)}
PLANAR = {"checkerboard": checkerboard, **{k: v[0] for k, v in LABELLED.items()}}
planar = pytest.mark.parametrize("draw", PLANAR.values(), ids=PLANAR)
labelled = pytest.mark.parametrize(("draw", "count"), LABELLED.values(), ids=LABELLED)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# Points in the plane


@planar
def test_points_are_float64_and_come_from_the_generator(draw):
    x = draw(50, generator=generator(3))
    assert x.shape == (50, 2)
    assert x.dtype == torch.float64
    assert torch.equal(x, draw(50, generator=generator(3)))
    assert not torch.equal(x, draw(50, generator=generator(4)))
    assert draw(0, generator=generator()).shape == (0, 2)


@planar
def test_points_are_centred_and_of_order_one(draw):
    x = draw(20_000, generator=generator())
    assert x.mean(0).abs().max() < 0.05
    assert x.std(0).min() > 0.4
    assert x.std(0).max() < 1.5


def test_the_checkerboard_is_uniform_on_its_dark_squares():
    n, half = 40_000, math.sqrt(3)
    x = checkerboard(n, generator=generator())
    side = half / 2
    board = [[-half, half]] * 2
    counts = np.histogram2d(*x.T.numpy(), bins=4, range=board)[0]
    dark = np.indices((4, 4)).sum(0) % 2 == 0
    assert counts[~dark].sum() == 0
    assert chisquare(counts[dark]).pvalue > 1e-3
    # Inside a square both coordinates are uniform: within their own square, on [0, 1].
    for column in ((x + half) / side % 1).T:
        assert kstest(column.numpy(), "uniform").pvalue > 1e-3
    assert x.var(0).tolist() == pytest.approx([1, 1], abs=0.02)


@given(st.sampled_from([2, 4, 6]), st.integers(0, 1000))
def test_every_point_of_a_board_lies_on_dark(squares, seed):
    x = checkerboard(64, squares=squares, generator=generator(seed))
    assert on_dark(x, squares=squares).all()
    # One square to the right it is light, or off the board.
    side = 2 * math.sqrt(3) / squares
    assert not on_dark(x + torch.tensor([side, 0.0]), squares=squares).any()


def test_dark_squares_by_hand():
    places = [
        (-1.7, -1.7),
        (-0.8, -1.7),
        (-0.8, -0.8),
        (1.7, 1.7),
        (1.8, 1.8),
        (-1.8, 0),
    ]
    expected = [True, False, True, True, False, False]
    x = torch.tensor(places, dtype=torch.float64)
    assert on_dark(x).tolist() == expected
    share = on_dark(4 * torch.rand(100_000, 2, dtype=torch.float64) - 2)
    assert float(share.double().mean()) == pytest.approx(6 / 16, abs=0.01)


def test_without_noise_points_lie_on_their_curves():
    x, label = moons(500, noise=0.0, generator=generator(), return_labels=True)
    sign = 1 - 2 * label
    centre = sign[:, None] * torch.tensor([-0.5, -0.25], dtype=torch.float64)
    torch.testing.assert_close((x - centre).norm(dim=1), torch.ones(500).double())
    assert ((x[:, 1] - centre[:, 1]) * sign >= 0).all()  # the upper and the lower half

    x, label = rings(500, count=4, noise=0.0, generator=generator(), return_labels=True)
    torch.testing.assert_close(x.norm(dim=1), (label + 1).double() / 2)

    x, label = spirals(
        500, count=3, turns=0.75, noise=0.0, generator=generator(), return_labels=True
    )
    radius = x.norm(dim=1)
    angle = 2 * math.pi * (0.75 * radius / 2 + label / 3)
    turned = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)
    torch.testing.assert_close(x, turned)
    assert radius.max() <= 2
    assert kstest((radius / 2).square().numpy(), "uniform").pvalue > 1e-3


def test_angles_are_uniform():
    upper = moons(4000, noise=0.0, generator=generator(), return_labels=True)
    x, label = upper
    phi = torch.atan2(x[:, 1] + 0.25, x[:, 0] + 0.5)[label == 0] / math.pi
    assert kstest(phi.numpy(), "uniform").pvalue > 1e-3
    x = rings(4000, noise=0.0, generator=generator())
    phi = torch.atan2(x[:, 1], x[:, 0]) / (2 * math.pi) % 1
    assert kstest(phi.numpy(), "uniform").pvalue > 1e-3


@labelled
def test_noise_has_its_standard_deviation(draw, count):
    """The clean points of the same generator are the noisy ones without the noise."""
    clean = draw(20_000, noise=0.0, generator=generator())
    noisy = draw(20_000, noise=0.3, generator=generator())
    z = (noisy - clean) / 0.3
    assert z.mean(0).abs().max() < 4 / math.sqrt(20_000)
    torch.testing.assert_close(z.T.cov(), torch.eye(2).double(), atol=0.04, rtol=0)


@labelled
def test_labels_are_even_and_do_not_change_the_points(draw, count):
    x, label = draw(6000, generator=generator(), return_labels=True)
    assert label.dtype == torch.int64
    assert chisquare(torch.bincount(label, minlength=count).numpy()).pvalue > 1e-3
    assert torch.equal(x, draw(6000, generator=generator()))


# Digits


def test_the_digits_are_scikit_learns():
    loaded: Any = load_digits()
    images = np.concatenate([digits(s)[0].numpy() for s in ("train", "test")])
    labels = np.concatenate([digits(s)[1].numpy() for s in ("train", "test")])
    # The same multiset of pictures, in grey values 0 … 16, each with its label.
    grey = np.rint(8 * (images[:, 0] + 1)).reshape(len(images), -1)
    ours = np.column_stack([grey, labels])
    theirs = np.column_stack([loaded.data, loaded.target])
    assert np.array_equal(np.unique(ours, axis=0), np.unique(theirs, axis=0))
    assert len(ours) == len(theirs) == 1797
    assert images.min() == -1
    assert images.max() == 1


def test_every_fourth_of_a_class_is_a_test_image():
    loaded: Any = load_digits()
    (train, train_labels), (test, test_labels) = digits("train"), digits("test")
    assert (len(train), len(test)) == (1352, 445)
    for label in range(10):
        of_class = torch.as_tensor(loaded.images[loaded.target == label]) / 8 - 1
        assert torch.equal(test[test_labels == label][:, 0], of_class[3::4].float())
        kept = [k for k in range(len(of_class)) if k % 4 != 3]
        assert torch.equal(train[train_labels == label][:, 0], of_class[kept].float())


def test_digits_are_as_promised():
    images, labels = digits("test")
    assert images.shape == (445, 1, 8, 8)
    assert images.dtype == torch.float32
    assert labels.dtype == torch.int64
    images.fill_(0)  # what a caller does to them does not reach the next
    assert digits("test")[0].std() > 0.5


# Larger sets, by a stand-in for torchvision


def stand_in(monkeypatch, fail=None):
    asked = []

    def make(name, array):
        def dataset(root, *, train, download):
            asked.append((name, root, train, download))
            if fail is not None:
                raise fail
            return types.SimpleNamespace(data=array, targets=[3, 1])

        return dataset

    mnist = torch.tensor([0, 255], dtype=torch.uint8)[:, None, None].expand(2, 28, 28)
    cifar = np.zeros((2, 32, 32, 3), dtype=np.uint8)
    cifar[1, 4, 5] = [255, 51, 0]
    module = types.ModuleType("torchvision")
    module.datasets = types.SimpleNamespace(  # type: ignore[attr-defined]
        MNIST=make("MNIST", mnist), CIFAR10=make("CIFAR10", cifar)
    )
    monkeypatch.setitem(sys.modules, "torchvision", module)
    return asked


def test_mnist_comes_through_torchvision(monkeypatch, tmp_path):
    asked = stand_in(monkeypatch)
    images, labels = data.mnist("test", root=tmp_path, download=False)
    assert asked == [("MNIST", str(tmp_path), False, False)]
    assert images.shape == (2, 1, 28, 28)
    assert images.dtype == torch.float32
    assert images[0].unique().tolist() == [-1]
    assert images[1].unique().tolist() == [1]
    assert labels.tolist() == [3, 1]


def test_cifar_comes_with_its_channels_first(monkeypatch):
    asked = stand_in(monkeypatch)
    images, _ = data.cifar10("train")
    assert asked == [("CIFAR10", "data", True, True)]
    assert images.shape == (2, 3, 32, 32)
    torch.testing.assert_close(images[1, :, 4, 5], torch.tensor([1.0, -0.6, -1.0]))


@pytest.mark.parametrize("load", [data.mnist, data.cifar10])
def test_without_torchvision_the_message_says_what_to_do(monkeypatch, load):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(ImportError, match="pip install torchvision"):
        load("train")


@pytest.mark.parametrize(
    "fail",
    [
        OSError("urlopen error: no route"),
        RuntimeError("Dataset not found. You can use download=True to download it"),
    ],
)
def test_a_failed_download_is_explained(monkeypatch, fail):
    stand_in(monkeypatch, fail)
    with pytest.raises(
        OSError, match=r"MNIST is not in 'x'.*could not be fetched"
    ) as e:
        data.mnist("train", root="x")
    assert str(fail) in str(e.value)


# Bad input


@pytest.mark.parametrize("load", [digits, data.mnist, data.cifar10])
def test_an_unknown_split_is_named(load):
    with pytest.raises(ValueError, match="split must be 'train' or 'test'; got 'val'"):
        load("val")


@planar
def test_bad_arguments_are_named(draw):
    with pytest.raises(ValueError, match="n must be at least 0"):
        draw(-1, generator=generator())
    with pytest.raises(TypeError, match="generator must be a torch"):
        draw(1, generator=None)


@labelled
def test_bad_noise_is_named(draw, count):
    for noise in (-0.1, math.inf, math.nan):
        with pytest.raises(ValueError, match="noise must be finite and at least 0"):
            draw(3, noise=noise, generator=generator())


def test_bad_boards_are_named():
    with pytest.raises(ValueError, match="squares must be even; got 3"):
        checkerboard(5, squares=3, generator=generator())
    with pytest.raises(ValueError, match=r"x must have shape \(n, 2\)"):
        on_dark(torch.zeros(3, 3))
    with pytest.raises(ValueError, match="count must be at least 1"):
        rings(5, count=0, generator=generator())
    with pytest.raises(ValueError, match="turns must be finite"):
        spirals(5, turns=math.inf, generator=generator())
