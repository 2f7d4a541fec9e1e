"""The notebook test notices what matters and nothing else.

A small chapter is run once and stored. Then its stored outputs are altered, one at a
time, in a copy of the tree that plain `pytest --nbval book/` is called in: a changed
measured error must pass, a changed verdict, bound, mistake or caption must not.
"""

from __future__ import annotations

import copy
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import v4

ROOT = Path(__file__).resolve().parents[1]

CELLS = {
    "close": """
import torch
from genflow_lite import verify
verify.close("eq-double", lambda x: (2 * x).sin(), lambda x: 2 * x.sin() * x.cos(),
             inputs=lambda g: (torch.randn(5, generator=g, dtype=torch.float64),),
             rtol=1e-12, rejects={"2 dropped": lambda x: x.sin() * x.cos(),
                                  "cosine": lambda x: x.cos()})
""",
    "sampled": """
verify.sampled("eq-mean", lambda: 0.0,
               lambda g: verify.mean(torch.randn(9000, generator=g)),
               rejects={"one": lambda: 1.0})
""",
    "order": """
verify.order("eq-order", 1, lambda h: h + h**2, steps=[.1, .05, .025],
             rejects={"second": lambda h: h**2})
""",
    "symbolic": """
import sympy as sp
x = sp.Symbol("x")
verify.symbolic("eq-square", (x + 1) ** 2, x**2 + 2 * x + 1,
                rejects={"middle": x**2 + 1})
""",
    "exercise": """
cases = verify.cases(lambda g: (2.0,), lambda x: x * x)
verify.exercise("ex-square", lambda x: None, cases)
""",
    "figure": """
from IPython.display import display
display({"text/plain": "explorer", "text/html":
         '<figure class="lx" data-lx="QUJD"><img alt="a line" '
         'src="data:image/png;base64,AAAA"><figcaption>See it.</figcaption></figure>'},
        raw=True)
""",
    "network": """
import socket
other = ("192.0.2.1", 80)
for use in (lambda: socket.create_connection(other, timeout=1),
            lambda: socket.getaddrinfo("example.org", 80),
            lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"", other)):
    try:
        use()
        print("reached")
    except OSError as error:
        print(error)
""",
    "environment": """
import os, sys
print({k: os.environ.get(k) for k in ("GENFLOW_STATIC", "TQDM_DISABLE",
       "OMP_NUM_THREADS", "PYTHONHASHSEED")})
print(object())
""",
}


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """The notebook, run as `make execute` runs one."""
    names = [*CELLS, *(change.cell for change in ALTERATIONS.values())]
    notebook = v4.new_notebook(
        cells=[v4.new_code_cell(CELLS[name].strip()) for name in names]
    )
    settings = {
        "GENFLOW_STATIC": "1",
        "TQDM_DISABLE": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": os.pathsep.join([str(ROOT / "tests" / "no_network"), str(ROOT)]),
    }
    folder = tmp_path_factory.mktemp("run")
    NotebookClient(
        notebook,
        timeout=120,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    ).execute(env=os.environ | settings)
    return notebook


@dataclass
class Alteration:
    """A stored text that is replaced, in one cell, and whether that must be noticed."""

    cell: str
    pattern: str
    replacement: str
    noticed: bool


ALTERATIONS = {
    "measured error": Alteration(
        "close", r"error (?:<[^>]*>)?\K[\d.e-]+", "7.7e-14", False
    ),
    "measured error, exact": Alteration(
        "close", r"error (?:<[^>]*>)?\K[\d.e-]+", "0", False
    ),
    "measured z": Alteration("sampled", r"z = (?:<[^>]*>)?\K[\d.]+", "3.9", False),
    "measured slope": Alteration("order", r"slope (?:<[^>]*>)?\K[\d.]+", "0.97", False),
    "payload": Alteration("figure", "QUJD", "RUZH", False),
    "picture": Alteration("figure", "AAAA", "BBBB", False),
    "address": Alteration("environment", r"0x[0-9a-f]+", "0x7f0123456789", False),
    "verdict": Alteration("close", "✓", "✗", True),
    "verdict in the record": Alteration(
        "close", "&quot;pass&quot;", "&quot;fail&quot;", True
    ),
    "label": Alteration("close", "eq-double", "eq-triple", True),
    "tolerance": Alteration("close", "≤ 1e-12", "≤ 1e-2", True),
    "a mistake removed": Alteration(
        "close", "(, |; |, &quot;)cosine(&quot;)?", "", True
    ),
    "number of standard errors": Alteration("sampled", "≤ 4", "≤ 5", True),
    "claimed order": Alteration("order", "= 1 ±", "= 2 ±", True),
    "counterexample": Alteration("symbolic", "instead of", "in place of", True),
    "exercise": Alteration("exercise", "not yet", "✓", True),
    "caption": Alteration("figure", "See it", "See this", True),
    "alt text": Alteration("figure", "a line", "a curve", True),
    "network": Alteration("network", "no network", "reached", True),
}


def place_of(name):
    """The altered copy's place, after one cell of each sort that stays as it was."""
    return len(CELLS) + list(ALTERATIONS).index(name)


def alter(cell, change):
    count = 0
    for output in cell.outputs:
        for holder in (output, output.get("data", {})):
            for key in ("text", "text/plain", "text/html"):
                if key in holder:
                    head, keep, tail = change.pattern.partition(r"\K")
                    pattern = f"({head})(?:{tail})" if keep else f"()(?:{head})"
                    holder[key], found = re.subn(
                        pattern,
                        lambda match: match.group(1) + change.replacement,
                        holder[key],
                    )
                    count += found
    assert count, "the alteration changed nothing"


@pytest.fixture(scope="module")
def verdicts(stored, tmp_path_factory):
    """One pytest run over the altered notebook, called from another folder."""
    changed = copy.deepcopy(stored)
    for name, change in ALTERATIONS.items():
        alter(changed.cells[place_of(name)], change)
    clone = tmp_path_factory.mktemp("clone")
    (clone / "book").mkdir()
    (clone / "tests").mkdir()
    for name in ("conftest.py", "pyproject.toml"):
        shutil.copy(ROOT / name, clone)
    shutil.copy(ROOT / "tests" / "nbval_sanitize.cfg", clone / "tests")
    shutil.copytree(ROOT / "tests" / "no_network", clone / "tests" / "no_network")
    nbformat.write(changed, clone / "book" / "altered.ipynb")
    run = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "--nbval", "-q", "-rA", "--tb=short"),
            *("--color=no", "-p", "no:cacheprovider", str(clone / "book")),
        ],
        cwd=tmp_path_factory.mktemp("elsewhere"),
        env={k: v for k, v in os.environ.items() if k != "GENFLOW_STATIC"}
        | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    results = re.findall(r"^(PASSED|FAILED) \S*::Cell (\d+)", run.stdout, re.MULTILINE)
    assert len(results) == len(stored.cells), run.stdout + run.stderr
    return {int(cell): result == "FAILED" for result, cell in results}, run.stdout


@pytest.mark.parametrize("name", ALTERATIONS)
def test_an_alteration_is_noticed_exactly_where_it_matters(verdicts, name):
    noticed, output = verdicts
    assert noticed[place_of(name)] == ALTERATIONS[name].noticed, output


@pytest.mark.parametrize("kind", CELLS)
def test_what_is_not_altered_passes(verdicts, kind):
    noticed, output = verdicts
    assert not noticed[list(CELLS).index(kind)], output


def test_the_kernel_reaches_no_other_host(stored):
    (output,) = stored.cells[list(CELLS).index("network")].outputs
    assert output.text.count("no network while the book runs") == 3
    assert "reached" not in output.text
