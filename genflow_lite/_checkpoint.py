"""A checkpoint file: tensors by name and a configuration, written whole or not at all.

The file is a safetensors file, so reading it runs no code. Its metadata holds the
configuration as JSON and a digest of everything, so that a damaged file is recognised
also where its structure is sound.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

KIND = "genflow_lite checkpoint, version 1"


def write(path: Path, tensors: dict[str, Tensor], config: dict[str, Any]) -> None:
    """Write the checkpoint, or leave what was there.

    The bytes go to a file beside `path` that replaces it in one step once they are on
    the disk: a process killed at any moment leaves the old checkpoint or the new one.
    """
    from safetensors.torch import save

    tensors = {name: x.detach().cpu().contiguous() for name, x in tensors.items()}
    text = json.dumps(config, sort_keys=True)
    about = {"kind": KIND, "config": text, "sha256": _digest(tensors, text)}
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(save(tensors, about))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and configuration of a checkpoint; ValueError for any other file."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise ValueError(f"checkpoint {str(path)!r} is not a file")
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            names = list(file.keys())
            # Copies: the tensors of the library are views of the file on the disk.
            tensors = {name: file.get_tensor(name).clone() for name in names}
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"checkpoint {str(path)!r} cannot be read: it is truncated, damaged or no "
            f"safetensors file ({error}). It was left as it is; to start anew, "
            "remove it or name another file"
        ) from error
    if about.get("kind") != KIND:
        raise ValueError(
            f"checkpoint {str(path)!r} is a safetensors file, but not one that train() "
            "wrote. It was left as it is; name another file"
        )
    text = about.get("config", "")
    if about.get("sha256") != _digest(tensors, text):
        raise ValueError(
            f"checkpoint {str(path)!r} is damaged: its contents do not match its "
            "digest. It was left as it is; to start anew, remove it"
        )
    return tensors, json.loads(text)


def check_replaceable(path: Path) -> None:
    """ValueError for a file that is no checkpoint: nobody meant that one."""
    read(path)


def part(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """The tensors called ``name.…``, under the rest of their names."""
    start = name + "."
    chosen = ((key, value) for key, value in tensors.items() if key.startswith(start))
    return {key.removeprefix(start): value for key, value in chosen}


def _digest(tensors: dict[str, Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        x = tensors[name]
        digest.update(f"{name} {x.dtype} {tuple(x.shape)}\n".encode())
        digest.update(x.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def architecture(net: nn.Module) -> dict[str, Any]:
    """What two networks must share for one to take the other's weights."""
    shapes = {name: list(x.shape) for name, x in net.state_dict().items()}
    return {"class": type(net).__name__, "tensors": shapes}


def check_architecture(path: Path, config: dict[str, Any], net: nn.Module) -> None:
    """ValueError, naming the first difference, unless the weights fit `net`."""
    there, here = config["network"], architecture(net)
    if there == here:
        return
    difference = f"it is a {there['class']}, and this is a {here['class']}"
    if there["class"] == here["class"]:
        names = [*here["tensors"], *there["tensors"]]
        shapes = ((n, there["tensors"].get(n), here["tensors"].get(n)) for n in names)
        name, then, now = next((n, a, b) for n, a, b in shapes if a != b)
        difference = f"{name} has shape {_shape(then)} there and {_shape(now)} here"
    raise ValueError(
        f"checkpoint {str(path)!r} holds another network: {difference}. "
        "Nothing was changed; make the same network, or name another file"
    )


def _shape(shape: list[int] | None) -> str:
    return "none" if shape is None else str(tuple(shape))


def check_settings(path: Path, there: dict[str, Any], here: dict[str, Any]) -> None:
    """ValueError, naming them, where settings differ from those of the checkpoint."""
    here = json.loads(json.dumps(here))
    names = [name for name in {**there, **here} if there.get(name) != here.get(name)]
    if names:
        found = ", ".join(
            f"{name} = {there.get(name)!r} there and {here.get(name)!r} here"
            for name in names
        )
        raise ValueError(
            f"checkpoint {str(path)!r} is of a run with other settings: {found}. "
            "Nothing was changed; give the same settings, name another file, or start "
            "anew with resume=False"
        )
