"""Where a result was measured, and how it is written down: one form for all."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def version(package: str) -> str:
    """The version of a package, or that it is missing."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def about(packages: Iterable[str], **more: Any) -> dict[str, Any]:
    """When, where and with what: call it first, for the load is that before the run."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
        "load before": round(os.getloadavg()[0], 2),
        **more,
    }


def load(path: Path) -> dict[str, Any]:
    """What an earlier run wrote, or nothing."""
    return json.loads(path.read_text("utf-8")) if path.exists() else {}


def save(path: Path, result: dict[str, Any], indent: int = 2) -> None:
    """Write a result and say where."""
    path.parent.mkdir(exist_ok=True)
    text = json.dumps(result, indent=indent, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
    print(f"written to {path.relative_to(ROOT)}")
