"""Build the site and say where to open it.

    python tools/site.py          rebuild what changed
    python tools/site.py --all    rebuild everything (what the tests do)

Every warning is an error: a broken reference, an unchecked claim, a page that would
contact another host.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
INDEX = Path("_build/html/index.html")
LOG = Path("_build/build.log")


def build(everything: bool, quiet: bool) -> int:
    """Run Jupyter Book over the whole book; its exit status."""
    command = [sys.executable, "-m", "jupyter_book.cli.main", "build", "."]
    command += ["-W", "-n", "--keep-going", "-q"]
    if everything:
        command.append("--all")
    if not quiet:
        return subprocess.call(command, cwd=ROOT)
    LOG_PATH = ROOT / LOG
    LOG_PATH.parent.mkdir(exist_ok=True)
    with LOG_PATH.open("w", encoding="utf-8") as log:
        status = subprocess.call(command, cwd=ROOT, stdout=log, stderr=log)
    if status:
        print(LOG_PATH.read_text(encoding="utf-8"), file=sys.stderr)
    return status


def main() -> int:
    """The command line; 0 when the site was built without a warning."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--all", action="store_true", help="rebuild every page")
    options = parser.parse_args()
    start = time.perf_counter()
    print("Building the site ...", flush=True)
    status = build(options.all, quiet=True)
    seconds = time.perf_counter() - start
    if status:
        print("The site was NOT built cleanly; see above.", file=sys.stderr)
        return status
    print(f"Built in {seconds:.0f} s. Open {INDEX} in a browser, or run `make serve`.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
