"""A training run that is stopped and goes on, and files that are not its checkpoint."""

import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from small_runs import Line, points, run, same, small

from genflow_lite.train import restore

# Interruption


class Stop(KeyboardInterrupt):
    """Ctrl-C, at a chosen place."""


def stopping(batches, at):
    """The batches, until the run has asked for `at` of them in this process."""
    count = 0

    def draw(generator):
        nonlocal count
        count += 1
        if count > at:
            raise Stop
        return batches(generator)

    return draw


@pytest.mark.parametrize("at", [3, 4, 7, 11])
def test_a_stopped_run_goes_on_to_the_bit(tmp_path, at):
    whole = run(small(seed=1), dropout(points), checkpoint=None)
    file = tmp_path / "run.safetensors"
    with pytest.raises(Stop):
        run(small(seed=1), stopping(dropout(points), at), checkpoint=file, every=3)
    saved = load_file(file)
    assert len(saved["losses"]) == at // 3 * 3  # at most one interval is lost
    net = small(seed=2)  # whatever the network was: the checkpoint decides
    resumed = run(net, dropout(points), checkpoint=file, every=3)
    assert same(resumed.net.state_dict(), whole.net.state_dict())
    assert torch.equal(resumed.losses, whole.losses)


def dropout(batches):
    """Batches that draw from torch's global generator too, as dropout does."""
    return lambda generator: batches(generator) * (torch.rand(32, 2) + 0.5)


def test_dropout_differs_from_step_to_step():
    seen = []

    def draw(generator):
        seen.append(torch.rand(3))
        return points(generator)

    run(batches=draw)
    run(batches=draw, seed=1)
    assert len({tuple(row.tolist()) for row in seen}) == 24


def test_a_run_does_not_lean_on_the_file_it_came_from(half):
    saved = half.read_bytes()

    def draw(generator):
        half.write_bytes(bytes(len(saved)))  # in place, under the same name
        return points(generator)

    resumed = run(batches=draw, checkpoint=half, every=4)
    assert torch.equal(resumed.losses, run().losses)


def test_an_iterator_is_wound_forward(tmp_path):
    def stream():
        generator = torch.Generator().manual_seed(9)
        while True:
            yield points(generator)

    whole = run(batches=stream())
    file = tmp_path / "run.safetensors"
    source = stream()
    with pytest.raises(Stop):
        run(batches=stopping(lambda g: next(source), 8), checkpoint=file, every=4)
    resumed = run(batches=stream(), checkpoint=file, every=4)
    assert torch.equal(resumed.losses, whole.losses)


def test_a_complete_run_is_not_run_again(tmp_path):
    file = tmp_path / "run.safetensors"
    whole = run(checkpoint=file)
    stamp = file.stat().st_mtime_ns
    again = run(batches=stopping(points, 0), checkpoint=file)
    assert same(again.net.state_dict(), whole.net.state_dict())
    assert torch.equal(again.losses, whole.losses)
    assert file.stat().st_mtime_ns == stamp


def test_resume_false_starts_anew(tmp_path):
    file = tmp_path / "run.safetensors"
    run(checkpoint=file)
    other = run(seed=7, checkpoint=file, resume=False)
    assert torch.equal(other.losses, run(seed=7).losses)
    assert torch.equal(load_file(file)["losses"], other.losses)


def test_restore_gives_the_averaged_network(tmp_path):
    file = tmp_path / "run.safetensors"
    trained = run(checkpoint=file)
    net = small(seed=3)
    assert restore(net, file) is net
    assert same(net.state_dict(), trained.net.state_dict())
    assert not net.training


KILLED = """
import sys, torch
sys.path.insert(0, {tests!r})
from small_runs import points, run, small
torch.set_num_threads(1)
run(small(width=64), steps=100_000, checkpoint={file!r}, every=2)
"""


def test_a_killed_process_leaves_a_whole_checkpoint(tmp_path):
    file = tmp_path / "run.safetensors"
    code = KILLED.format(tests=str(Path(__file__).parent), file=str(file))
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        deadline = time.monotonic() + 120
        while not file.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.05)
        process.kill()
        process.wait(60)
    finally:
        process.kill()
    saved = load_file(file)
    assert len(saved["losses"]) % 2 == 0
    with pytest.raises(ValueError, match="steps = 100000 there and 12 here"):
        run(small(width=64), checkpoint=file)  # it could be read, so it is whole


def test_a_failure_while_writing_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    file = tmp_path / "run.safetensors"
    with pytest.raises(Stop):
        run(batches=stopping(points, 5), checkpoint=file, every=4)
    old = file.read_bytes()

    def fail(descriptor):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space left"):
        run(checkpoint=file, every=4)
    assert file.read_bytes() == old
    monkeypatch.undo()
    assert torch.equal(run(checkpoint=file, every=4).losses, run().losses)


# Files that are not this run's checkpoint: an error, and nothing is overwritten


@pytest.fixture
def half(tmp_path):
    """A checkpoint after 8 of 12 steps."""
    file = tmp_path / "run.safetensors"
    with pytest.raises(Stop):
        run(batches=stopping(points, 8), checkpoint=file, every=4)
    return file


def refused(file, match, **more):
    """The run is refused with this message; file and network stay as they were."""
    before, net = file.read_bytes(), more.pop("net", None) or small()
    weights = {k: v.clone() for k, v in net.state_dict().items()}
    with pytest.raises(ValueError, match=match):
        run(net, checkpoint=file, **more)
    assert file.read_bytes() == before
    assert same(net.state_dict(), weights)
    assert sorted(p.name for p in file.parent.iterdir()) == [file.name]


def test_another_architecture_is_refused(half):
    match = r"another network: \S+ has shape \(16, 32\) there and \(18, 32\) here"
    refused(half, match, net=small(9))
    refused(half, "label.weight has shape none there", net=small(classes=2))
    refused(half, "it is a MLP, and this is a Line", net=Line())
    with pytest.raises(ValueError, match="another network"):
        restore(small(9), half)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 13}, "steps = 12 there and 13 here"),
        ({"lr": 0.1}, "lr = 0.002 there and 0.1 here"),
        ({"seed": 1}, "seed = 0 there and 1 here"),
        ({"ema": 0.5}, "ema = 0.995 there"),
        ({"clip": math.inf}, "clip = 1.0 there and inf here"),
        ({"warmup": 3}, "warmup = 1 there and 3 here"),
        ({"about": {"path": "vp"}}, "path = None there and 'vp' here"),
    ],
)
def test_other_settings_are_refused(half, change, message):
    refused(half, message, **change)


@given(st.floats(0, 1, exclude_max=True))
def test_a_truncated_checkpoint_is_refused(tmp_path_factory, share):
    file = tmp_path_factory.mktemp("cut") / "run.safetensors"
    if not WHOLE:
        run(checkpoint=file)
        WHOLE.append(file.read_bytes())
    file.write_bytes(WHOLE[0][: int(share * len(WHOLE[0]))])
    refused(file, "truncated, damaged or no safetensors file")


WHOLE: list[bytes] = []


@given(st.data())
def test_a_changed_byte_is_noticed(tmp_path_factory, data):
    file = tmp_path_factory.mktemp("bad") / "run.safetensors"
    if not WHOLE:
        run(checkpoint=file)
        WHOLE.append(file.read_bytes())
    damaged = bytearray(WHOLE[0])
    # Anywhere in the tensors, which lie behind the header.
    start = 8 + int.from_bytes(damaged[:8], "little")
    place = data.draw(st.integers(start, len(damaged) - 1))
    damaged[place] ^= data.draw(st.integers(1, 255))
    file.write_bytes(damaged)
    refused(file, "its contents do not match its digest")


def test_files_of_another_kind_are_refused(tmp_path):
    file = tmp_path / "run.safetensors"
    file.write_text("my only copy of the thesis")
    refused(file, "no safetensors file")
    refused(file, "no safetensors file", resume=False)
    save_file({"x": torch.zeros(3)}, file)
    refused(file, "not one that train")
    refused(file, "not one that train", resume=False)
    with pytest.raises(ValueError, match="is not a file"):
        restore(small(), tmp_path / "missing.safetensors")


def test_places_that_cannot_hold_a_checkpoint(tmp_path):
    with pytest.raises(ValueError, match="is a folder"):
        run(checkpoint=tmp_path)
    with pytest.raises(ValueError, match="folder that exists"):
        run(checkpoint=tmp_path / "no" / "run.safetensors")
