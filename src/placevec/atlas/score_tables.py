"""Scores as HTML tables: all of a target, the best learned row against the best baseline, and ranks over targets.

These are the bodies; `atlas.report.Report` puts captions and numbers to them.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Mapping, Sequence

from placevec.atlas.scores import (
    SPLIT_NOTES,
    SPLIT_WORDS,
    Match,
    ScoreRow,
    best,
    plain,
    ranked_features,
    verdict,
)
from placevec.errors import SchemaError

SIGNS = {"beats": "▲", "level": "≈", "loses": "▼"}


def escaped(value: object) -> str:
    """`value` as text of HTML; what HTML may not hold, not even escaped, is replaced."""
    return html.escape(re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]", "\ufffd", str(value)), quote=True)


def score_group(target: str, metric: str, rows: Sequence[ScoreRow], splits: Sequence[str]) -> str:
    """The rows of one target, splits side by side, ranked by the strictest.

    Raises:
        SchemaError: two scores for one features and split.
    """
    table: dict[tuple[str, str], ScoreRow] = {}
    for row in rows:
        if (row.features, row.split) in table:
            raise SchemaError(f"two scores of {row.features!r} for {target!r}, split {row.split!r}; keep one")
        table[row.features, row.split] = row
    tops = {split: best(row for row in rows if row.split == split) for split in splits}
    rivals = {split: best(row for row in rows if row.split == split and not row.learned) for split in splits}
    better = "higher is better" if rows[0].higher_is_better else "lower is better"
    head = (
        f'<tr class="group"><th colspan="{len(splits) + 1}" scope="rowgroup">{escaped(target or metric)}'
        f"<small>{escaped(metric + ', ' if target else '')}{better}</small></th></tr>"
    )
    lines = [head]
    for name in ranked_features(rows):
        learned = any(table[name, split].learned for split in splits if (name, split) in table)
        cells = "".join(_score_cell(table.get((name, split)), tops[split], rivals[split]) for split in splits)
        lines.append(f"{_row_head(name, learned=learned)}{cells}</tr>")
    return f"<tbody>{''.join(lines)}</tbody>"


def match_group(split: str, matches: Sequence[Match]) -> str:
    """The best learned row of each target against its best baseline, both drawn on a scale from 0 to 1."""
    head = (
        f'<tr class="group"><th colspan="4" scope="rowgroup">{escaped(SPLIT_WORDS.get(split, split))}'
        f"<small>{escaped(SPLIT_NOTES.get(split, ''))}</small></th></tr>"
    )
    lines = [head]
    for match in matches:
        outcome, words = verdict(match.learned, match.baseline)
        lines.append(
            f'<tr><th scope="row">{escaped(match.target)}<small>{escaped(match.metric)}</small></th>'
            f'<td class="own">{_contender(match.learned)}</td><td class="rival">{_contender(match.baseline)}</td>'
            f'<td class="strips">{_strip(match)}'
            f'<span class="verdict {outcome}">{SIGNS.get(outcome, "")} {escaped(words)}</span></td></tr>'
        )
    return f"<tbody>{''.join(lines)}</tbody>"


def rank_table(rows: Sequence[ScoreRow], ranks: Mapping[str, float]) -> str:
    """Features by their mean rank, with their score on each target; head and body of a table.

    Args:
        rows: of one split.
        ranks: the mean rank of those features that all targets have; the others come last.
    """
    targets = list(dict.fromkeys((row.target, row.metric) for row in rows))
    table = {(row.features, row.target): row for row in rows}
    tops = {name: best(row for row in rows if row.target == name) for name, _ in targets}
    rivals = {name: best(row for row in rows if row.target == name and not row.learned) for name, _ in targets}
    names = sorted(dict.fromkeys(row.features for row in rows), key=lambda name: ranks.get(name, math.inf))
    heads = "".join(
        f'<th scope="col" class="number">{escaped(target)}<small>{escaped(metric)}</small></th>'
        for target, metric in targets
    )
    lines = []
    for name in names:
        cells = []
        for target, _ in targets:
            row = table.get((name, target))
            if row is None:
                cells.append('<td class="number">–</td>')
                continue
            outcome, words = verdict(row, rivals[target])
            sign = f'<span class="sign {outcome}" title="{escaped(words)}">{SIGNS.get(outcome, "")}</span>'
            style = "best" if row is tops[target] else "mean"
            cells.append(f'<td class="number"><span class="{style}">{plain(row.mean)}</span>{sign}</td>')
        rank = f"{ranks[name]:.1f}" if name in ranks else "–"
        learned = any(table[name, target].learned for target, _ in targets if (name, target) in table)
        lines.append(f'{_row_head(name, learned=learned)}<td class="number">{rank}</td>{"".join(cells)}</tr>')
    return (
        '<thead><tr><th scope="col">Features</th><th scope="col" class="number">Mean rank</th>'
        f"{heads}</tr></thead><tbody>{''.join(lines)}</tbody>"
    )


def _row_head(name: str, *, learned: bool) -> str:
    tag = '<span class="tag">learned</span>' if learned else ""
    mark = ' class="highlight"' if learned else ""
    return f'<tr{mark}><th scope="row">{escaped(name)}{tag}</th>'


def _score_cell(row: ScoreRow | None, top: ScoreRow | None, rival: ScoreRow | None) -> str:
    if row is None:
        return "<td>–</td>"
    spread = f' <span class="sd">± {plain(row.sd)}</span>' if math.isfinite(row.sd) else ""
    style = "mean best" if row is top else "mean"
    outcome, words = verdict(row, rival)
    said = f'<span class="verdict {outcome}">{SIGNS.get(outcome, "")} {escaped(words)}</span>' if words else ""
    return f'<td><span class="{style}">{plain(row.mean)}{spread}</span>{_interval(row)}{said}</td>'


def _contender(row: ScoreRow) -> str:
    return f'{escaped(row.features)}<br><b class="best">{plain(row.mean)}</b>{_interval(row)}'


def _interval(row: ScoreRow) -> str:
    if not (math.isfinite(row.low) and math.isfinite(row.high)):
        return ""
    return f' <span class="interval">[{plain(row.low)}, {plain(row.high)}]</span>'


def _strip(match: Match) -> str:
    """Two intervals on a line, as SVG whose lengths are shares of the width: sharp at any size, and on paper.

    R² and accuracy end at 1; what lies below 0 stands at the edge.
    """
    if not (match.learned.higher_is_better and all(row.mean <= 1.0 for row in (match.learned, match.baseline))):
        return ""  # of another metric, the figures say more than a scale that nobody knows
    marks = []
    for row, style, y in ((match.learned, "own", 6), (match.baseline, "rival", 15)):
        low, middle, high = (
            1.5 + 97 * min(max(value, 0.0), 1.0) if math.isfinite(value) else 0.0
            for value in (row.low, row.mean, row.high)
        )
        if math.isfinite(row.low) and math.isfinite(row.high):
            marks.append(f'<line class="{style}" x1="{low:.2f}%" x2="{high:.2f}%" y1="{y}" y2="{y}"/>')
        marks.append(f'<circle class="{style}" cx="{middle:.2f}%" cy="{y}" r="3.6"/>')
    ticks = "".join(
        f'<line class="tick" x1="{1.5 + 24.25 * i}%" x2="{1.5 + 24.25 * i}%" y1="0" y2="21"/>' for i in range(5)
    )
    words = (
        f"{match.learned.features} {plain(match.learned.mean)}, {match.baseline.features} {plain(match.baseline.mean)}"
    )
    return f'<svg class="strip" role="img" aria-label="{escaped(words)}" height="21">{ticks}{"".join(marks)}</svg>'
