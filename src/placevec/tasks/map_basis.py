"""Which colours a map has: fitted, read from a file, or turned towards those of an older map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from placevec.atlas.align import align_basis
from placevec.atlas.colour import Anchors, ColourBasis, fit_basis
from placevec.errors import FormatError, SpaceMismatch
from placevec.files import write_text
from placevec.tasks.map_subjects import Subject


def shared_basis(subjects: Sequence[Subject], path: str | Path | None, older: Subject | None) -> ColourBasis:
    """One basis for all subjects.

    A basis of the same Space is used as it is. One of another Space is what the new scores are turned towards, by
    the places that both know: those that the file remembers, or those of `older`.

    Args:
        subjects: what will be drawn; of one Space.
        path: a JSON file of a basis; what is fitted here is written to it if it does not exist.
        older: the table or grid of an older map, or None.

    Raises:
        SpaceMismatch: the subjects are of several Spaces; or the file's basis is of another Space and remembers no
            places, or is of a third Space than `older`.
        UsageError: fewer than 50 places are shared.
    """
    space = subjects[0].space
    for subject in subjects[1:]:
        space.require(subject.space, f"colours shared by {subjects[0].name} and {subject.name}")
    stored = None
    if path is not None and Path(path).exists():
        try:
            stored = ColourBasis.from_json(Path(path).read_text())
        except (UnicodeDecodeError, FormatError) as error:
            raise FormatError(f"{path}: {error}") from None
        if stored.space == space.id:
            return stored
    if older is not None and older.space.id == space.id:
        basis = _remembering(fit_basis(older.sample(), [space.id]), older)
        return _kept(basis, path, stored)
    fitted = _remembering(fit_basis((part for one in subjects for part in one.sample()), [space.id]), subjects[0])
    if older is None and stored is None:
        return _kept(fitted, path, stored)
    reference, anchors, name = _reference(stored, path, older, space.label)
    known, vectors = subjects[0].shared(anchors)
    turned = align_basis(fitted, vectors, reference, anchors.scores[known], name=name)
    return _kept(_remembering(turned, subjects[0]), path, stored)


def _reference(
    stored: ColourBasis | None, path: str | Path | None, older: Subject | None, wanted: str
) -> tuple[ColourBasis, Anchors, str]:
    """The basis to turn towards, places with their scores on it, and its name."""
    if older is not None:
        if stored is not None and stored.space != older.space.id:
            raise SpaceMismatch(
                f"{path}: a basis of Space {stored.space!r}, but {older.name} is of {older.space.label}: give the "
                "basis that its map was drawn with"
            )
        basis = stored or fit_basis(older.sample(), [older.space.id])
        return basis, older.anchors(basis), older.name
    assert stored is not None
    assert path is not None
    if stored.anchors is None or not len(stored.anchors):
        raise SpaceMismatch(
            f"{path}: a basis of Space {stored.space!r} that remembers no places, for vectors of {wanted}: give the "
            "table of that Space with --align, so that the colours can be turned towards it"
        )
    return stored, stored.anchors, Path(path).name


def _remembering(basis: ColourBasis, subject: Subject) -> ColourBasis:
    return replace(basis, anchors=subject.anchors(basis))


def _kept(basis: ColourBasis, path: str | Path | None, stored: ColourBasis | None) -> ColourBasis:
    # A file that is there is the older map's: it is never overwritten by what was turned towards it.
    if path is not None and stored is None:
        write_text(path, basis.to_json() + "\n")
    return basis
