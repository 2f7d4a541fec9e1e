"""The shape of the code: short modules, no circles, names taken where they live.

What is read here is the source; nothing is imported.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LINES = 250
PACKAGES = ("genflow_lite", "cuda_labs")
FOLDERS = (*PACKAGES, "benchmarks", "tools", "book/_ext")
# Public modules that give on names of a public one beside them: the chapters and the
# tests take a launch from its operations, and a kernel of attention from `flash`.
FACES = {
    "cuda_labs.flash": "cuda_labs.flash_launches",
    "cuda_labs.operations": "cuda_labs.plans",
}


def name_of(path: Path) -> str:
    """The module's name as it is imported; scripts lie on the path themselves."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[0] not in PACKAGES:
        return parts[-1]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PATHS = {
    name_of(path): path
    for folder in FOLDERS
    for path in sorted((ROOT / folder).rglob("*.py"))
}
TREES = {name: ast.parse(path.read_text("utf-8")) for name, path in PATHS.items()}
MODULES = sorted(name for name in PATHS if name.startswith(PACKAGES))


def is_face(name: str) -> bool:
    return PATHS[name].name == "__init__.py"


def at_import(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """What runs when a module is imported: no functions, no `if TYPE_CHECKING`."""
    for node in body:
        yield node
        if isinstance(node, ast.Try):
            for handler in node.handlers:
                yield from at_import(handler.body)
            yield from at_import(node.body + node.orelse + node.finalbody)
        elif isinstance(node, ast.With | ast.ClassDef):
            yield from at_import(node.body)
        elif isinstance(node, ast.If):
            test = ast.unparse(node.test)
            if test not in ("TYPE_CHECKING", "__name__ == '__main__'"):
                yield from at_import(node.body)
            yield from at_import(node.orelse)


def taken(nodes: Iterator[ast.AST]) -> Iterator[tuple[str, str]]:
    """(module, name) for each import of the project's own; name "" for all of it."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((a.name, "") for a in node.names if a.name in PATHS)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where a name lives"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                if whole in PATHS:
                    yield whole, ""
                elif node.module in PATHS:
                    yield node.module, alias.name


def bound(name: str) -> dict[str, str]:
    """The names at the top of a module, each with the module it comes from."""
    found: dict[str, str] = {}
    for node in at_import(TREES[name].body):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                for leaf in ast.walk(target):
                    if isinstance(leaf, ast.Name):
                        found[leaf.id] = name
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                found[alias.asname or alias.name] = node.module or ""
    return found


def used(name: str) -> Iterator[tuple[str, str]]:
    """(module, name) for each name that a module takes from one of ours."""
    modules: dict[str, str] = {}
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if f"{node.module}.{alias.name}" in PATHS:
                    modules[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Attribute):
            module = modules.get(ast.unparse(node.value))
            if module:
                yield module, node.attr
    yield from (pair for pair in taken(ast.walk(TREES[name])) if pair[1])


def listed(name: str) -> set[str]:
    """A module's `__all__`."""
    for node in TREES[name].body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    return set()


def order(edges: dict[str, set[str]]) -> list[str]:
    """An order in which everything comes after what it imports."""
    try:
        return list(TopologicalSorter(edges).static_order())
    except CycleError as error:
        raise AssertionError(" imports ".join(reversed(error.args[1]))) from None


def test_modules_are_short() -> None:
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text("utf-8").splitlines())
        for path in PATHS.values()
    }
    assert {name: n for name, n in lengths.items() if n > LINES} == {}


def test_modules_do_not_import_in_circles() -> None:
    edges = {
        name: {module for module, _ in taken(at_import(tree.body))} - {name}
        for name, tree in TREES.items()
    }
    assert len(order(edges)) == len(PATHS)
    with pytest.raises(AssertionError, match=r"[ab] imports [ab] imports [ab]"):
        order({"a": {"b"}, "b": {"a"}, "c": set()})


@pytest.mark.parametrize("name", MODULES)
def test_a_name_is_taken_where_it_lives(name: str) -> None:
    """Or from a module that lists it in `__all__`, its face."""
    for module, wanted in used(name):
        if not is_face(module):
            home = bound(module).get(wanted, "a place that is not at its top")
            assert home == module or wanted in listed(module), (
                f"{name} takes {wanted} from {module}, which has it from {home}"
            )


@pytest.mark.parametrize("name", MODULES)
def test_only_faces_give_names_on(name: str) -> None:
    """A package's face gives on its modules' names, a public module those of the
    private ones beside it, and no private module any."""
    if is_face(name):
        return
    own, names = name.rsplit(".", 1)[0], bound(name)
    assert listed(name) <= set(names)
    for public in listed(name):
        home = names[public]
        beside, _, last = home.rpartition(".")
        private = beside == own and last.startswith("_")
        assert home == name or private or FACES.get(name) == home, (
            f"{name} gives on {public} of {home}"
        )
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.ImportFrom):
            assert all(alias.asname != alias.name for alias in node.names)
            assert all(alias.name != "*" for alias in node.names)


@pytest.mark.parametrize("name", MODULES)
def test_the_packages_stand_alone(name: str) -> None:
    """Neither package imports the other, nor a script or the book's extensions."""
    own = name.split(".")[0]
    others = {module for module, _ in taken(ast.walk(TREES[name]))}
    assert {module.split(".")[0] for module in others} <= {own}
