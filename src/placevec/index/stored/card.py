"""`index.json`: what an index was made from and how, and the digests of its files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from placevec.errors import CheckpointError, FormatError, SpaceMismatch, StaleIndex, UsageError
from placevec.index.stored.digests import FileDigest
from placevec.index.stored.settings import IndexSettings
from placevec.index.stored.tune import Measured
from placevec.provenance import Space, TableMeta, digest_json
from placevec.table import EmbeddingTable, StoredTable

CARD = "index.json"
VERSION = 1
REMEDY = "build it again with `placevec index TABLE`"
UPDATE = "bring it up to date with `placevec index TABLE --update`"


@dataclass(frozen=True)
class IndexCard:
    """What an index is."""

    settings: IndexSettings  # its kind and numbers, with the number of cells that was used
    rows: int  # rows of the table
    slots: int  # vectors kept, those of rows that are gone included
    trained: int  # rows when it was built; what was added later was not looked at by k-means
    fingerprint: str  # of the table
    state: str  # of the table's file, see `state_of`; "" where it is not known
    space: Space  # of the vectors
    tower: str  # that made them
    encoder: str  # that made them, for people
    weights_sha256: str  # of that encoder
    dtype: str  # in which the vectors are kept
    files: Mapping[str, FileDigest] = field(default_factory=dict)  # by name
    measured: Measured | None = None  # what it found of a sample when it was built; None: not measured
    chosen: bool = False  # whether probes or ef were found by that, not set by hand

    def text(self) -> str:
        """The JSON of the card."""
        value = {
            "version": VERSION,
            **self.settings.to_json(),
            "rows": self.rows,
            "slots": self.slots,
            "trained": self.trained,
            "table": {"fingerprint": self.fingerprint, "state": self.state},
            "space": self.space.to_json(),
            "tower": self.tower,
            "encoder": self.encoder,
            "weights_sha256": self.weights_sha256,
            "dtype": self.dtype,
            "measured": None if self.measured is None else self.measured.to_json(),
            "chosen": self.chosen,
            "files": {name: digest.to_json() for name, digest in self.files.items()},
        }
        return json.dumps(value, indent=1, ensure_ascii=False) + "\n"

    def of_space(self, table: EmbeddingTable | StoredTable) -> None:
        """Raise SpaceMismatch unless the vectors of `table` are of the Space of the index."""
        mine, theirs = self.space, table.space
        if (mine.id, mine.dims) != (theirs.id, theirs.dims):
            raise SpaceMismatch(
                f"the index of kind {self.settings.kind!r} is of the Space {mine.label}, the table of "
                f"{theirs.label}: {REMEDY}"
            )

    def belongs(self, table: EmbeddingTable | StoredTable) -> None:
        """Raise unless `table` has the Space, the model and the number of rows of the index; its content is not read.

        Raises:
            SpaceMismatch: it is of another Space.
            StaleIndex: its vectors are of another model, or it has other rows.
        """
        what = f"the index of kind {self.settings.kind!r}"
        self.of_space(table)
        theirs = table.meta
        if (self.tower, self.weights_sha256) != (theirs.tower, theirs.weights_sha256):
            raise StaleIndex(
                f"{what} holds vectors of {named(self.tower, self.weights_sha256)}, the table those of "
                f"{named(theirs.tower, theirs.weights_sha256)}: {REMEDY}"
            )
        if self.rows != table.num_rows:
            raise StaleIndex(f"{what} knows {self.rows:,} rows, the table has {table.num_rows:,}: {UPDATE}")


def named(tower: str, weights: str) -> str:
    """A tower and its weights in words."""
    return f"the tower {tower!r} with the weights {weights[:12] or 'unknown'}"


def of_table(meta: TableMeta) -> dict[str, Any]:
    """The fields of a card that a table's provenance gives."""
    return {
        "space": meta.space,
        "tower": meta.tower,
        "encoder": meta.encoder,
        "weights_sha256": meta.weights_sha256,
    }


def read_card(folder: Path) -> IndexCard:
    """The card of an index.

    Raises:
        UsageError: there is no index.
        CheckpointError: the card is damaged, or of a later version.
    """
    path = folder / CARD
    if not path.is_file():
        raise UsageError(f"{folder} is no index, it has no {CARD}: make one with `placevec index TABLE`")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if int(value["version"]) > VERSION:
            raise CheckpointError(f"{path} has version {value['version']}, this placevec reads {VERSION}: {REMEDY}")
        return IndexCard(
            IndexSettings.from_json(value),
            int(value["rows"]),
            int(value["slots"]),
            int(value["trained"]),
            str(value["table"]["fingerprint"]),
            str(value["table"]["state"]),
            Space.from_json(value["space"]),
            str(value["tower"]),
            str(value["encoder"]),
            str(value["weights_sha256"]),
            str(value["dtype"]),
            {str(name): FileDigest(**digest) for name, digest in value["files"].items()},
            None if value.get("measured") is None else Measured(**value["measured"]),
            bool(value.get("chosen", False)),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, FormatError, UsageError) as error:
        raise CheckpointError(f"{path} is damaged ({error!r:.120}): {REMEDY}") from None


def state_of(table: EmbeddingTable | StoredTable) -> str:
    """What changes whenever the stored bytes of a table do, and is cheap to ask; "" where nothing does.

    The version of a Lance dataset begins anew where another was written in its place, so the names and times of its
    files count too.
    """
    if isinstance(table, EmbeddingTable):
        return ""
    path = Path(str(table.path))
    if not path.exists():
        return ""
    if not path.is_dir():
        return table.state
    files = sorted(part for part in path.rglob("*") if part.is_file())
    found = [(part.name, part.stat().st_size, part.stat().st_mtime_ns) for part in files]
    return f"{table.state}-{digest_json(found)[:32]}"
