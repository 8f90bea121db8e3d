"""Hits of several tables as one list."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from placevec.results import Hits, Plan
from placevec.table import Places, StoredTable
from placevec.tasks.search_examples import Table

# Cormack, Clarke, Büttcher, "Reciprocal rank fusion outperforms Condorcet", SIGIR 2009: score = sum of 1 / (60 + rank).
RRF_OFFSET = 60


def merge(answers: Sequence[Hits], tables: Sequence[Table], k: int, *, by_score: bool) -> Hits:
    """The k best of the hits of several tables: by score, or by reciprocal rank where scores do not compare."""
    names = _labels(tables)
    towers = sorted({repr(table.meta.tower) for table in tables})
    # id -> [score, table, place in that table's answer]; the table where the hit ranks first shows it.
    ranked: dict[str, tuple[float, int, int]] = {}
    for which, hits in enumerate(answers):
        for rank, name in enumerate(hits.ids):
            old = ranked.get(name)
            if by_score:
                score = float(hits.scores[rank])
                if old is None or score > old[0]:
                    ranked[name] = (score, which, rank)
            else:
                score = 1.0 / (RRF_OFFSET + rank + 1)
                shown = (which, rank) if old is None or rank < old[2] else old[1:]
                ranked[name] = (score + (old[0] if old else 0.0), *shown)
    best = sorted(ranked.values(), key=lambda entry: (-entry[0], entry[2], entry[1]))[:k]
    parts = [answers[which].places.take([rank]).data for _, which, rank in best]
    empty = answers[0].places.data.slice(0, 0)
    data = pa.concat_tables([*parts] or [empty], promote_options="permissive").combine_chunks()
    plans = [hits.plan for hits in answers]
    how = (
        "merged by score (one tower)"
        if by_score
        else f"merged by reciprocal rank: scores of the towers {', '.join(towers)} do not compare"
    )
    candidates = sum(plan.candidates for plan in plans)
    short = f"{k} hits were asked for, {len(best)} places were found" if len(best) < k else ""
    plan = Plan(
        name="score-fusion" if by_score else "rank-fusion",
        exact=all(plan.exact for plan in plans),
        candidates=candidates,
        total=sum(plan.total for plan in plans),
        unlocated=sum(plan.unlocated for plan in plans),
        note="; ".join([f"{len(tables)} tables, {how}", *([short] if short else [])]),
    )
    return Hits(
        np.array([answers[which].rows[rank] for _, which, rank in best], dtype=np.int64),
        np.array([score for score, _, _ in best], dtype=np.float32),
        Places(data),
        plan,
        tuple(names[which] for _, which, _ in best),
        _relevance(answers, [(which, rank) for _, which, rank in best]),
    )


def _relevance(answers: Sequence[Hits], shown: Sequence[tuple[int, int]]) -> NDArray[np.float32] | None:
    """The relevance (n,) of the rows shown, each a table and a place in its answer.

    Where that table was not judged it is the best of the same id in another; NaN for ids of none, None if no table was
    judged.
    """
    known: dict[str, float] = {}
    for hits in answers:
        if hits.relevance is not None:
            for name, value in zip(map(str, hits.ids), map(float, hits.relevance), strict=True):
                known[name] = max(value, known.get(name, value))
    if all(hits.relevance is None for hits in answers):
        return None
    found = []
    for which, rank in shown:
        own = answers[which].relevance
        found.append(known.get(str(answers[which].ids[rank]), np.nan) if own is None else float(own[rank]))
    return np.array(found, dtype=np.float32)


def _labels(tables: Sequence[Table]) -> list[str]:
    """A name for each table: its tower, else its file, numbered where two would be the same."""
    names = [
        table.meta.tower or (Path(str(table.path)).stem if isinstance(table, StoredTable) else "table")
        for table in tables
    ]
    return [name if names.count(name) == 1 else f"{name}-{at + 1}" for at, name in enumerate(names)]
