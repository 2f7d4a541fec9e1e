"""The command ``python -m genflow_lite.train``, run in this process and once as one."""

import subprocess
import sys

import pytest
import torch
from matplotlib.image import imread
from safetensors.torch import load_file

from genflow_lite import _recipe
from genflow_lite._recipe import main
from genflow_lite._sheet import grid

QUICK = ["--device", "cpu", "--net", "mlp", "--width", "8", "--depth", "1"]
SHORT = ["--steps", "4", "--batch", "6", "--calls", "3", "--samples", "12"]


def command(*more):
    return main([*QUICK, *SHORT, *map(str, more)])


def test_the_module_is_a_command():
    program = [sys.executable, "-W", "error", "-m", "genflow_lite.train", "--help"]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    options = ("--data", "--path", "--predicts", "--net", "--steps", "--device")
    for option in (*options, "--checkpoint", "--out", "torchrun"):
        assert option in done.stdout


@pytest.mark.parametrize("path", list(_recipe.PATHS))
@pytest.mark.parametrize("predicts", ["eps", "x0", "v", "velocity"])
def test_every_path_with_every_prediction(path, predicts, tmp_path):
    out = tmp_path / "out.safetensors"
    more = ["--data", "rings", "--path", path, "--predicts", predicts, "--out", out]
    assert command(*more) == 0
    found = load_file(out)
    assert found["samples"].shape == (12, 2)
    assert found["samples"].isfinite().all()
    assert found["labels"].tolist() == [0, 1, 2] * 4


@pytest.mark.parametrize("data", ["checkerboard", "moons", "spirals", "digits"])
def test_every_data_set_and_a_picture(data, tmp_path):
    out = tmp_path / "out.png"
    guided = [] if data == "checkerboard" else ["--guidance", 0.5]
    assert command("--data", data, "--out", out, "--eta", 1, *guided) == 0
    picture = imread(out)
    assert picture.ndim == 3
    if data == "digits":
        assert picture.shape[:2] == (2 * 8, 10 * 8)


def test_a_unet_and_no_labels(tmp_path):
    out = tmp_path / "out.safetensors"
    more = ["--net", "unet", "--unconditional", "--width", "4", "--out", out]
    assert command(*more) == 0
    assert load_file(out).keys() == {"samples"}
    assert load_file(out)["samples"].shape == (12, 1, 8, 8)


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_larger_sets_go_through_the_same_command(name, monkeypatch, tmp_path):
    shape = {"mnist": (1, 28, 28), "cifar10": (3, 32, 32)}[name]
    asked = []

    def load(split, *, root):
        asked.append((split, root))
        return torch.zeros(20, *shape), torch.arange(20) % 10

    monkeypatch.setitem(_recipe.IMAGES, name, load)
    out = tmp_path / "out.png"
    more = ["--data", name, "--root", "there", "--net", "unet", "--width", "4"]
    assert command(*more, "--depth", "3", "--out", out) == 0
    assert asked == [("train", "there")]
    assert imread(out).shape[:2] == (2 * shape[1], 10 * shape[2])


def test_a_second_call_goes_on_and_only_draws(tmp_path, capsys):
    file, one, two = (tmp_path / n for n in ("c.safetensors", "1.png", "2.png"))
    assert command("--checkpoint", file, "--out", one) == 0
    stamp = file.stat().st_mtime_ns
    assert command("--checkpoint", file, "--out", two) == 0
    assert file.stat().st_mtime_ns == stamp
    assert one.read_bytes() == two.read_bytes()
    assert "trained 4 steps" in capsys.readouterr().out
    assert command("--checkpoint", file, "--restart", "--seed", 1) == 0
    assert file.stat().st_mtime_ns != stamp


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--steps", "5"], "steps = 4 there and 5 here"),
        (["--path", "cosine"], "path = 'vp' there and 'cosine' here"),
        (["--predicts", "v"], "predicts = 'eps' there and 'v' here"),
        (["--data", "moons"], "another network"),
        (["--width", "9"], "another network"),
        (["--net", "unet"], "it is a MLP, and this is a UNet"),
    ],
)
def test_another_run_does_not_touch_the_checkpoint(tmp_path, capsys, change, message):
    file = tmp_path / "c.safetensors"
    assert command("--checkpoint", file) == 0
    before = file.read_bytes()
    assert command("--checkpoint", file, *change) == 1
    assert message in capsys.readouterr().err
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--out", "x.jpg"], "out must end in .png or .safetensors"),
        (["--out", "no/where/x.png"], "out must lie in a folder that exists"),
        (["--data", "moons", "--net", "unet"], "net must be mlp for the points"),
        (["--batch", "0"], "batch must be at least 1"),
        (["--samples", "0"], "samples must be at least 1"),
        (["--calls", "0"], "calls must be at least 1"),
        (["--eta", "2"], "eta must lie in [0, 1]"),
        (["--guidance", "-3"], "guidance must be at least -1"),
        (["--guidance", "1", "--unconditional"], "guidance needs labels"),
        (["--steps", "0"], "steps must be at least 1"),
        (["--device", "abacus"], "device must be one that this torch has"),
        (["--drop", "2"], "drop must lie in [0, 1]"),
    ],
)
def test_mistakes_are_one_line_before_any_training(more, message, capsys, monkeypatch):
    monkeypatch.setattr("torch.optim.AdamW.step", None)  # no step can be taken
    assert command(*more) == 1
    text = capsys.readouterr().err
    assert text.startswith("error: ")
    assert message in text
    assert text.count("\n") == 1


def test_missing_torchvision_is_one_line(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    assert command("--data", "mnist") == 1
    assert "pip install torchvision" in capsys.readouterr().err


def test_ctrl_c_says_what_is_kept(capsys, monkeypatch, tmp_path):
    def interrupt(*_args, **_named):
        raise KeyboardInterrupt

    monkeypatch.setattr("torch.optim.AdamW.step", interrupt)
    assert command() == 130
    assert "nothing kept" in capsys.readouterr().err
    assert command("--checkpoint", tmp_path / "c.safetensors") == 130
    assert "goes on from the checkpoint" in capsys.readouterr().err


def test_the_picture_holds_every_pixel_in_its_place():
    images = torch.arange(12 * 2 * 3).reshape(12, 1, 2, 3) / 36 - 1
    sheet = grid(images)
    assert sheet.shape == (4, 30)
    for k in range(12):
        row, column = divmod(k, 10)
        tile = sheet[2 * row : 2 * row + 2, 3 * column : 3 * column + 3]
        torch.testing.assert_close(tile, (images[k, 0] + 1) / 2)
    assert (sheet[2:, 6:] == 0).all()
    colour = grid(torch.stack([torch.full((4, 4), v) for v in (-1.0, 0.0, 3.0)])[None])
    assert colour.shape == (4, 40, 3)
    assert colour[0, 0].tolist() == [0, 0.5, 1]
