"""The broadcast helper, the shared checks, and the annotations of every shape."""

import subprocess
import sys
from typing import Any

import pytest
import torch
from paths_under_test import randn, tensor

from genflow_lite import _shapes

shapes: Any = _shapes  # unchecked, so that bad arguments can be passed


def test_a_coefficient_is_laid_over_the_batch_and_nothing_else():
    x = randn(3, 3, 3)
    c = tensor(1.0, 2.0, 3.0)
    laid = _shapes.expand_like(c, x)
    assert laid.shape == (3, 1, 1)
    for i in range(3):
        assert torch.equal((laid * x)[i], c[i] * x[i])
    assert _shapes.expand_like(c[0], x).shape == ()
    assert _shapes.expand_like(c, randn(3)).shape == (3,)
    assert _shapes.expand_like(c, x.float()).dtype == torch.float32


def test_time_takes_the_wider_precision():
    assert _shapes.time_like(0.5, randn(2)).dtype == torch.float64
    assert _shapes.time_like(torch.tensor(0.5), randn(2)).dtype == torch.float64
    assert _shapes.time_like(tensor(0.5), randn(2).float()).dtype == torch.float64
    assert _shapes.time_like(torch.tensor(0.5), randn(2).float()).dtype == torch.float32


def test_grids_that_are_accepted_come_back_as_they_are():
    for ts in (tensor(1.0, 0.5, 0.0), tensor(0.0, 1.0)):
        assert shapes.check_grid(ts) is ts
    ts = tensor(0.9, 0.2)
    assert shapes.check_grid(ts, direction="decreasing") is ts


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (
            lambda: shapes.check_grid([1.0, 0.0]),
            TypeError,
            "ts must be a float64 tensor",
        ),
        (
            lambda: shapes.check_grid(torch.tensor([1.0, 0.0])),
            TypeError,
            "ts must be a float64 tensor; got a torch.float32",
        ),
        (
            lambda: shapes.check_grid(tensor(1.0)),
            ValueError,
            r"ts must have shape \(n \+ 1,\)",
        ),
        (
            lambda: shapes.check_grid(tensor(1.0)[None]),
            ValueError,
            r"ts must have shape \(n \+ 1,\)",
        ),
        (
            lambda: shapes.check_grid(tensor(1.2, 0.0)),
            ValueError,
            r"ts must lie in \[0, 1\]",
        ),
        (
            lambda: shapes.check_grid(tensor(0.5, float("nan"))),
            ValueError,
            "ts must lie",
        ),
        (
            lambda: shapes.check_grid(tensor(0.5, 0.5)),
            ValueError,
            "ts must be strictly monotone",
        ),
        (
            lambda: shapes.check_grid(tensor(1.0, 0.2, 0.5), name="grid"),
            ValueError,
            "grid must be strictly monotone",
        ),
        (
            lambda: shapes.check_grid(tensor(0.0, 1.0), direction="decreasing"),
            ValueError,
            "ts must be strictly decreasing, from noise to data",
        ),
        (
            lambda: shapes.expand_like(tensor(1.0, 2.0), randn(3, 2)),
            ValueError,
            r"coefficient must have shape \(\) or \(3,\)",
        ),
        (
            lambda: shapes.expand_like(randn(3, 1), randn(3, 2)),
            ValueError,
            "coefficient must have",
        ),
        (
            lambda: shapes.check_generator(torch),
            TypeError,
            "generator must be a torch.Generator",
        ),
        (lambda: shapes.check_count(True, name="n"), TypeError, "n must be an int"),
        (lambda: shapes.check_count(0, name="n"), ValueError, "n must be at least 1"),
        (
            lambda: shapes.check_positive(None, name="step"),
            TypeError,
            "step must be a number",
        ),
    ],
)
def test_bad_arguments_are_named(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def run_fresh(code):
    """Run a program in a new interpreter; returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_package_loads_nothing_heavy():
    """Beyond torch the face of the package costs a few small modules."""
    heavy = {"scipy", "sympy", "matplotlib", "sklearn", "ipywidgets", "anywidget", "ot"}
    code = f"""
import sys, torch
before = set(sys.modules)
import genflow_lite
print(sorted({heavy} & (set(sys.modules) - before)))
"""
    assert run_fresh(code).strip() == "[]"


def test_every_public_shape_is_what_its_annotation_says():
    """The package under jaxtyping's import hook: each call checked at run time."""
    code = """
import warnings
import torch
from jaxtyping import TypeCheckError, install_import_hook
with install_import_hook("genflow_lite", "beartype.beartype"):
    import genflow_lite as gl
torch.manual_seed(0)
d = torch.float64
g = torch.Generator().manual_seed(0)
mixture = gl.GaussianMixture(
    torch.rand(3, dtype=d), torch.randn(3, 2, dtype=d), torch.rand(3, 2, dtype=d) + 0.1
)
table = torch.full((10,), 0.2, dtype=d)
paths = [gl.vp(), gl.ve(), gl.sub_vp(), gl.cosine(), gl.rectified()]
paths.append(gl.from_betas(table))
x = torch.randn(4, 2, dtype=d)
for path in paths:
    for t in (torch.tensor(0.4, dtype=d), torch.rand(4, dtype=d) * 0.8 + 0.1, 0.4):
        path.sde(t), path.rates(t), path.log_snr(t), path.sigma_sq(t)
        path.t_of_log_snr(t), path.mix(x, x, t), path.sigma_sq_rate(t)
        mixture.log_prob(x, t, path), mixture.score(x, t, path)
        mixture.posterior(x, t, path).cov, mixture.denoiser(path, 1)(x, t)
        gl.EmpiricalDenoiser(x, path)(x, t)
        gl.convert(x, x, t, path, source="eps", target="v")
        gl.as_denoiser(lambda y, s: y, path, predicts="v")(x, t)
    mixture.velocity(path)(x, torch.tensor(0.4, dtype=d))
    path.prior((4, 2), generator=g)
    for spacing in ("uniform", "log_snr", "karras", "trailing"):
        gl.time_grid(path, 5, spacing=spacing)
refused = 0
for call in (
    lambda: gl.vp().mix(x, x, torch.rand(3, dtype=d)),
    lambda: mixture.score(x[0], 0.5, gl.vp()),
    lambda: gl.convert(x, x[:2], 0.5, gl.vp(), source="eps", target="v"),
):
    try:
        call()
    except TypeCheckError:
        refused += 1
print("checked", refused)
"""
    assert run_fresh(code).strip() == "checked 3"
