"""How far a study area is: what stands in its folder, what is older than what it was made of, and what comes next."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from placevec.area import StudyArea
from placevec.errors import PlacevecError
from placevec.sources.targets import is_targets, read_targets
from placevec.table import StoredTable, open_table, read_skipped
from placevec.tasks.modality_settings import ModalityOption, modality_class, options_of

MODALITY = "modality:"  # what the encoder of a table of features begins with
CLUSTER = "cluster"  # the column that `placevec cluster` adds to a table
STAGES = ("sources", "features", "graphs", "targets", "grids", "models", "embeddings", "results", "figures")
"""The stages of a study area, in the order in which one needs the other."""


@dataclass(frozen=True)
class StageItem:
    """What there is of one stage, or a stage of which there is nothing yet.

    Attributes:
        stage: one of `STAGES`.
        name: of the file or folder; "" where there is nothing yet.
        state: "there", "stale", "missing" or "unreadable".
        rows: of a table, else None.
        absent: cells of which the table knows nothing.
        why: it is stale or cannot be read.
        next: a command that goes on from here; "" where there is nothing to do.
    """

    stage: str
    name: str
    state: str
    rows: int | None = None
    absent: int | None = None
    why: str = ""
    next: str = ""

    def to_record(self) -> dict[str, Any]:
        """A JSON object."""
        return asdict(self)


def area_status(folder: str | Path) -> list[StageItem]:
    """Every file of every stage of a study area, and the stages of which there is nothing.

    A table of features is stale if its cells are no longer those of the area, or one of its sources was changed
    after it; one that was made of other tables, if one of those is no longer as it was.
    """
    area = StudyArea.open(folder)
    tables = _Tables(area)
    found = [
        *_files(area, "sources"),
        *tables.items,
        *_files(area, "graphs", ".parquet"),
        *_files(area, "grids"),
        *_files(area, "models", "card.json"),
        *_files(area, "results", ".json"),
        *_files(area, "figures"),
    ]
    there = {item.stage for item in found}
    home = shlex.quote(str(area.folder))
    missing = [StageItem(stage, "", "missing", next=_next(stage, area, home, there)) for stage in STAGES]
    listed = [item for stage in STAGES for item in found if item.stage == stage]
    listed += [item for item in missing if item.stage not in there]
    return sorted(listed, key=lambda item: STAGES.index(item.stage))


class _Tables:
    """The tables of an area, each looked at once."""

    def __init__(self, area: StudyArea) -> None:
        self._area = area
        self._cells: dict[int, Any] = {}
        self.items: list[StageItem] = []
        opened: list[tuple[Path, StoredTable]] = []
        for path in _listed(area, "tables"):
            if path.suffix not in (".parquet", ".lance") or path.name.endswith(".skipped.parquet"):
                continue
            try:
                if is_targets(path):
                    self.items.append(self._targets(path))
                else:
                    opened.append((path, open_table(path)))
            except PlacevecError as error:
                self.items.append(StageItem("features", path.name, "unreadable", why=str(error)))
        prints = {path: table.fingerprint() for path, table in opened}
        for path, table in opened:
            self.items.append(self._table(path, table, {one for other, one in prints.items() if other != path}))

    def cells(self, resolution: int) -> Any:
        if resolution not in self._cells:
            self._cells[resolution] = self._area.cells(resolution)
        return self._cells[resolution]

    def _targets(self, path: Path) -> StageItem:
        places, card = read_targets(path)
        own = places.column("h3").astype(np.uint64)
        missing = len(self.cells(card.resolution)) - len(own)
        why = self._foreign(own, card.resolution)
        return StageItem("targets", path.name, "stale" if why else "there", len(places), max(0, missing), why)

    def _table(self, path: Path, table: StoredTable, prints: set[str]) -> StageItem:
        meta = table.meta
        absent = len(read_skipped(path))
        why = ""
        grid = str((meta.chip_layout or {}).get("grid_id", ""))
        if grid.startswith("h3:"):
            level = int(grid.removeprefix("h3:"))
            own = table.places(["id", "geometry", "h3"])
            if own.has("h3"):
                why = self._foreign(own.column("h3").astype(np.uint64), level)
            if not why and table.num_rows + absent != len(self.cells(level)):
                why = f"it tells of {table.num_rows + absent:,} of {len(self.cells(level)):,} cells"
        if table.has(CLUSTER):
            # Rows of another table, divided into clusters: no command of a modality makes it again.
            return StageItem("embeddings", path.name, "there", table.num_rows, None)
        if not meta.encoder.startswith(MODALITY):
            gone = [one for one in meta.parents if one not in prints]
            if not why and gone and len(gone) < len(meta.parents):
                why = "a table that it was made of was made again, or is gone"
            return StageItem("embeddings", path.name, "stale" if why else "there", table.num_rows, absent, why)
        name = meta.encoder.removeprefix(MODALITY)
        settings = meta.recipe.get("settings", {})
        why = why or _newer(path, name, settings, self._area)
        only = [word for column in meta.recipe.get("only", ()) for word in ("--only", str(column))]
        again = _command(name, settings, path, self._area, only) if why else ""
        return StageItem("features", path.name, "stale" if why else "there", table.num_rows, absent, why, again)

    def _foreign(self, own: Any, level: int) -> str:
        wanted = self.cells(level)
        at = np.minimum(np.searchsorted(wanted, own), len(wanted) - 1)
        strangers = int((wanted[at] != own).sum())
        return f"{strangers:,} of its cells are not of this area" if strangers else ""


def _files(area: StudyArea, stage: str, ending: str = "") -> Iterator[StageItem]:
    for path in _listed(area, stage):
        if ending == "card.json":
            if not (path / ending).exists():
                continue
            try:
                json.loads((path / ending).read_text(encoding="utf-8"))
            except (OSError, ValueError):
                yield StageItem(stage, path.name, "unreadable", why="its card.json is damaged")
                continue
        elif not path.name.endswith(ending):
            continue
        yield StageItem(stage, path.name, "there")


def _listed(area: StudyArea, sub: str) -> list[Path]:
    folder = (area.folder or Path()) / sub
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _options(name: str) -> list[ModalityOption]:
    """The options of a modality; none of one that is not installed here."""
    try:
        return options_of(modality_class(name))
    except (ImportError, PlacevecError):
        return []


def _newer(table: Path, name: str, settings: dict[str, Any], area: StudyArea) -> str:
    """Why a table is older than its sources; "" if it is not, or they are not here."""
    made = table.stat().st_mtime
    for option in _options(name):
        if not option.file:
            continue
        value = settings.get(option.name)
        for text in value if isinstance(value, list) else [value]:
            for place in (Path(str(text)), (area.folder or Path()) / str(text)):
                if text and place.exists() and place.stat().st_mtime > made:
                    return f"{place.name} was changed after it"
    return ""


def _command(name: str, settings: dict[str, Any], table: Path, area: StudyArea, only: list[str]) -> str:
    """The command that makes a table of features again, as it was made."""
    words = ["placevec", "area", "features", name, str(area.folder)]
    for option in _options(name):
        value = settings.get(option.name)
        default = list(option.default) if isinstance(option.default, tuple) else option.default
        if value is None or (not option.required and value == default):
            continue
        if isinstance(value, bool):
            words.append(option.flag if value else f"--no-{option.flag[2:]}")
            continue
        for one in value if isinstance(value, list) else [value]:
            words += [option.flag, str(one)]
    return shlex.join([*words, *only, "-o", str(table)])


def _next(stage: str, area: StudyArea, home: str, there: set[str]) -> str:
    """A command for a stage of which there is nothing; "" where others come first."""
    sources = [path.name for path in _listed(area, "sources")]
    osm = next((name for name in sources if name.endswith((".pbf", ".osm", ".osm.gz"))), "")
    extract = shlex.quote(f"{area.folder}/sources/{osm}") if osm else "FILE"
    if stage == "sources":
        return f"put extracts, feeds and rasters into {home}/sources"
    if stage == "features":
        return f"placevec area features roads {home} --osm {extract}"
    if stage == "graphs":
        return f"placevec area graph {home} --osm {extract} --mode walk"
    if stage == "targets":
        return f"placevec area targets FILE --area {home}"
    if stage == "embeddings" and "features" in there:
        return "placevec fuse --help"
    if stage == "results" and {"features", "targets"} <= there:
        return f"placevec probe {home}/tables/NAME.parquet --labels {home}/tables/targets.parquet -t TARGET"
    return ""
