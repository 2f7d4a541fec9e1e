"""Chapters keep the numbers of the finished book while some are not written yet.

Sphinx numbers the chapters that are there: one, two, three. With chapter 4 still to
come, chapter 5 would be called 4, its equations (4.1), and all would change when the
missing chapter arrives, while captions and citations say 5. So `_config.yml` names
the chapters after a gap:

    chapter_numbers:
      book/tweedie: 5

A chapter that is not named has the number that Sphinx gives it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.environment.collectors.toctree import TocTreeCollector
from sphinx.errors import ConfigError

# Jupyter Book's own collector, which takes the place of Sphinx's.
from sphinx_external_toc.collectors import TocTreeCollectorWithStyles as Collector

Assign = Callable[..., list[str]]


def renumber(env: BuildEnvironment, doc: str, chapter: int) -> None:
    """Give a document, its sections and its title the chapter's number."""
    numbers = env.toc_secnumbers.get(doc)
    if not numbers:
        raise ConfigError(
            f"chapter_numbers names {doc}, which is no numbered chapter of _toc.yml"
        )
    for anchor, number in numbers.items():
        if number is not None:
            numbers[anchor] = (chapter, *number[1:])
    places: list[Any] = [*env.tocs[doc].findall(nodes.reference), env.titles[doc]]
    for node in places:
        if node.get("secnumber"):
            node["secnumber"] = [chapter, *node["secnumber"][1:]]


def with_gaps(assign: Assign) -> Assign:
    """The numbering of sections, followed by that of the chapters after a gap."""

    def assign_section_numbers(
        self: TocTreeCollector, env: BuildEnvironment
    ) -> list[str]:
        before = env.toc_secnumbers
        assign(self, env)
        wanted: dict[str, int] = env.config.chapter_numbers
        for doc, chapter in wanted.items():
            renumber(env, doc, chapter)
        after = env.toc_secnumbers
        first = [next(iter(n.values())) for n in after.values() if n]
        chapters = [number[0] for number in first if number]
        if len(set(chapters)) < len(chapters):
            raise ConfigError(f"chapter_numbers gives a number twice: {chapters}")
        return [doc for doc, numbers in after.items() if numbers != before.get(doc)]

    return assign_section_numbers


def patch(app: Sphinx) -> None:
    """Wrap whatever numbers the sections, once the other extensions are loaded."""
    assign = Collector.assign_section_numbers
    if not getattr(assign, "with_gaps", False):
        wrapped = with_gaps(assign)
        wrapped.with_gaps = True  # type: ignore[attr-defined]
        Collector.assign_section_numbers = wrapped


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.add_config_value("chapter_numbers", {}, "env", [dict])
    app.connect("builder-inited", patch)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
