"""Build the site and say where to open it.

    python tools/build_site.py          rebuild what changed
    python tools/build_site.py --all    rebuild everything (what the tests do)

Every warning is an error: a broken reference, an unchecked claim, a page that would
contact another host.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
INDEX = Path("_build/html/index.html")
LOG = Path("_build/build.log")
CLEAN = ROOT / "_build" / ".clean"  # newer than every source after a clean build
SOURCES = ("book", "genflow_lite", "cuda_labs", "_config.yml", "_toc.yml")


def newest() -> float:
    """When the youngest source was last changed."""
    files = [ROOT / name for name in (*SOURCES, "requirements.txt")]
    for name in SOURCES:
        files += (ROOT / name).rglob("*")
    skip = {"__pycache__", ".ipynb_checkpoints"}
    return max(
        path.stat().st_mtime
        for path in files
        if path.exists() and not skip & set(path.parts)
    )


def build(everything: bool) -> int:
    """Run Jupyter Book over the whole book; its exit status. Quiet unless it fails."""
    run = "from jupyter_book.cli.main import main; main()"
    command = [sys.executable, "-c", run, "build", ".", "-W", "-n", "--keep-going"]
    if everything:
        # Sphinx's own way of rebuilding leaves pages behind that no longer belong.
        for name in ("html", ".doctrees"):
            shutil.rmtree(ROOT / "_build" / name, ignore_errors=True)
    log = ROOT / LOG
    log.parent.mkdir(exist_ok=True)
    with log.open("w", encoding="utf-8") as file:
        status = subprocess.call(command, cwd=ROOT, stdout=file, stderr=file)
    if status == 0 and not (ROOT / INDEX).exists():
        status = 1
    if status:
        print(log.read_text(encoding="utf-8"), file=sys.stderr)
    return status


def main() -> int:
    """The command line; 0 when the site was built without a warning."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--all", action="store_true", help="rebuild every page")
    options = parser.parse_args()
    start = time.perf_counter()
    where = f"Open {INDEX} in a browser, or run `make serve`."
    started = newest()
    clean = CLEAN.exists() and (ROOT / INDEX).exists()
    if clean and not options.all and CLEAN.stat().st_mtime >= started:
        print(f"Nothing has changed since the last build. {where}")
        return 0
    print("Building the site ...", flush=True)
    # After a build with warnings everything is read again: they would stay unseen.
    status = build(options.all or not clean)
    seconds = time.perf_counter() - start
    CLEAN.unlink(missing_ok=True)
    if status:
        print("The site was NOT built cleanly; see above.", file=sys.stderr)
        return status
    CLEAN.touch()
    os.utime(CLEAN, (started, started))
    print(f"Built in {seconds:.0f} s. {where}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
