"""`search`: the places most like given ones, like words, like a picture, like a point of the map, or like a vector."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from placevec.errors import PlacevecError, UsageError
from placevec.geo.sphere import LonLat
from placevec.index.base import Index, check_k
from placevec.index.planner import EXACT_ROWS, Around, Planner, exact_rows
from placevec.index.stores import is_store_url
from placevec.provenance import Space
from placevec.results import Hits
from placevec.table import EmbeddingTable, Filter, StoredTable, open_table
from placevec.tasks.search_examples import Example, Table, at_point, by_id, given, mixed, nearest, rocchio
from placevec.tasks.search_merge import RRF_OFFSET, merge
from placevec.tasks.search_queries import Asked, Pictures, Texts, Towers
from placevec.tasks.search_store import search_store

if TYPE_CHECKING:
    from placevec.encoders.base import Encoder
    from placevec.encoders.pair import PairModel

__all__ = ["Searchable", "nearest", "rocchio", "search"]

Searchable: TypeAlias = str | Path | EmbeddingTable | StoredTable


def search(
    table: Searchable | Sequence[Searchable],
    *,
    text: Texts = None,
    image: Pictures = None,
    like: str | Sequence[str] | None = None,
    not_text: Texts = None,
    not_image: Pictures = None,
    unlike: str | Sequence[str] | None = None,
    at: tuple[float, float] | None = None,
    vector: NDArray[Any] | None = None,
    space: Space | None = None,
    encoder: Encoder | None = None,
    model: PairModel | str | Path | None = None,
    k: int = 10,
    filter: Filter | None = None,
    exclude_self: bool = True,
    min_distance_m: float | None = None,
    index: Index | None = None,
) -> Hits:
    """The k places most like the examples given: texts, images, ids, a point, a vector, in any mixture.

    The query is 2·mean(pos) − mean(neg), or mean(pos) without negative examples (Rocchio, 1971, with weights 2 and
    1); in a Space compared by cosine each example counts with length 1, and so does the query. Where texts or images
    are mixed with examples of another tower, each counts by its standard score, see `search_examples.mixed`: cosines
    of a text with images and of an image with images differ in spread, and one would drown the other.

    Several tables of one Space are searched as one. If the same tower made them, their scores compare and the hits
    are merged by score; if not, by reciprocal rank fusion, because scores of different towers do not compare. An
    id that several tables hold is one hit then.

    Hits of a text among images (and of an image among captions) have a relevance where the model is calibrated. That
    no hit of a query in words is good enough to be a match is said in the plan's note; the hits are shown even so.

    Args:
        table: a table, or the path of one; or several of one Space; or the address of a store, which is searched by
            `like`, `unlike` and `vector`.
        text: words to be like.
        image: images to be like, each a file or (bands, height, width) uint8.
        like: ids of positive examples; of an id in several tables the first counts.
        not_text: words to be unlike.
        not_image: images to be unlike.
        unlike: ids of negative examples.
        at: (lon, lat) in degrees: the row nearest to that point is a positive example; with an `encoder` that takes
            "lonlat", its vector is. The plan's note says which.
        vector: (d,) a positive example.
        space: the Space of `vector`, if it is not that of `encoder`.
        encoder: what made `vector`, or encodes `at`.
        model: the pair of towers that reads texts and images, its folder or ``hf:NAME``; without it the pair of the
            table's Space that lies beside the table is taken, see `tasks.towers.find_pair`.
        k: hits wanted.
        filter: which rows may be found.
        exclude_self: whether the examples themselves are kept out of the hits.
        min_distance_m: hits lie at least this far, in metres, from every positive example. Rows without a geometry
            are left out then, and counted.
        index: an index of the table; without one, that which `placevec index` wrote beside a big table, else exact
            search.

    Raises:
        UsageError: no positive example, an id that is absent, an empty text, no model to read it, k < 1, examples
            that cancel each other.
        DataError: an image that cannot be read.
        SpaceMismatch: the tables, the vector, the encoder or the model are not all of one Space.
    """
    began = time.perf_counter()
    if isinstance(table, str) and is_store_url(table):
        others: dict[str, Any] = {"text": text, "image": image, "not_text": not_text, "not_image": not_image, "at": at}
        others |= {"encoder": encoder, "model": model, "min_distance_m": min_distance_m, "index": index}
        _only_ids([name for name, value in others.items() if value is not None])
        return search_store(
            table,
            like=_names(like),
            unlike=_names(unlike),
            vector=vector,
            space=space,
            k=k,
            filter=filter,
            exclude_self=exclude_self,
        )
    tables = _open(table)
    home = _checked(tables, encoder, index, min_distance_m)
    k = check_k(k)
    likes, unlikes = _names(like), _names(unlike)
    positive, negative = by_id(tables, likes), by_id(tables, unlikes)
    notes: list[str] = []
    if vector is not None:
        tower = encoder.tower if encoder is not None else tables[0].meta.tower
        positive.append(Example(given(vector, space, home), tower))
    itself = {*likes, *unlikes}
    if at is not None:
        example, name, note = at_point(tables, LonLat.of(*at), encoder)
        positive.append(example)
        itself |= {name} if name else set()
        notes.append(note)
    asked = Asked.of(text, image, not_text, not_image)
    if not (positive or asked.texts or asked.pictures):
        raise UsageError("nothing to be like: give words (text), images, ids (like), a point (at) or a vector")
    if model is not None and not asked:
        raise UsageError("a model was given, but no text and no image for it to read: leave it out, or give one")
    around = _around(positive, likes, min_distance_m)
    # Last of what can be wrong: towers take longest to open.
    towers = Towers.open(asked, tables, model) if asked else None
    words_alone = bool(asked.texts) and not (positive or asked.pictures)
    if towers is not None:
        positive, negative = [*towers.positive, *positive], [*towers.negative, *negative]
        notes += towers.notes
    same = len({one.meta.tower for one in tables}) == 1
    # So deep that no place below it in every ranking could be among the k best of their fusion.
    depth = k if same else len(tables) * (RRF_OFFSET + k)
    answers = []
    for one in tables:
        rows = one.rows_of(sorted(itself)) if exclude_self and itself else np.empty(0, dtype=np.int64)
        query = _query(positive, negative, one, towers)
        planner = Planner(one, index) if index is not None or len(tables) > 1 else _planner(one, notes)
        hits = planner.search(query, depth, filter=filter, exclude=rows[rows >= 0], around=around)
        answers.append(hits if towers is None else towers.judge(one, hits))
    hits = answers[0] if len(answers) == 1 else merge(answers, tables, k, by_score=same)
    if hits.plan.note:
        notes.append(hits.plan.note)
    if towers is not None:
        hits, said = towers.concluded(hits, tables, words_alone=words_alone)
        notes += said
    return replace(hits, plan=replace(hits.plan, note="; ".join(notes), seconds=time.perf_counter() - began))


def _query(
    positive: Sequence[Example], negative: Sequence[Example], table: Table, towers: Towers | None
) -> NDArray[np.float32]:
    if towers is None:
        return rocchio([p.vector for p in positive], [n.vector for n in negative], table.space)
    return mixed(positive, negative, table.space, lambda: towers.reference(table))


def _open(table: Searchable | Sequence[Searchable]) -> list[Table]:
    several = [table] if isinstance(table, str | Path | EmbeddingTable | StoredTable) else list(table)
    if not several:
        raise UsageError("no table was given to be searched")
    if any(isinstance(one, str) and is_store_url(one) for one in several):
        raise UsageError("a store is searched alone, not together with tables")
    return [open_table(one) if isinstance(one, str | Path) else one for one in several]


def _checked(tables: Sequence[Table], encoder: Encoder | None, index: Index | None, metres: float | None) -> Space:
    """The Space of the tables, or the error of what does not go together."""
    home = tables[0].space
    for other in tables[1:]:
        home.require(other.space, "searching several tables")
    if encoder is not None:
        home.require(encoder.space, "searching with an encoder")
    if index is not None and len(tables) > 1:
        raise UsageError("an index belongs to one table; search several without it")
    if metres is not None and not (np.isfinite(metres) and metres >= 0):
        raise UsageError(f"the least distance is {metres} m; give a finite number >= 0")
    return home


def _only_ids(given: Sequence[str]) -> None:
    """UsageError if a store is to be searched by more than it can be without its table."""
    if given:
        raise UsageError(
            f"a store is searched by ids and vectors, not by {', '.join(given)}: search the table itself for that"
        )


def _names(ids: str | Sequence[str] | None) -> list[str]:
    if ids is None:
        return []
    return [ids] if isinstance(ids, str) else [str(one) for one in ids]


def _around(positive: Sequence[Example], likes: Sequence[str], metres: float | None) -> Around | None:
    if metres is None:
        return None
    for name, example in zip(likes, positive, strict=False):
        if example.lonlat is None:
            raise UsageError(f"{name!r} has no geometry, so no least distance from it can be kept: leave it out")
    points = [example.lonlat for example in positive if example.lonlat is not None]
    if not points:
        raise UsageError(
            "a vector alone has no place from which hits could keep a distance, nor have texts and images: give ids or "
            "a point"
        )
    return Around(LonLat(np.concatenate([p.lon for p in points]), np.concatenate([p.lat for p in points])), metres)


def _planner(table: Table, notes: list[str]) -> Planner:
    """The planner of a table, with the index beside it if it is big; a note is added if that cannot be used."""
    if isinstance(table, StoredTable) and table.num_rows > min(EXACT_ROWS, exact_rows(table.dims)):
        from placevec.tasks.index import index_beside

        try:
            return Planner(table, index_beside(table))
        except PlacevecError as error:  # an index is disposable: the table answers without it
            notes.append(f"the index beside the table was not used: {error}")
    return Planner(table)
