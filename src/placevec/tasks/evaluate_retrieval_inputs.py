"""What `evaluate retrieval` measures: images and captions of a split, and the vectors that a model gives them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import DataError, SchemaError, SpaceMismatch, UsageError
from placevec.measure.phash import near_duplicates, spectra
from placevec.measure.retrieval import Pairing
from placevec.measure.retrieval.seen import COLUMN, same_set
from placevec.provenance import Saw, inherit_saw
from placevec.sources.captions.base import canonical_split
from placevec.table import EmbeddingTable
from placevec.tasks.evaluate_features import read_table
from placevec.tasks.input_files import PIXELS, image_size
from placevec.tasks.train_pairs import set_identity

if TYPE_CHECKING:
    from placevec.encoders.base import Encoder
    from placevec.encoders.pair import PairModel
    from placevec.sources.captions import CaptionSet

# What is done, so far, of how many.
Progress = Callable[[str, int, int], None]
Vectors = NDArray[np.float32]

ALL = "all"
IMAGES_AT_ONCE, TEXTS_AT_ONCE = 64, 1024
HASHED = 64  # side of an image of which a perceptual hash is made
EXAMPLES = 10


@dataclass(frozen=True, eq=False)
class Tested:
    """The images and captions that are ranked.

    Attributes:
        name: the caption set, or the tables.
        split: the split of it.
        splits: the splits that this comes to, as the set names them; "" where it has none.
        ids: (n,) of the images.
        labels: (n,) their classes, "" where unknown; or None.
        image_of: (m,) the row of the image of each caption.
        texts: (m,) the captions.
        known: what the set is called and the hash of its content, by which a model's card may name it.
        notes: what was left out.
    """

    name: str
    split: str
    splits: tuple[str, ...]
    ids: NDArray[Any]
    labels: NDArray[Any] | None
    image_of: NDArray[np.int64]
    texts: tuple[str, ...]
    known: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def pairing(self) -> Pairing:
        """Which captions belong to which images, and which are equal."""
        return Pairing.of(self.image_of, len(self.ids), self.texts)

    def keep(self, images: NDArray[np.bool_]) -> Tested:
        """Without some images and their captions."""
        texts = np.flatnonzero(images[self.image_of])
        return replace(
            self,
            ids=self.ids[images],
            labels=None if self.labels is None else self.labels[images],
            image_of=(np.cumsum(images) - 1)[self.image_of[texts]],
            texts=tuple(self.texts[row] for row in texts.tolist()),
        )


@dataclass(frozen=True, eq=False)
class Embedded:
    """What a model makes of what is tested.

    Attributes:
        name: of the model.
        images: (n, d) vectors of the images; rows that could not be read are NaN.
        texts: (m, d) vectors of the captions.
        metric: of their Space.
        saw: labels that the model was fitted on.
        about: where the vectors come from, as JSON.
        notes: what a reader should know.
    """

    name: str
    images: Vectors
    texts: Vectors
    metric: str
    saw: tuple[Saw, ...]
    about: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    def readable(self) -> NDArray[np.bool_]:
        """Which images have a vector."""
        return np.asarray(np.isfinite(self.images).all(axis=1))

    def keep(self, images: NDArray[np.bool_], tested: Tested) -> Embedded:
        """Without some images and their captions; `tested` as it was before."""
        return replace(self, images=self.images[images], texts=self.texts[images[tested.image_of]])


def from_captions(captions: CaptionSet, name: str, split: str) -> tuple[Tested, CaptionSet]:
    """What is tested of a caption set, and the part of the set that it is.

    Args:
        captions: the whole set.
        name: of it.
        split: one of its splits, or "all".

    Raises:
        UsageError: there is no such split.
    """
    part = captions if split == ALL else captions.split(split)
    owner = np.repeat(np.arange(len(part)), [len(own) for own in part.captions])
    texts = tuple(text for own in part.captions for text in own)
    labels = None if part.labels is None else np.array([label or "" for label in part.labels.tolist()], dtype=object)
    splits = tuple(part.split_counts())
    known = (name, set_identity(captions))
    return Tested(name, split, splits, part.ids, labels, owner, texts, known, captions.notes), part


def embed_pair(pair: PairModel, name: str, part: CaptionSet, pixels: int | None, told: Progress | None) -> Embedded:
    """The vectors of images and captions by the towers of a model.

    Each different text is encoded once, so that equal captions have equal vectors to the last bit.

    Args:
        pair: the model.
        name: of it.
        part: images and captions.
        pixels: side to which images are read; by default what the model was made for.
        told: of progress.

    Raises:
        DataError: no image can be read.
    """
    own, fit = image_size(pair)
    side = pixels or own or PIXELS
    source = part.images(side, fit=fit)
    images = np.full((len(part), pair.dims), np.nan, dtype=np.float32)
    skipped: list[str] = []
    for start in range(0, len(part), IMAGES_AT_ONCE):
        batch = source.read(np.arange(start, min(start + IMAGES_AT_ONCE, len(part)), dtype=np.int64))
        if len(batch):
            images[batch.rows] = pair.image.encode(batch.data)
        skipped += [f"{one.id} ({one.reason})" for one in batch.skipped]
        _tell(told, f"{name}: images", min(start + IMAGES_AT_ONCE, len(part)), len(part))
    if len(skipped) == len(part):
        raise DataError(f"none of the {len(part):,} images can be read: {skipped[0]}")
    every = [text for own in part.captions for text in own]
    known = {text: row for row, text in enumerate(dict.fromkeys(every))}
    vectors, cut = _encoded(pair.text, list(known), name, told)
    notes = []
    if skipped:
        more = ", ..." if len(skipped) > 3 else ""
        notes.append(
            f"{len(skipped):,} images that cannot be read were left out with their captions: "
            f"{', '.join(skipped[:3])}{more}"
        )
    if cut:
        notes.append(f"{name}: {cut:,} of {len(known):,} texts are longer than its context and were cut off")
    about = {
        "space": pair.space.id,
        "dims": pair.dims,
        "weights_sha256": {"image": pair.image.card.weights_sha256, "text": pair.text.card.weights_sha256},
        "pixels": side,
    }
    at = np.array([known[text] for text in every], dtype=np.int64)
    return Embedded(name, images, vectors[at], pair.space.metric, saw_of(pair), about, tuple(notes))


def saw_of(pair: PairModel) -> tuple[Saw, ...]:
    """What a pair or one of its towers was fitted on."""
    return inherit_saw(pair.card.saw, pair.image.card.saw, pair.text.card.saw)


def known_to(pair: PairModel, known: Sequence[str]) -> tuple[str, ...]:
    """What a caption set may be called in the card of a model, besides `known`, its name and the hash of its content.

    A set of which a file came or went since has another hash; that it is the one of the training its name still tells.
    """
    own = pair.card.recipe.get(COLUMN)
    trained = own is not None and known and same_set(str(own), known[:1])
    # The first entry is of the training itself, those after it are of the model that it began with.
    return (*known, *(one.table for one in pair.card.saw[:1])) if own and trained else tuple(known)


def from_tables(images: Any, texts: Any, name: str, split: str) -> tuple[Tested, Embedded, NDArray[Any]]:
    """What is tested, and its vectors, of a table of images and a table of captions that join on `place`.

    Args:
        images: a table with one row an image, or its path; `split` and `label` are read where it has them.
        texts: a table with one row a caption, its `place` being that of the image, and its column `text` the words.
        name: of the tables.
        split: rows of this split, or "all"; all rows where the tables know no splits.

    Returns:
        What is tested, the vectors, and the ids (m,) of the captions.

    Raises:
        SchemaError: no `text`, two images of one place, or no caption of any image.
        SpaceMismatch: the tables are of different Spaces.
        UsageError: there is no such split.
    """
    left, right = read_table(images), read_table(texts)
    left.space.require(right.space, "ranking captions for images")
    if not right.has("text"):
        raise SchemaError(
            "the table of captions has no column `text`, by which equal captions are known: embed a caption set, or "
            "give the two tables in the order IMAGES TEXTS"
        )
    notes = []
    splits: tuple[str, ...] = ("",)
    if left.has("split"):
        column = left.column("split").astype(str)
        split = split if split in column else canonical_split(split)
        splits = tuple(dict.fromkeys(column.tolist())) if split == ALL else (split,)
        rows = np.flatnonzero(np.isin(column, splits))
        if not len(rows):
            raise UsageError(f"the table of images has no split {split!r}; it has {', '.join(sorted(set(column)))}")
        left = left.take(rows)
    elif split != ALL:
        notes.append("the tables know no splits: all their rows are ranked")
        split = ALL
    keys = {str(key): row for row, key in enumerate(left.keys.tolist())}
    if len(keys) < len(left):
        raise SchemaError(f"{len(left) - len(keys)} images share their `place` with another: keep one row an image")
    owner = np.array([keys.get(str(key), -1) for key in right.keys.tolist()], dtype=np.int64)
    held = np.flatnonzero(owner >= 0)
    if not len(held):
        raise SchemaError("no caption's `place` is that of an image of the table: give the two tables of one set")
    if len(held) < len(owner) and not right.has("split"):
        notes.append(f"{len(owner) - len(held):,} captions of images that are not ranked were left out")
    right, owner = right.take(held), owner[held]
    bare = len(left) - len(np.unique(owner))
    if bare:
        notes.append(f"{bare:,} images have no captions: they are ranked, but do not ask")
    labels = np.array([label or "" for label in left.column("label").tolist()]) if left.has("label") else None
    words = tuple(str(text) for text in right.column("text").tolist())
    tested = Tested(name, split, splits, left.ids, labels, owner, words, notes=tuple(notes))
    return tested, _of_tables(left, right, name), right.ids


def tables_at(images: Any, texts: Any, name: str, tested: Tested, ids: NDArray[Any]) -> Embedded:
    """The vectors of two further tables for what is tested; SchemaError where they lack a row."""
    left, right = read_table(images), read_table(texts)
    left.space.require(right.space, "ranking captions for images")
    parts = []
    for table, wanted, what in ((left, tested.ids, "images"), (right, ids, "captions")):
        rows = table.rows_of(wanted)
        if (rows < 0).any():
            raise SchemaError(
                f"{name} lacks {int((rows < 0).sum()):,} of the {len(rows):,} {what} that are ranked, such as "
                f"{wanted[int(np.argmin(rows))]!r}: embed the same set with it"
            )
        parts.append(table.take(rows))
    return _of_tables(parts[0], parts[1], name)


def near_duplicate_report(
    captions: CaptionSet, split: str, within: int, turned: bool, told: Progress | None = None
) -> dict[str, Any] | None:
    """Near-duplicates of the images of a split among those of the others, by perceptual hash.

    Args:
        captions: the whole set.
        split: the one that is tested.
        within: bits by which two near-duplicates differ at most.
        turned: whether turned and mirrored images count too.
        told: of progress.

    Returns:
        The count and share of such images, the number of pairs, examples, and `found`, the ids; None if there is no
        other split.
    """
    if split == ALL:
        return None
    tested = np.isin(captions.ids, captions.split(split).ids)
    if tested.all():
        return None
    source = captions.images(HASHED)
    found = np.zeros((len(captions), 8, 8))
    unread = 0
    for start in range(0, len(captions), 4 * IMAGES_AT_ONCE):
        batch = source.read(np.arange(start, min(start + 4 * IMAGES_AT_ONCE, len(captions)), dtype=np.int64))
        if len(batch):
            found[batch.rows] = spectra(batch.data["image"])
        unread += len(batch.skipped)
        _tell(told, "hashes of images", min(start + 4 * IMAGES_AT_ONCE, len(captions)), len(captions))
    ours, others = np.flatnonzero(tested), np.flatnonzero(~tested)
    near = near_duplicates(found[ours], found[others], within, turned=turned)
    rows = near.found
    return {
        "within_bits": within,
        "turned": turned,
        "tested": len(ours),
        "others": len(others),
        "count": len(rows),
        "share": near.share,
        "pairs": near.pairs,
        "without_hash": int((~near.compared).sum()),
        "unread": unread,
        "examples": [
            {
                "image": str(captions.ids[ours[row]]),
                "like": str(captions.ids[others[near.nearest[row]]]),
                "split": str(captions.splits[others[near.nearest[row]]]),
                "bits": int(near.distance[row]),
            }
            for row in rows[:EXAMPLES].tolist()
        ],
        "found": [str(captions.ids[ours[row]]) for row in rows.tolist()],
    }


def same_dims(embedded: Sequence[Embedded]) -> None:
    """SpaceMismatch where the two towers of a model give vectors of different lengths."""
    for one in embedded:
        if one.images.shape[1] != one.texts.shape[1]:
            raise SpaceMismatch(
                f"{one.name}: images have {one.images.shape[1]} components, captions {one.texts.shape[1]}: embed both "
                "with the towers of one model"
            )


def _encoded(tower: Encoder, texts: list[str], name: str, told: Progress | None) -> tuple[Vectors, int]:
    """Vectors of texts, and how many of them were cut off."""
    out = np.empty((len(texts), tower.dims), dtype=np.float32)
    cut = 0
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        piece = texts[start : start + TEXTS_AT_ONCE]
        out[start : start + len(piece)] = tower.encode({"text": np.array(piece, dtype=object)})
        cut += int(getattr(tower, "truncated", 0))
        _tell(told, f"{name}: captions", start + len(piece), len(texts))
    return out, cut


def _of_tables(left: EmbeddingTable, right: EmbeddingTable, name: str) -> Embedded:
    about = {
        "space": left.space.id,
        "dims": left.dims,
        "weights_sha256": {"image": left.meta.weights_sha256, "text": right.meta.weights_sha256},
        "tables": {"images": left.fingerprint(), "captions": right.fingerprint()},
    }
    saw = inherit_saw(left.meta.saw, right.meta.saw)
    return Embedded(name, left.vectors(), right.vectors(), left.space.metric, saw, about)


def _tell(told: Progress | None, what: str, done: int, total: int) -> None:
    if told is not None:
        told(what, done, total)


def table_name(path: str | Path) -> str:
    """What a table is called in a report."""
    return Path(str(path)).stem
