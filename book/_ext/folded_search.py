"""Let the site's search find "Itô" when the reader types "ito".

Sphinx's index holds the words as they are written. Here every word with an accent is
indexed a second time without it, so that both spellings lead to the page.
"""

from __future__ import annotations

import unicodedata
from typing import Any

from sphinx.application import Sphinx
from sphinx.search.en import SearchEnglish


def fold(word: str) -> str:
    """``word`` without its accents: "Itô" becomes "Ito", "Hölder" becomes "Holder"."""
    parts = unicodedata.normalize("NFKD", word)
    return "".join(part for part in parts if not unicodedata.combining(part))


class FoldedEnglish(SearchEnglish):
    """English, with accented words indexed under both spellings."""

    def split(self, input: str) -> list[str]:  # noqa: A002  (the base class's name)
        """The words of ``input``, and the unaccented form of each accented one."""
        words = super().split(input)
        return words + [plain for word in words if (plain := fold(word)) != word]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.add_search_language(FoldedEnglish)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
