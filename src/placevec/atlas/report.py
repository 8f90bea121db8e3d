"""A report as one HTML file that needs nothing else: no network, no script, no other file.

Every text is escaped, every image stands in the file, and a content security policy forbids the page to load or run
anything, so that a report can be mailed, archived and opened anywhere.
"""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from placevec.atlas import scores
from placevec.atlas.ink import count
from placevec.atlas.score_tables import escaped, match_group, rank_table, score_group
from placevec.atlas.scores import SPLIT_NOTES, SPLIT_WORDS, ScoreRow
from placevec.atlas.stylesheet import CSS
from placevec.errors import FormatError, SchemaError, UsageError
from placevec.files import write_text

PNG = b"\x89PNG\r\n\x1a\n"
CSP = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"

Highlight = Callable[[Mapping[str, Any]], bool]


class Report:
    """A report that grows from top to bottom; each method adds a part and gives the report back.

    Args:
        title: of the page.
        subtitle: one line below it.
        footer: one line at the end: versions, date, licence of the data.
        language: of the texts, a BCP 47 tag.
    """

    def __init__(self, title: str, subtitle: str = "", *, footer: str = "", language: str = "en") -> None:
        self.title, self.subtitle, self.footer, self.language = title, subtitle, footer, language
        self._parts: list[str] = []
        self._sections: list[tuple[str, str]] = []
        self._figures = self._tables = 0

    def section(self, heading: str, text: str = "") -> Report:
        """Begin a section; empty lines in `text` part paragraphs."""
        anchor = f"s{len(self._sections) + 1}"
        self._sections.append((anchor, heading))
        return self._add(f'<h2 id="{anchor}">{escaped(heading)}</h2>{_paragraphs(text)}')

    def text(self, text: str) -> Report:
        """Paragraphs; empty lines part them."""
        return self._add(_paragraphs(text))

    def facts(self, facts: Mapping[str, Any]) -> Report:
        """A list of names and values."""
        rows = "".join(f"<dt>{escaped(name)}</dt><dd>{escaped(_value(value))}</dd>" for name, value in facts.items())
        return self._add(f'<dl class="facts">{rows}</dl>')

    def note(self, text: str, kind: Literal["info", "warning"] = "info") -> Report:
        """A remark in a box; a warning is worded as one, not only coloured."""
        word = {"info": "Note", "warning": "Warning"}.get(kind)
        if word is None:
            raise UsageError(f"a note is of kind info or warning, not {kind!r}")
        return self._add(f'<aside role="note" class="{kind}"><p><strong>{word}.</strong>{escaped(text)}</p></aside>')

    def code(self, text: str) -> Report:
        """A command or a recipe, as it is."""
        return self._add(f"<pre><code>{escaped(text)}</code></pre>")

    def figure(
        self, png: str | Path | bytes, caption: str, alt: str, *, narrow: str | Path | bytes | None = None
    ) -> Report:
        """An image with a numbered caption.

        Args:
            png: a PNG file, or its bytes.
            caption: below it; what to see in it.
            alt: what a reader who cannot see it must know.
            narrow: the same drawn for screens of up to 640 pixels, where the letters of a wide one are too small.

        Raises:
            FormatError: not a PNG.
            UsageError: `alt` is empty.
        """
        if not alt.strip():
            raise UsageError(f"figure {caption[:60]!r} has no alt text; say in words what it shows")
        source, size = _image(png)
        other = ""
        if narrow is not None:
            narrow_source, narrow_size = _image(narrow)
            other = f'<source media="(max-width: 640px)" srcset="{narrow_source}" {narrow_size}>'
        self._figures += 1
        return self._add(
            f'<figure><picture>{other}<img src="{source}" {size} alt="{escaped(alt)}"></picture>'
            f"<figcaption><b>Figure {self._figures}.</b> {escaped(caption)}</figcaption></figure>"
        )

    def table(
        self,
        records: Iterable[Mapping[str, Any]],
        columns: Sequence[str] | Mapping[str, str] | None = None,
        caption: str = "",
        highlight: Highlight | None = None,
    ) -> Report:
        """A table with a numbered caption; numbers stand to the right.

        Args:
            records: its rows.
            columns: keys to show, or key to heading; by default the keys of the first record. What stands after a
                line break of a heading is written small below it.
            caption: above it.
            highlight: says of a record whether its row is marked.
        """
        rows = list(records)
        if columns is None:
            columns = list(rows[0]) if rows else []
        heads = dict(columns) if isinstance(columns, Mapping) else {name: name for name in columns}
        # The first column names the row and stands to the left, even if it is a rank.
        numeric = {key for key in list(heads)[1:] if rows and all(_is_number(row.get(key)) for row in rows)}

        def cell(row: Mapping[str, Any], key: str, *, first: bool) -> str:
            tag = 'th scope="row"' if first else "td"
            style = ' class="number"' if key in numeric else ""
            return f"<{tag}{style}>{escaped(_value(row.get(key)))}</{tag[:2]}>"

        head = "".join(
            f'<th scope="col"{" class=number" if key in numeric else ""}>{_heading(name)}</th>'
            for key, name in heads.items()
        )
        body = "".join(
            f"<tr{' class=highlight' if highlight and highlight(row) else ''}>"
            + "".join(cell(row, key, first=place == 0) for place, key in enumerate(heads))
            + "</tr>"
            for row in rows
        )
        return self._table("records", caption, f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>")

    def scores(self, records: Iterable[Mapping[str, Any] | ScoreRow], caption: str = "") -> Report:
        """The table of probe scores: targets below each other, splits side by side, baselines and learned together.

        Every cell gives mean ± sd and the interval; the best of each target and split is bold; every learned score
        says in words whether it beats the best baseline. Rows are ranked by the strictest split.

        Raises:
            SchemaError: no records, one without a needed key, or two for one features, split, target and metric.
        """
        rows = scores.score_rows(records)
        if not rows:
            raise SchemaError("no scores for the table; run the probe first")
        splits = scores.split_order(rows)
        groups: dict[tuple[str, str], list[ScoreRow]] = {}
        for row in rows:
            groups.setdefault((row.target, row.metric), []).append(row)
        head = "".join(
            f'<th scope="col">{escaped(SPLIT_WORDS.get(split, split))}'
            f"<small>{escaped(SPLIT_NOTES.get(split, ''))}</small></th>"
            for split in splits
        )
        body = "".join(score_group(target, metric, group, splits) for (target, metric), group in groups.items())
        return self._table(
            "scores",
            caption,
            f'<colgroup><col class="features">{"<col>" * len(splits)}</colgroup>'
            f'<thead><tr><th scope="col">Features</th>{head}</tr></thead>{body}',
        )

    def matches(self, records: Iterable[Mapping[str, Any] | ScoreRow], caption: str = "") -> Report:
        """For each target and split the best learned row against the best baseline; the strictest split first.

        Raises:
            SchemaError: no target has both.
        """
        found = scores.matches(scores.score_rows(records))
        if not found:
            raise SchemaError("no target with a learned row and a baseline; run the probe with both")
        splits = list(dict.fromkeys(match.split for match in found))
        body = "".join(match_group(split, [match for match in found if match.split == split]) for split in splits)
        heads = "".join(
            f'<th scope="col">{name}</th>' for name in ("Target", "Best learned", "Best baseline", "Difference")
        )
        return self._table("matches", caption, f"<thead><tr>{heads}</tr></thead>{body}")

    def ranking(
        self, records: Iterable[Mapping[str, Any] | ScoreRow], ranks: Mapping[str, float], caption: str = ""
    ) -> Report:
        """All features by their mean rank over targets, with their scores.

        Args:
            records: of one split.
            ranks: the mean rank of each features that has one.
            caption: above it.
        """
        return self._table("ranking", caption, rank_table(scores.score_rows(records), ranks))

    def html(self) -> str:
        """The whole page."""
        links = "".join(f'<li><a href="#{anchor}">{escaped(name)}</a></li>' for anchor, name in self._sections)
        contents = f'<nav aria-label="Contents"><ol>{links}</ol></nav>' if len(self._sections) > 2 else ""
        subtitle = f'<p class="subtitle">{escaped(self.subtitle)}</p>' if self.subtitle else ""
        footer = f"<footer>{escaped(self.footer)}</footer>" if self.footer else ""
        return (
            f'<!DOCTYPE html>\n<html lang="{escaped(self.language)}">\n<head>\n<meta charset="utf-8">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{CSP}">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{escaped(self.title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n"
            f"<header><h1>{escaped(self.title)}</h1>{subtitle}{contents}</header>\n<main>\n"
            + "\n".join(self._parts)
            + f"\n</main>\n{footer}\n</body>\n</html>\n"
        )

    def write(self, path: str | Path) -> Path:
        """Write the page to `path`, whole or not at all."""
        write_text(path, self.html())
        return Path(path)

    def _add(self, part: str) -> Report:
        self._parts.append(part)
        return self

    def _table(self, kind: str, caption: str, inner: str) -> Report:
        self._tables += 1
        label = f"Table {self._tables}"
        # Focusable, so that a wide table can be scrolled by keyboard.
        return self._add(
            f'<div class="scroll" role="region" tabindex="0" aria-label="{label}"><table class="{kind}">'
            f"<caption><span><b>{label}.</b> {escaped(caption)}</span></caption>{inner}</table></div>"
        )


def _image(png: str | Path | bytes) -> tuple[str, str]:
    """The data address of a PNG, and its size as attributes, so that the page does not jump as it loads."""
    data = png if isinstance(png, bytes) else Path(png).read_bytes()
    if not data.startswith(PNG) or len(data) < 24:
        raise FormatError(f"{'the image' if isinstance(png, bytes) else png} is not a PNG; save the figure as PNG")
    width, height = struct.unpack(">II", data[16:24])
    source = "data:image/png;base64," + base64.b64encode(data).decode("ascii")
    return source, f'width="{width}" height="{height}"'


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{escaped(part.strip())}</p>" for part in re.split(r"\n\s*\n", text) if part.strip())


def _heading(text: str) -> str:
    first, _, small = text.partition("\n")
    return escaped(first) + (f"<small>{escaped(small)}</small>" if small else "")


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float | np.number) and not isinstance(value, bool))


def _value(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return count(int(value)).replace("-", "−")
    if isinstance(value, float | np.floating):
        return scores.plain(float(value))
    return str(value)
