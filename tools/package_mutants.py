"""Every change of one sign, factor, index or comparison in genflow_lite.

Cosmic Ray's operators find the places; `tools/mutate.py` makes the changes.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

from cosmic_ray.ast import ast_nodes, get_ast_from_path
from cosmic_ray.plugins import get_operator, operator_names

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "genflow_lite"
# Signs, factors, indices, comparisons: what goes wrong in mathematics.
WANTED = (
    "core/NumberReplacer",
    "core/ReplaceBinaryOperator_Add_Sub",
    "core/ReplaceBinaryOperator_Sub_Add",
    "core/ReplaceBinaryOperator_Mul_Div",
    "core/ReplaceBinaryOperator_Div_Mul",
    "core/ReplaceBinaryOperator_Pow_Mul",
    "core/ReplaceUnaryOperator_USub_UAdd",
    "core/ReplaceComparisonOperator_Lt_LtE",
    "core/ReplaceComparisonOperator_LtE_Lt",
    "core/ReplaceComparisonOperator_Gt_GtE",
    "core/ReplaceComparisonOperator_GtE_Gt",
)
ARITHMETIC = ("term", "arith_expr", "power")
# The ledger and the figures have tests of their own kind; the mathematics is meant.
SKIPPED = ("verify", "explorer")


class Mutant(NamedTuple):
    """One change: where, of what kind, and which occurrence of it."""

    module: str
    digest: str
    operator: str
    occurrence: int
    line: int
    definition: str

    @property
    def key(self) -> str:
        """A name that stays the same while the module does."""
        return f"{self.module}:{self.digest}:{self.operator}:{self.occurrence}"


def mutants() -> list[Mutant]:
    """All changes that the chosen operators can make."""
    found: list[Mutant] = []
    names = [name for name in operator_names() if name in WANTED]
    for path in sorted(PACKAGE.rglob("*.py")):
        module = path.relative_to(ROOT).as_posix()
        if any(part in SKIPPED for part in path.parts):
            continue
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        tree = get_ast_from_path(path)
        for name in names:
            operator = get_operator(name)()
            spots = (
                (node, start)
                for node in ast_nodes(tree)
                for start, _ in operator.mutation_positions(node)
            )
            for occurrence, (node, start) in enumerate(spots):
                # The * of keyword-only parameters is no product, nor that of *args.
                if "Binary" in name and node.parent.type not in ARITHMETIC:
                    continue
                where = node.search_ancestor("funcdef", "classdef")
                label = where.name.value if where else "module"
                found.append(Mutant(module, digest, name, occurrence, start[0], label))
    return found
