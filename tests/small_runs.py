"""Training runs of a fraction of a second, for the tests of training."""

import torch
from torch import nn

from genflow_lite import rectified
from genflow_lite.data import checkerboard
from genflow_lite.nets import MLP
from genflow_lite.train import objective, train


class Line(nn.Module):
    """y = w x, the smallest network there is."""

    def __init__(self, w=1.0):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([w]))

    def forward(self, x, t=None):
        return self.w * x


def squares(net, batch, generator):
    return (net(batch) - 3 * batch).square()


def ones(generator):
    return torch.ones(4)


def points(generator):
    return checkerboard(32, generator=generator).float()


DENOISING = objective(rectified(), predicts="velocity")


def small(width=8, **more):
    return MLP(2, width=width, depth=1, **more)


def run(net=None, batches=points, steps=12, **more):
    net = small() if net is None else net
    return train(DENOISING, net, batches, steps=steps, progress=False, **more)


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
