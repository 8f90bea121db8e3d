"""`classify`: zero-shot classes, each named in words: the class whose prompts are nearest to the vector of a place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from placevec.errors import DataError, UsageError
from placevec.measure.intervals import bootstrap
from placevec.measure.leaks import refuse_leaks
from placevec.measure.metrics import METRIC_NAMES
from placevec.measure.relevance import unit
from placevec.measure.retrieval.seen import seen_splits
from placevec.provenance import inherit_saw
from placevec.results import Score, Scores
from placevec.table import EmbeddingTable, Filter, StoredTable, open_table, write_table
from placevec.tasks.class_words import label_words
from placevec.tasks.relevance import encode_texts
from placevec.tasks.towers import find_pair, require_space

if TYPE_CHECKING:
    from placevec.encoders.pair import PairModel

TEMPLATES = ("a satellite image of {}", "an aerial photograph of {}", "there is {} in the picture", "{}")
SCALE = 1.0 / 0.07
"""What cosines are multiplied by for a model that names no scale: where contrastive training starts."""

COLUMNS = ("predicted", "predicted_score", "predicted_margin")
_ROWS = 65_536


@dataclass(frozen=True, eq=False)
class Classified:
    """What `classify` found.

    Attributes:
        table: the rows with the columns of `COLUMNS`: the class, its probability-like score (softmax over the classes),
            and by how much it leads the second.
        classes: the names of the classes.
        counts: how many rows each class got.
        mean_scores: the mean score of these rows; NaN for a class without rows.
        scores: accuracy and macro-F1 where the truth is known, beside chance and the majority class.
        notes: what a reader must know besides.
    """

    table: EmbeddingTable
    classes: tuple[str, ...]
    counts: NDArray[np.int64]
    mean_scores: NDArray[np.float64]
    scores: Scores | None = None
    notes: tuple[str, ...] = ()


def classify(
    table: str | Path | EmbeddingTable | StoredTable,
    classes: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    *,
    templates: Sequence[str] = (),
    model: PairModel | str | Path | None = None,
    out: str | Path | None = None,
    truth: str | None = None,
    filter: Filter | None = None,
    seed: int = 0,
) -> Classified:
    """Give each row of a table the class whose words are nearest, without any training on classes.

    The vector of a class is the mean, scaled to length 1, of the text vectors of all its names in all templates
    (Radford et al. 2021, section 3.1.4). A row's score of a class is the softmax of its cosines over the classes, at
    the temperature that the model was trained with; it is a probability only as far as the classes are all there is.

    Args:
        table: the table, of the Space of the model.
        classes: names, or names with the words that stand for each; see `parse_classes`. With `truth`, by default the
            values of that column.
        templates: prompts with a ``{}`` for the name; by default `TEMPLATES`.
        model: the pair of towers, its folder or ``hf:NAME``; by default the pair that lies beside the table.
        out: where to write the table again with the columns of `COLUMNS`.
        truth: the column that holds the true classes.
        filter: which rows; all by default.
        seed: of the bootstrap.

    Raises:
        UsageError: fewer than two classes, one named twice, a template without ``{}``, no model.
        SpaceMismatch: the model is of another Space than the table.
        LeakError: the vectors or the model were fitted on the labels of `truth`.
        DataError: the table is empty.
    """
    stored = open_table(table) if isinstance(table, str | Path) else table
    rows = stored.select(filter or Filter()) if isinstance(stored, EmbeddingTable) else stored.read(filter)
    if not len(rows):
        raise DataError("no row is left to be classified: the table is empty, or the filter lets nothing through")
    known = _truth(rows, truth)
    named = _named(classes if classes is not None else _values(known))
    prompts = _prompts(templates)
    pair = _pair(stored, model)
    if truth is not None:
        refuse_leaks(truth, (*rows.meta.saw, *pair.card.saw), truth, None, rows.keys)
    scale = pair.logit_scale
    notes = [] if scale else [f"the model names no temperature: scores are by {1 / SCALE:.2f}"]
    said, top, margin = _decide(rows, _vectors(pair, named, prompts), scale or SCALE)
    names = np.array(list(named), dtype=object)
    labelled = rows
    for name, column in zip(COLUMNS, (pa.array(names[said], pa.string()), top, margin), strict=True):
        labelled = labelled.with_column(name, column)
    counts = np.bincount(said, minlength=len(names))
    mean_scores = np.full(len(names), np.nan)
    np.divide(np.bincount(said, weights=top, minlength=len(names)), counts, out=mean_scores, where=counts > 0)
    scores = None
    if known is not None and truth is not None:
        notes += _fitted_on(rows, pair)
        scores, more = _scored(truth, known, said, list(named), rows.keys, seed)
        notes += more
    if out is not None:
        write_table(labelled, out)
    return Classified(labelled, tuple(named), counts, mean_scores, scores, tuple(notes))


def parse_classes(texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Classes and the words that stand for each, from texts such as ``forest`` or ``tenniscourt = tennis court|court``.

    Without words (none in the answer) the name stands for itself, see `tasks.class_words.label_words`.

    Raises:
        UsageError: a name that is empty or stands twice.
    """
    found: dict[str, tuple[str, ...]] = {}
    for text in texts:
        name, equals, words = (part.strip() for part in text.partition("="))
        if not name or (equals and not words):
            raise UsageError(
                f"the class {text!r} has no name or no words: write it like 'harbor' or 'harbor = port|dock'"
            )
        if name in found:
            raise UsageError(f"the class {name!r} stands twice: give each once, its words divided by |")
        found[name] = tuple(word.strip() for word in words.split("|") if word.strip())
    return found


def read_classes(path: str | Path) -> list[str]:
    """The classes of a text file, one a line; lines that are empty or start with # are left out."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"the classes of {path} cannot be read ({error}): give a text file, one class a line"
        ) from None
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def _named(classes: Sequence[str] | Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    if isinstance(classes, Mapping):
        named = {str(name): tuple(words) for name, words in classes.items()}
    else:
        named = parse_classes(classes)
    if len(named) < 2:
        raise UsageError(f"{len(named)} classes: give two or more (--classes 'forest,river,harbor')")
    return named


def _in_words(name: str, pair: PairModel) -> str:
    """What a class without words is called: glued names are parted by the words that the text tower has learned."""
    # Numbers tell classes apart ("zone 2") and are no words to `label_words`.
    if any(letter.isdigit() for letter in name):
        return name
    return label_words(name, getattr(getattr(pair.text, "vocabulary", None), "words", ()))


def _prompts(templates: Sequence[str]) -> tuple[str, ...]:
    for template in templates:
        if "{}" not in template:
            raise UsageError(f"the template {template!r} has no {{}} for the class: write it like 'a picture of {{}}'")
    return tuple(templates) or TEMPLATES


def _pair(table: EmbeddingTable | StoredTable, model: PairModel | str | Path | None) -> PairModel:
    if model is None or isinstance(model, str | Path):
        near = [Path(str(table.path))] if isinstance(table, StoredTable) else []
        return find_pair(table.space, near=near, given=None if model is None else str(model))
    require_space(table.space, model.space, model.card.name or "given")
    return model


def _vectors(pair: PairModel, named: Mapping[str, Sequence[str]], prompts: Sequence[str]) -> NDArray[np.float32]:
    """The vector (c, d) of each class."""
    words_of = [words or (_in_words(name, pair),) for name, words in named.items()]
    texts = [[prompt.replace("{}", word) for word in words for prompt in prompts] for words in words_of]
    encoded = unit(encode_texts(pair.text, [text for some in texts for text in some]))
    ends = np.cumsum([len(some) for some in texts])[:-1]
    return unit(np.stack([part.mean(axis=0) for part in np.split(encoded, ends)]))


def _decide(
    rows: EmbeddingTable, classes: NDArray[np.float32], scale: float
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """For each row the number of its class, the score of that, and its lead over the second."""
    said = np.empty(len(rows), dtype=np.int64)
    top, margin = np.empty(len(rows)), np.empty(len(rows))
    for start in range(0, len(rows), _ROWS):
        part = np.arange(start, min(start + _ROWS, len(rows)))
        logits = scale * (unit(rows.vectors(part)).astype(np.float64) @ classes.T.astype(np.float64))
        chances = np.exp(logits - logits.max(axis=1, keepdims=True))
        chances /= chances.sum(axis=1, keepdims=True)
        said[part] = logits.argmax(axis=1)
        second, first = np.sort(chances, axis=1)[:, -2:].T
        top[part], margin[part] = first, first - second
    return said, top, margin


def _fitted_on(rows: EmbeddingTable, pair: PairModel) -> list[str]:
    """A note on rows whose captions the model learned from: captions name classes, so that these are not zero-shot."""
    saw = inherit_saw(rows.meta.saw, pair.card.saw, pair.text.card.saw)
    splits = rows.column("split").astype(str) if rows.has("split") else np.array([""] * len(rows))
    seen = seen_splits(saw, (), sorted(set(splits.tolist())))
    count = int(np.isin(splits, seen).sum())
    if not count:
        return []
    named = [repr(split) for split in seen if split]
    where = f"the splits {', '.join(named)}, which" if named else "captions that"
    told = f"{count:,} of {len(rows):,} rows are of {where} the model may have been fitted on"
    return [f"{told}: scores of these are not zero-shot, leave them out by a filter on `split`"]


def _truth(rows: EmbeddingTable, name: str | None) -> NDArray[Any] | None:
    """The true classes (n,) as text, None where one is absent."""
    if name is None:
        return None
    column = rows.column(name)
    return np.array([None if value is None or value != value else str(value) for value in column], dtype=object)


def _values(truth: NDArray[Any] | None) -> list[str]:
    if truth is None:
        raise UsageError("no classes: give their names (--classes 'forest,river,harbor'), or the column of the truth")
    return sorted({value for value in truth if value is not None})


def _scored(
    target: str, truth: NDArray[Any], said: NDArray[np.int64], names: Sequence[str], keys: NDArray[Any], seed: int
) -> tuple[Scores, list[str]]:
    """Accuracy and macro-F1 of the rows whose true class is among those named, and what was left out."""
    number = {name: at for at, name in enumerate(names)}
    true = np.array([-1 if value is None else number.get(value, -2) for value in truth], dtype=np.int64)
    notes = []
    if (true == -1).any():
        notes.append(f"{int((true == -1).sum()):,} rows without a true class are not scored")
    if (true == -2).any():
        odd = sorted({value for value, code in zip(truth, true, strict=True) if code == -2})
        notes.append(f"{int((true == -2).sum()):,} rows of classes that were not named are not scored: {odd[0]!r}, ...")
    rows = np.flatnonzero(true >= 0)
    if not len(rows):
        raise UsageError(
            f"no value of {target!r} is a class that was named ({', '.join(names[:3])}, ...): name classes as it does"
        )
    y, p = true[rows], said[rows]
    share = np.bincount(y, minlength=len(names)) / len(y)
    records = []
    for metric in ("accuracy", "macro_f1"):
        found = bootstrap(y, p, metric, groups=keys[rows], seed=seed)
        own = Score(target, "zero-shot", "all rows", METRIC_NAMES[metric], *found[:3], n=len(y), learned=True)
        records.append(own)
        for name, value in (("chance", _chance(metric, share)), ("majority class", _majority(metric, share))):
            records.append(Score(target, name, "all rows", METRIC_NAMES[metric], value, n=len(y)))
    return Scores(tuple(records), {"classes": list(names)}), notes


def _chance(metric: str, share: NDArray[np.float64]) -> float:
    """What guessing evenly among c classes gives in a large sample: recall 1/c, precision the share of the class."""
    c = len(share)
    if metric == "accuracy":
        return 1.0 / c
    return float(np.mean(2.0 * share / (c * share + 1.0)))


def _majority(metric: str, share: NDArray[np.float64]) -> float:
    """What saying the most frequent class always gives; macro-F1 counts the classes that occur."""
    largest = float(share.max())
    return largest if metric == "accuracy" else 2.0 * largest / (1.0 + largest) / int((share > 0).sum())
