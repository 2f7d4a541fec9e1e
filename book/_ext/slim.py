"""Make the pages light: only the icons that are used, no markup without a style.

The theme brings 1,900 icons three times over (a script, a style sheet and a font),
which is more than all the text of a chapter. The book uses about twenty of them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from fontTools import subset
from fontTools.ttLib import TTFont
from sphinx.application import Sphinx

# Names, operators and white space have the colour of the text around them.
LISTING = re.compile(r'<div class="highlight"><pre>.*?</pre>', re.DOTALL)
PLAIN = re.compile(r'<span class="(?:n|nn|nx|p|o|w)">([^<]*)</span>')

ICON_RULE = re.compile(
    r"((?:\.fa-[a-z0-9-]+(?:::?before)?,?)+)"
    r'\{((?:(?:--fa|--fa--fa|content):"[^"]*";?)+)\}'
)
ICON = re.compile(r"\bfa-[a-z0-9-]+")
CODE_POINT = re.compile(r"\\(f[0-9a-f]{3}|e[0-9a-f]{3})\b")


def unwrap(
    app: Sphinx,
    pagename: str,
    templatename: str,
    context: dict[str, Any],
    doctree: object,
) -> None:
    """Take the plain tokens of a listing out of their spans."""
    if context.get("body"):
        context["body"] = LISTING.sub(
            lambda listing: PLAIN.sub(r"\1", listing.group()), context["body"]
        )


def slim(app: Sphinx, exception: Exception | None) -> None:
    """Keep only the icons that a page, a script or a style sheet asks for."""
    static = Path(app.outdir) / "_static"
    sheet = static / "styles" / "pydata-sphinx-theme.css"
    if exception is not None or app.builder.format != "html" or not sheet.exists():
        return
    # The web font draws the same icons as this script of 1.5 MB.
    (static / "scripts" / "fontawesome.js").write_text("", encoding="utf-8")
    used: set[str] = set()
    for pattern in ("*.html", "_static/*.js", "_static/scripts/*.js"):
        for path in Path(app.outdir).rglob(pattern):
            used.update(ICON.findall(path.read_text(encoding="utf-8")))

    def keep(rule: re.Match[str]) -> str:
        return rule.group() if used & set(ICON.findall(rule.group(1))) else ""

    text = ICON_RULE.sub(keep, sheet.read_text(encoding="utf-8"))
    sheet.write_text(text, encoding="utf-8")
    # Other style sheets of the site draw icons by their code.
    sheets = [path.read_text(encoding="utf-8") for path in static.rglob("*.css")]
    points = {int(code, 16) for one in sheets for code in CODE_POINT.findall(one)}
    for path in (static / "vendor" / "fontawesome" / "webfonts").glob("*.woff2"):
        font = path.with_suffix(".ttf")
        if font.exists():
            shrink(font, points)
            # The smaller font is stored uncompressed: point the sheet at it.
            text = re.sub(rf'url\([^)]*{path.name}\) format\("woff2"\),', "", text)
            path.unlink()
    sheet.write_text(text, encoding="utf-8")


def shrink(path: Path, points: set[int]) -> None:
    """Leave only the glyphs of ``points`` in a font."""
    font = TTFont(path)
    options = subset.Options(layout_features=[], notdef_outline=True)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=points)
    subsetter.subset(font)
    font.save(path)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.connect("html-page-context", unwrap)
    app.connect("build-finished", slim)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
