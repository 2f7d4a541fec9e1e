"""Two processes give what one gives, by torchrun on this machine with gloo."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import team_runs
import torch
from safetensors.torch import load_file
from torch import distributed

from genflow_lite._parallel import Team

pytestmark = pytest.mark.skipif(
    not (distributed.is_available() and distributed.is_gloo_available()),
    reason="this torch has no gloo",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where two processes have left what they found."""
    folder = tmp_path_factory.mktemp("team")
    quiet = {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    if sys.platform == "linux":
        quiet["GLOO_SOCKET_IFNAME"] = "lo"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    local = ["--master-addr=127.0.0.1", f"--master-port={port}", "--nnodes=1"]
    program = [str(Path(team_runs.__file__)), str(folder)]
    done = subprocess.run(
        [*torchrun, *local, *program],
        env=os.environ | quiet,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


@pytest.fixture(scope="module")
def two(folder):
    return load_file(folder / "rank0.safetensors")


def close(one, two, names, tolerance=1e-5):
    for name in names:
        torch.testing.assert_close(
            two[name], one[name.split(".")[1]], rtol=0, atol=tolerance, msg=name
        )


def test_points_on_two_processes_are_points_on_one(two, tmp_path):
    one = team_runs.points(tmp_path, 0)
    close(one, two, ["points.net", "points.average", "points.losses"])
    # The comparison could fail: another seed is far away.
    other = team_runs.points(tmp_path, 0, seed=1)
    assert (other["average"] - one["average"]).abs().max() > 1e-2


def test_pictures_on_two_processes_are_pictures_on_one(two, tmp_path):
    one = team_runs.pictures(tmp_path, 0)
    close(one, two, ["pictures.said", "pictures.losses"])
    assert one["said"].abs().max() > 0.05


def test_both_processes_hold_the_same_network(folder, two):
    other = load_file(folder / "rank1.safetensors")
    assert two.keys() == other.keys()
    for name in ("points.net", "points.average", "points.losses", "pictures.said"):
        assert torch.equal(two[name], other[name]), name


def test_what_two_processes_began_one_finishes(folder, two, tmp_path):
    assert two["begun_together.seen"] == 15
    file = folder / "begun.safetensors"
    assert len(load_file(file)["losses"]) == 10
    resumed = team_runs.points(tmp_path, 0, checkpoint=file)
    whole = team_runs.points(tmp_path, 0)
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, rtol=0, atol=1e-5)


def test_a_team_says_what_it_needs(two):
    for name in ("mean", "one row", "other rows"):
        text = bytes(two[f"wrong.{name}"].tolist()).decode()
        assert "on 2 processes loss must return (B,)" in text, name
        assert "B at least the number of processes" in text, name


def test_the_command_runs_on_two_processes(folder, two, tmp_path):
    assert two["command.status"] == 0
    team_runs.command(tmp_path, 0)
    one = load_file(tmp_path / "samples.safetensors")
    both = load_file(folder / "samples.safetensors")
    torch.testing.assert_close(both["samples"], one["samples"], rtol=0, atol=1e-5)
    assert torch.equal(both["labels"], one["labels"])


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("count", [7, 12])
def test_shares_are_disjoint_complete_and_even(size, count):
    shares = [Team(r, size, torch.device("cpu")).rows(count) for r in range(size)]
    rows = [k for share in shares for k in range(count)[share]]
    assert rows == list(range(count))
    lengths = [len(range(count)[share]) for share in shares]
    assert max(lengths) - min(lengths) <= 1
