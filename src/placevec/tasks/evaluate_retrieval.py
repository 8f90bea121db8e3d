"""`evaluate retrieval`: how well images and captions find each other, beside chance, ceiling and baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from placevec import __version__
from placevec.errors import DataError, UsageError
from placevec.files import write_text
from placevec.measure.intervals import DRAWS, Comparison, compare
from placevec.measure.retrieval import (
    DEFINITIONS,
    DIRECTIONS,
    Definition,
    Direction,
    Figure,
    Ranking,
    Ties,
    class_recalls,
    figures,
    mean_recall_of,
    rank_vectors,
    refuse_seen,
)
from placevec.measure.retrieval.ranks import TIES, checked
from placevec.measure.retrieval.recalls import LOWER_IS_BETTER, MRR
from placevec.measure.retrieval.seen import COLUMN, other_sets
from placevec.tasks.evaluate_features import is_table
from placevec.tasks.evaluate_retrieval_inputs import (
    Embedded,
    Progress,
    Tested,
    embed_pair,
    from_captions,
    from_tables,
    known_to,
    near_duplicate_report,
    same_dims,
    saw_of,
    table_name,
    tables_at,
)
from placevec.tasks.evaluate_retrieval_result import Against, RetrievalEvaluation

if TYPE_CHECKING:
    from placevec.encoders.pair import PairModel
    from placevec.sources.captions import CaptionSet

Protocol = Literal["official", "augmented-captions"]
PROTOCOLS: tuple[Protocol, ...] = ("official", "augmented-captions")
AUGMENTED = (
    "the protocol augmented-captions is not the published one: every caption row of the split asks for its image, no "
    "image asks for captions, and figures compare only with others by the same rows"
)
WITHIN = 6  # bits of 64 by which near-duplicates differ at most


def evaluate_retrieval(
    model: Any,
    *,
    captions: str | Path | CaptionSet | None = None,
    images: str | Path | None = None,
    split: str = "test",
    baselines: Sequence[Any] | Mapping[str, Any] = (),
    protocol: Protocol = "official",
    ties: Ties = "expected",
    pixels: int | None = None,
    duplicates: int | None = WITHIN,
    turned: bool = False,
    draws: int = DRAWS,
    seed: int = 0,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> RetrievalEvaluation:
    """Measure how well images and captions of a split find each other.

    Args:
        model: a pair of towers (a PairModel, its folder, ``hf:NAME``), or two tables or their paths, of images and of
            captions, that join on `place`.
        captions: the caption set, see `sources.captions.read_captions`; by default the one that the model was trained
            on, as its card says. Tables bring their own.
        images: the folder of its images, where it is not beside them.
        split: the split that is tested, or "all".
        baselines: further models (or pairs of tables, "IMAGES,CAPTIONS") that are measured by the same images, such
            as the model before fine-tuning or an untrained one; ``NAME=`` may stand before each, or give a mapping.
        protocol: "official", or "augmented-captions": text to image alone, each caption row a query.
        ties: where items of equal score stand, see `Standing.ranks`. Equal captions have equal scores.
        pixels: side to which images are read; by default what the model was made for.
        duplicates: bits by which the perceptual hashes of near-duplicates differ at most; None: do not look for them.
        turned: whether turned and mirrored images are near-duplicates too.
        draws: resamples of the images.
        seed: of the resamples.
        out: a JSON file; Markdown and HTML stand beside it.
        progress: told what is done, how much of it, and of how much.

    Raises:
        LeakError: the model or a baseline was fitted on, or chosen by, the split.
        UsageError: an option, split, model or set that does not exist.
        DataError: no image can be read.
        SchemaError: tables that do not join.
        SpaceMismatch: two tables of different Spaces.
    """
    checked(ties)
    if protocol not in PROTOCOLS:
        raise UsageError(f"there is no protocol {protocol!r}; choose one of {', '.join(PROTOCOLS)}")
    if out is not None and Path(out).suffix != ".json":
        raise UsageError(f"{out}: name the output NAME.json; the Markdown and the HTML report stand beside it")
    near = None
    if _two_tables(model):
        tested, embedded = _by_tables(model, split, baselines, captions)
    else:
        tested, embedded, whole = _by_models(model, captions, images, split, baselines, pixels, progress)
        if duplicates is not None:
            near = near_duplicate_report(whole, split, duplicates, turned, progress)
    same_dims(embedded)
    kept = np.logical_and.reduce([one.readable() for one in embedded])
    if not kept.all():
        embedded = [one.keep(kept, tested) for one in embedded]
        tested = tested.keep(kept)
    if not len(tested.texts):
        raise DataError(f"no image of the split {split!r} can be read by all models, so that nothing is left to rank")
    about = {
        "placevec": __version__,
        "model": {"name": embedded[0].name, **embedded[0].about},
        "baselines": [{"name": one.name, **one.about} for one in embedded[1:]],
        "set": tested.name,
        "split": tested.split,
        "images": len(tested.ids),
        "captions": len(tested.texts),
        "protocol": protocol,
        "ties": ties,
        "draws": draws,
        "seed": seed,
    }
    notes = [*tested.notes, *(note for one in embedded for note in one.notes)]
    for one in embedded:
        for other in other_sets(one.saw, tested.known):
            called = other[:12] if "/" not in other and ":" not in other else other
            notes.append(
                f"{one.name} was fitted on another set of captions ({called}); whether that holds these images is not "
                "known"
            )
    found = _measured(tested, embedded, protocol, ties, draws, seed, about, notes, near, progress)
    if out is not None:
        write_retrieval(found, out)
    return found


def write_retrieval(found: RetrievalEvaluation, out: str | Path) -> list[Path]:
    """Write the JSON file, and the Markdown and HTML of the same name beside it; returns what was written."""
    from placevec.tasks.evaluate_retrieval_page import html_report, markdown

    goal = Path(out)
    write_text(goal, found.to_json())
    write_text(goal.with_suffix(".md"), markdown(found))
    return [goal, goal.with_suffix(".md"), html_report(found).write(goal.with_suffix(".html"))]


def _measured(
    tested: Tested,
    embedded: Sequence[Embedded],
    protocol: Protocol,
    ties: Ties,
    draws: int,
    seed: int,
    about: dict[str, Any],
    notes: list[str],
    near: dict[str, Any] | None,
    progress: Progress | None,
) -> RetrievalEvaluation:
    official = protocol == "official"
    definitions: Sequence[Definition] = DEFINITIONS if official else DEFINITIONS[:1]
    directions: Sequence[Direction] = DIRECTIONS if official else DIRECTIONS[1:]
    pairing = tested.pairing()
    rankings: list[Ranking] = []
    measured: list[list[Figure]] = []
    for one in embedded:
        ranking = rank_vectors(
            one.images,
            one.texts,
            pairing,
            metric=one.metric,
            definitions=definitions,
            progress=None if progress is None else _told(progress, f"{one.name}: ranks"),
        )
        every = figures(ranking, directions=directions, ties=ties, draws=draws, seed=seed)
        if not official:
            every = [figure for figure in every if figure.measure.startswith("R@") or figure.measure == MRR]
        rankings.append(ranking)
        measured.append(every)
    own = rankings[0]
    by_ties = {name: mean_recall_of(own, ties=rule) for name, rule in TIES.items()} if official else {}
    classes: list[dict[str, Any]] = []
    if official and tested.labels is not None and any(tested.labels):
        classes = class_recalls(own, tested.labels, ties=ties)
    if not official:
        notes.insert(0, AUGMENTED)
    if near is not None:
        duplicated = np.isin(tested.ids, near.pop("found"))
        if official and duplicated.any() and not duplicated.all():
            near["mean_recall_without"] = mean_recall_of(own, ~duplicated, ties=ties)
    return RetrievalEvaluation(
        tuple(measured[0]),
        {
            figure.key: _against(
                figure, [(one.name, rows[at]) for one, rows in zip(embedded[1:], measured[1:], strict=True)]
            )
            for at, figure in enumerate(measured[0])
        },
        tuple(classes),
        by_ties,
        about,
        near,
        tuple(dict.fromkeys(notes)),
    )


def _against(figure: Figure, rivals: Sequence[tuple[str, Figure]]) -> tuple[Against, ...]:
    """The comparisons with all baselines, the best baseline first."""
    sign = -1.0 if figure.measure in LOWER_IS_BETTER else 1.0
    found = []
    for name, rival in rivals:
        c: Comparison = compare(
            [sign * figure.value], [sign * rival.value], sign * figure.draws, sign * rival.draws, figure.measure
        )
        # As everywhere, a win has to be earned and a loss is admitted at once.
        outcome = "loses" if c.difference < 0.0 else c.outcome
        found.append(Against(name, rival.value, c.difference, c.low, c.high, outcome))
    return tuple(sorted(found, key=lambda one: one.difference))


def _by_models(
    model: Any,
    captions: Any,
    images: str | Path | None,
    split: str,
    baselines: Any,
    pixels: int | None,
    progress: Progress | None,
) -> tuple[Tested, list[Embedded], CaptionSet]:
    from placevec.sources.captions import CaptionSet, read_captions

    named = [_named(model), *_listed(baselines)]
    _once([name for name, _ in named])
    for name, one in named[1:]:
        if _two_tables(one):
            raise UsageError(f"the baseline {name!r} is two tables, the model is none: give models, or tables alone")
    # All are opened, and asked what they saw, before anything is encoded.
    pairs = [(name, _open(one)) for name, one in named]
    where = captions
    if where is None:
        where = pairs[0][1].card.recipe.get("captions")
        images = images or pairs[0][1].card.recipe.get("images") or None
    if not where:
        raise UsageError(
            f"which captions? the card of {pairs[0][0]} names none: give --on, such as --on dataset:ucm or a file"
        )
    whole = where if isinstance(where, CaptionSet) else read_captions(where, images=images)
    called = "captions" if isinstance(where, CaptionSet) else str(where)
    tested, part = from_captions(whole, called, split)
    known = dict.fromkeys(name for _, pair in pairs for name in known_to(pair, tested.known))
    tested = replace(tested, known=tuple(known))
    for name, pair in pairs:
        refuse_seen(name, saw_of(pair), tested.known, tested.splits)
    return tested, [embed_pair(pair, name, part, pixels, progress) for name, pair in pairs], whole


def _by_tables(model: Any, split: str, baselines: Any, captions: Any) -> tuple[Tested, list[Embedded]]:
    if captions is not None:
        raise UsageError("tables bring their captions: leave out --on, or give a model instead of tables")
    first, second = _tables(model)
    name = "tables" if not isinstance(first, str | Path) else f"{table_name(first)}, {table_name(second)}"
    tested, own, ids = from_tables(first, second, name, split)
    embedded = [own]
    for called, one in _listed(baselines):
        if not _two_tables(one):
            raise UsageError(f"the baseline {called!r} is a model, and tables are ranked: give IMAGES,CAPTIONS tables")
        embedded.append(tables_at(*_tables(one), called, tested, ids))
    _once([one.name for one in embedded])
    notes = []
    for one in embedded:
        refuse_seen(one.name, one.saw, (), tested.splits)
        if tested.splits == ("",) and any(saw.column == COLUMN for saw in one.saw):
            notes.append(f"{one.name} was fitted on captions; the tables do not say whether on those of these images")
    return replace(tested, notes=(*tested.notes, *notes)), embedded


def _two_tables(given: Any) -> bool:
    """Whether two tables are meant: a sequence of them, or their paths with a comma between."""
    if isinstance(given, str):
        parts: Sequence[Any] = given.split(",")
    else:
        parts = given if isinstance(given, list | tuple) else (given,)
    return len(parts) == 2 and all(is_table(part) for part in parts)


def _tables(given: Any) -> tuple[Any, Any]:
    first, second = given.split(",") if isinstance(given, str) else given
    return first, second


def _open(given: Any) -> PairModel:
    if isinstance(given, str | Path):
        from placevec.encoders.pair import open_pair

        return open_pair(given)
    pair: PairModel = given
    return pair


def _listed(given: Any) -> list[tuple[str, Any]]:
    if isinstance(given, Mapping):
        return [(str(name), one) for name, one in given.items()]
    return [_named(one) for one in ([given] if isinstance(given, str | Path) else given)]


def _named(given: Any) -> tuple[str, Any]:
    """A model or two tables with a name."""
    if isinstance(given, list | tuple) and len(given) == 1:
        given = given[0]
    if isinstance(given, str):
        name, equals, rest = given.partition("=")
        if equals:
            if not name or not rest:
                raise UsageError(f"{given!r}: write NAME=MODEL, or the model alone")
            return name, rest
        return (given if given.startswith("hf:") else ", ".join(table_name(part) for part in given.split(","))), given
    if isinstance(given, Path):
        return given.name, str(given)
    card = getattr(given, "card", None)
    if card is None:
        raise UsageError(f"{given!r} is no model: give a pair of towers, or two tables (images, captions)")
    return card.name or type(given).__name__, given


def _once(names: Sequence[str]) -> None:
    twice = next((name for name in names if list(names).count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"two models are called {twice!r}: put NAME= before one, the report could not tell them apart")


def _told(progress: Progress, what: str) -> Any:
    return lambda done, total: progress(what, done, total)
