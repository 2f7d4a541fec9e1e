"""The judge of digits: good enough to judge, and no other verdict than it should be."""

import pytest
import torch

from genflow_lite.data import digits
from genflow_lite.judges import _trained, copies, digit_classifier


@pytest.fixture(scope="module")
def judge():
    return digit_classifier()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_judge_knows_digits_that_it_has_not_seen(judge):
    images, labels = digits("test")
    assert judge.accuracy(images, labels) >= 0.98
    assert judge.accuracy(images, (labels + 1) % 10) <= 0.02
    assert torch.equal(judge.labels(images), judge.log_probs(images).argmax(1))
    total = judge.log_probs(images).exp().sum(1)
    torch.testing.assert_close(total, torch.ones(445).double())


def test_the_judge_is_made_once(judge):
    assert digit_classifier() is judge


def test_training_the_judge_depends_on_its_seed_alone():
    before = torch.get_rng_state()
    plain, other = _trained(0, steps=3), _trained(1, steps=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.set_default_dtype(torch.float64)  # as in a chapter
    try:
        with torch.no_grad():
            again = _trained(0, steps=3)
    finally:
        torch.set_default_dtype(torch.float32)
    for name, value in plain.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
        assert not torch.equal(value, other.state_dict()[name]), name


def test_the_distance_sees_what_is_wrong(judge):
    (train, train_labels), (test, _) = digits("train"), digits("test")
    real = judge.distance(train, test)
    noise = torch.randn(train.shape, generator=generator())
    assert judge.distance(train, train) < 1e-6 * real + 1e-9
    assert judge.distance(train + 0.5 * noise, test) > 5 * real  # bad images
    assert judge.distance(train[train_labels < 9], test) > 2 * real  # a missing class
    assert judge.distance(noise, test) > 20 * real
    assert judge.features(test).shape == (445, 32)
    assert judge.features(test.double()).dtype == torch.float64


def test_copies_are_counted():
    (train, _), (test, _) = digits("train"), digits("test")
    assert copies(train, train, test) == 1
    assert copies(test, train, test) == pytest.approx(0.01, abs=1 / 445)
    half = torch.cat([train[:100], -train[:100]])
    assert copies(half, train, test) == 0.5
    slightly = train + 0.01 * torch.randn(train.shape, generator=generator())
    assert copies(slightly, train, test) == 1
    assert copies(test, train, test, quantile=0.5) == pytest.approx(0.5, abs=1 / 445)


def test_copies_by_hand():
    train = torch.tensor([[0.0], [10.0]])
    held_out = torch.arange(1.0, 5.0)[:, None]  # distances 1, 2, 3, 4
    samples = torch.tensor([[-1.0], [2.0], [3.4], [9.5]])  # distances 1, 2, 3.4, 0.5
    # The 0.5 quantile of 1, 2, 3, 4 is 2.5.
    assert copies(samples, train, held_out, quantile=0.5) == 0.75


def test_bad_arguments_are_named(judge):
    with pytest.raises(ValueError, match=r"images must have shape \(N, 1, 8, 8\)"):
        judge.features(torch.zeros(3, 64))
    with pytest.raises(ValueError, match=r"labels must have shape \(3,\)"):
        judge.accuracy(torch.zeros(3, 1, 8, 8), torch.zeros(2))
    with pytest.raises(ValueError, match=r"quantile must lie in \[0, 1\]"):
        copies(*[torch.zeros(2, 1)] * 3, quantile=2.0)
    with pytest.raises(ValueError, match="same shape"):
        copies(torch.zeros(2, 1), torch.zeros(2, 2), torch.zeros(2, 1))
