"""Run the book's notebooks in place and store them in clean form.

    python tools/execute.py                      every notebook under book/
    python tools/execute.py book/wiener.ipynb    one of them
    python tools/execute.py --clean PATH         tidy the stored form, run nothing

A notebook is replaced only when every one of its cells has run; one that fails
keeps its old stored outputs and the failure is shown. The stored form holds no
time stamps, no widget state and nothing that names the machine.
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import re
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from PIL import Image, ImageChops, ImageStat

ROOT = Path(__file__).resolve().parents[1]
BOOK = ROOT / "book"

# What the kernel must see so that it prints the same text on every machine.
KERNEL_ENV = {
    "GENFLOW_STATIC": "1",
    "MKL_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "TQDM_DISABLE": "1",
}
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
METADATA = {
    "kernelspec": {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    },
    "language_info": {
        "file_extension": ".py",
        "mimetype": "text/x-python",
        "name": "python",
        "pygments_lexer": "ipython3",
    },
}
VISIBLE = 1.0  # of 255, root mean square over the pixels
ANSI = re.compile(r"\x1b\[[0-9;]*m")
FAILURES = (CellExecutionError, CellTimeoutError, DeadKernelError)


def clean(notebook: NotebookNode) -> NotebookNode:
    """Bring the stored form to its one canonical shape, in place."""
    notebook.metadata.pop("widgets", None)
    notebook.metadata.update(nbformat.from_dict(METADATA))
    for cell in notebook.cells:
        for key in ("execution", "collapsed", "ExecuteTime", "trusted"):
            cell.metadata.pop(key, None)
        if cell.cell_type != "code":
            continue
        _close_in_lab(cell)
        for output in cell.outputs:
            _clean_output(output)
    return notebook


def _close_in_lab(cell: NotebookNode) -> None:
    """What the site shows on request, JupyterLab does: it goes by other metadata."""
    tags = set(cell.metadata.get("tags", ()))
    cell.metadata.pop("jupyter", None)
    if tags & {"hide-input", "hide-cell"}:
        closed = {"source_hidden": True}
        if "hide-cell" in tags:
            closed["outputs_hidden"] = True
        cell.metadata["jupyter"] = closed


def _clean_output(output: dict[str, Any]) -> None:
    """Drop the widget view, transient data and empty metadata of one output."""
    output.pop("transient", None)
    data = output.get("data")
    if data is not None and len(data) > 1:
        data.pop(WIDGET_VIEW, None)
    if data is not None and isinstance(data.get("image/png"), str):
        data["image/png"] = shrink(data["image/png"])
    if "metadata" in output:
        output["metadata"].pop(WIDGET_VIEW, None)


def shrink(encoded: str) -> str:
    """A base64 PNG in fewer bytes and without the name of what drew it.

    Opaque pictures lose their alpha channel, and are kept in 256 colours where the
    root mean square change is below what an eye can tell.
    """
    image = Image.open(io.BytesIO(base64.b64decode(encoded)))
    image.load()
    if image.mode == "RGBA" and image.getchannel("A").getextrema() == (255, 255):
        image = image.convert("RGB")
    if image.mode == "RGB":
        fewer = image.quantize(
            256,
            method=Image.Quantize.MEDIANCUT,
            kmeans=4,
            dither=Image.Dither.NONE,
        )
        change = ImageChops.difference(image, fewer.convert("RGB"))
        if max(ImageStat.Stat(change).rms) <= VISIBLE:
            image = fewer
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    small = base64.b64encode(buffer.getvalue()).decode("ascii")
    return small if len(small) < len(encoded) else encoded


def write(notebook: NotebookNode, path: Path) -> None:
    """Write ``notebook`` to ``path`` in one step: all of it or nothing."""
    nbformat.validate(notebook)
    text = nbformat.writes(notebook).rstrip("\n") + "\n"
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        temporary.chmod(path.stat().st_mode if path.exists() else 0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


class _Progress:
    """One status line that is rewritten on a terminal and silent elsewhere."""

    def __init__(self, name: str, total: int) -> None:
        self.name, self.total = name, total
        self.live = sys.stderr.isatty()
        self.start = time.perf_counter()

    def __call__(self, *, cell_index: int, **_: Any) -> None:
        if self.live:
            elapsed = time.perf_counter() - self.start
            line = f"\r{self.name:24} cell {cell_index + 1:3}/{self.total}"
            print(f"{line}  {elapsed:5.1f} s", end="", file=sys.stderr, flush=True)

    def done(self) -> float:
        """Clear the line; seconds since the start."""
        if self.live:
            print("\r" + " " * 60 + "\r", end="", file=sys.stderr, flush=True)
        return time.perf_counter() - self.start


def run(path: Path, timeout: float) -> tuple[Path, float, str]:
    """Execute one notebook. Returns its path, the seconds and an error or ''."""
    os.environ.update(KERNEL_ENV)
    notebook = nbformat.read(path, as_version=4)
    progress = _Progress(path.name, len(notebook.cells))
    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        store_widget_state=False,
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.on_cell_start = progress
    try:
        client.execute()
    except FAILURES as error:
        return path, progress.done(), ANSI.sub("", str(error)).strip()
    write(clean(notebook), path)
    return path, progress.done(), ""


def find(names: list[str]) -> list[Path]:
    """The notebooks that ``names`` mean: files, folders, or all of the book."""
    if not names:
        return sorted(BOOK.rglob("*.ipynb"))
    found: list[Path] = []
    for name in names:
        path = Path(name).resolve()
        if path.is_dir():
            found += sorted(path.rglob("*.ipynb"))
        elif path.suffix == ".ipynb" and path.is_file():
            found.append(path)
        else:
            raise SystemExit(f"execute: no notebook at {name}")
    return [p for p in found if ".ipynb_checkpoints" not in p.parts]


def report(path: Path, seconds: float, error: str) -> None:
    """One line for a notebook, and its error if it has one."""
    size = path.stat().st_size / 1024
    verdict = "FAILED, old outputs kept" if error else f"{size:5.0f} KB"
    print(f"{path.name:28} {seconds:6.1f} s  {verdict}", flush=True)
    if error:
        print(error, file=sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> int:
    """The command line; 0 when every notebook ran."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("paths", nargs="*", help="notebooks or folders")
    parser.add_argument("--jobs", type=int, default=1, help="notebooks at a time")
    parser.add_argument("--timeout", type=float, default=180.0, help="seconds a cell")
    parser.add_argument("--clean", action="store_true", help="tidy, do not run")
    options = parser.parse_args(argv)
    if options.jobs < 1:
        parser.error(f"--jobs must be at least 1, got {options.jobs}")
    paths = find(options.paths)
    if not paths:
        print("execute: there are no notebooks yet")
        return 0
    if options.clean:
        for path in paths:
            write(clean(nbformat.read(path, as_version=4)), path)
        return 0
    failed = 0
    if options.jobs == 1:
        for path in paths:
            result = run(path, options.timeout)
            report(*result)
            failed += bool(result[2])
        return int(failed > 0)
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(run, path, options.timeout) for path in paths]
        for future in futures:
            result = future.result()
            report(*result)
            failed += bool(result[2])
    return int(failed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
