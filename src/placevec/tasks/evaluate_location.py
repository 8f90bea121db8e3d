"""`evaluate location`: every encoder and table on every target, beside every compulsory baseline, in one report."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec import __version__
from placevec.errors import DataError, LeakError, SchemaError, UsageError
from placevec.files import write_text
from placevec.measure.leaks import refuse_leaks
from placevec.measure.probe_report import ProbeReport
from placevec.measure.probes import probe
from placevec.provenance import digest_json
from placevec.table import EmbeddingTable, Places
from placevec.tasks.evaluate import Evaluation, Finished, Report, digest_arrays
from placevec.tasks.evaluate_banks import BankRows
from placevec.tasks.evaluate_features import (
    Features,
    LocationModel,
    is_table,
    read_encoders,
    read_table,
    read_tables,
    table_features,
    untrained_twins,
)
from placevec.tasks.evaluate_protocol import Protocol
from placevec.tasks.evaluate_targets import Columns, Target, read_target
from placevec.tasks.inputs import CELLS, Input

# The target, the row of features, steps done and steps in all.
Progress = Callable[[str, str, int, int], None]


def evaluate_location(
    compared: Sequence[Any] | Mapping[str, Any],
    targets: Sequence[str] | str,
    *,
    on: str | Path | None = None,
    area: str | Path | None = None,
    resolution: int | None = None,
    columns: Columns | None = None,
    raw: Any = None,
    untrained: Sequence[Any] | Mapping[str, Any] = (),
    bank: Any = None,
    modes: Sequence[str] = (),
    bank_from_train: Sequence[str] = (),
    protocol: Protocol | None = None,
    out: str | Path | None = None,
    html: bool = True,
    restart: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate encoders of coordinates and tables on targets, by the protocol of `docs/protocol.md`.

    Encoders are run on the coordinates of each target's places; tables are joined by id. Every table of scores holds
    all compulsory baselines. Of each location encoder an untrained twin is made.

    Args:
        compared: model folders, encoders, ``sincos``, ``harmonics:L`` (fixed functions count as baselines), and tables
            or their paths; ``NAME=`` may stand before each, or give a mapping.
        targets: see `placevec.tasks.evaluate_targets.read_target`.
        on: the common places, "cells" of `area` or a file; by default those that all tables hold.
        area: folder of the study area.
        resolution: of its cells.
        columns: how CSV files name their columns.
        raw: a table of raw features at the common places.
        untrained: further tables or encoders of untrained networks.
        bank: a table that is looked up; each encoder then has further rows, one for each mode.
        modes: those of `placevec augment`.
        bank_from_train: columns of a target's own file that are looked up among the training rows of each fold.
        protocol: splits, folds, blocks, buffer and the like.
        out: a JSON file; a Markdown table and an HTML report stand beside it, and finished targets in a folder.
        html: whether to write the HTML report, which needs matplotlib.
        restart: forget finished targets.
        progress: told of each step.

    Raises:
        LeakError: an encoder, a table or the bank was fitted on labels of rows to be tested.
        UsageError: a target, encoder or option that does not exist, or nothing to compare.
        SchemaError: tables without places in common.
        DataError: none of the targets has values at enough places.
    """
    rules = protocol or Protocol()
    wanted = [targets] if isinstance(targets, str) else list(targets)
    if not wanted:
        raise UsageError("no target: name one, such as elevation=dataset:etopo20")
    run = _Run(_split(compared), rules, on, area, resolution, columns or Columns(), raw, untrained)
    if bank is not None or bank_from_train:
        run.banks = BankRows(None if bank is None else read_table(bank), tuple(modes), tuple(bank_from_train))
    elif modes:
        raise UsageError("--mode says how a bank is looked up: give --bank TABLE, or --bank-from-train COLUMN")
    if out is not None and Path(out).suffix != ".json":
        raise UsageError(f"{out}: name the output NAME.json; the Markdown and the HTML report stand beside it")
    store = None if out is None else Finished(Path(out).with_suffix(".targets"))
    reports: list[Report] = []
    skipped: dict[str, str] = {}
    resumed = 0
    read = [read_target(text, lambda: run.places, run.columns) for text in wanted]
    twice = next((t.name for t in read if [o.name for o in read].count(t.name) > 1), None)
    if twice is not None:
        raise UsageError(f"two targets are called {twice!r}: name one differently, NAME=…")
    rules.check_names([target.name for target in read])
    for place, target in enumerate(read):
        chosen = run.usable(target)
        if isinstance(chosen, str):
            skipped[target.name] = chosen
            continue
        key, features = run.key(chosen), run.features(chosen)
        report = None if store is None or restart else store.read(target.name, key)
        if report is None:
            told = None if progress is None else _told(progress, f"{target.name} ({place + 1} of {len(read)})")
            try:
                probed = run.probe(chosen, features, told)
            except (DataError, LeakError, UsageError) as error:
                raise type(error)(f"the target {target.name!r}: {error}") from error
            report = run.report(chosen, probed)
            if store is not None:
                store.write(target.name, key, report)
        else:
            resumed += 1
        reports.append(report)
    if not reports:
        why = "; ".join(f"{name}: {reason}" for name, reason in skipped.items())
        raise DataError(f"no target could be evaluated ({why})")
    found = Evaluation(tuple(reports), skipped, tuple(run.notes), run.about(wanted), resumed)
    if out is not None:
        write_evaluation(found, out, html=html)
    return found


def write_evaluation(found: Evaluation, out: str | Path, *, html: bool = True) -> list[Path]:
    """Write the JSON file, and the Markdown table and HTML report of the same name beside it; returns what was written.

    Raises:
        MissingExtra: the HTML report draws figures, and matplotlib is not installed.
    """
    from placevec.tasks.evaluate_page import html_report
    from placevec.tasks.evaluate_tables import markdown

    goal = Path(out)
    write_text(goal, found.to_json())
    write_text(goal.with_suffix(".md"), markdown(found))
    if not html:
        return [goal, goal.with_suffix(".md")]
    return [goal, goal.with_suffix(".md"), html_report(found).write(goal.with_suffix(".html"))]


def _split(compared: Any) -> tuple[list[LocationModel], dict[str, EmbeddingTable]]:
    if isinstance(compared, Mapping):
        tables = {name: one for name, one in compared.items() if is_table(one)}
        models = read_encoders({name: one for name, one in compared.items() if name not in tables})
        return models, read_tables(tables)
    listed = [compared] if isinstance(compared, str | Path) else list(compared)
    return read_encoders([one for one in listed if not is_table(one)]), read_tables([x for x in listed if is_table(x)])


class _Run:
    """What all targets of an evaluation share."""

    def __init__(
        self,
        compared: tuple[list[LocationModel], dict[str, EmbeddingTable]],
        rules: Protocol,
        on: str | Path | None,
        area: str | Path | None,
        resolution: int | None,
        columns: Columns,
        raw: Any,
        untrained: Any,
    ) -> None:
        self.models, self.tables = compared
        if not self.models and not self.tables:
            raise UsageError("nothing to evaluate: give a model folder, a table, or harmonics:L")
        self.rules, self.columns = rules, columns
        self.on, self.area, self.resolution = on, area, resolution
        self.raw = None if raw is None else read_table(raw)
        listed = list(untrained.items()) if isinstance(untrained, Mapping) else [(None, one) for one in untrained]
        plain = {name: one for name, one in listed if name is not None} or [one for _, one in listed]
        idle_models, idle_tables = _split(plain)
        own = [LocationModel(m.name.removesuffix("-untrained"), m.encode, "untrained") for m in idle_models]
        twins = [twin for twin in untrained_twins(self.models, rules.seed) if twin.name not in {m.name for m in own}]
        self.idle_models = [*own, *twins]
        self.idle_tables = {name.removesuffix("-untrained"): table for name, table in idle_tables.items()}
        self.banks: BankRows | None = None
        self.notes: list[str] = []
        self._at: dict[int, list[Features]] = {}

    @cached_property
    def places(self) -> Places:
        """The common places: those asked for, or of the first table, that all tables hold."""
        if self.on is not None or self.area is not None:
            places = Input(
                on=str(self.on or CELLS),
                area=None if self.area is None else str(self.area),
                resolution=self.resolution,
                lon=self.columns.lon,
                lat=self.columns.lat,
                id=self.columns.id,
            ).places()
        elif self._all_tables:
            places = self._all_tables[0].places()
        else:
            raise UsageError("at which places? give --area FOLDER or --on FILE, or a table")
        for table in self._all_tables:
            places = places.take(np.flatnonzero(table.rows_of(places.ids) >= 0))
        if len(places) == 0:
            raise SchemaError("the tables and the places have no id in common: embed these very places")
        # Columns of the tables are targets too.
        for table in self._all_tables:
            news = [name for name in table.attributes if not places.has(name)]
            if news:
                extra = table.take(table.rows_of(places.ids))
                for name in news:
                    places = places.with_column(name, extra.data[name])
        return places.take(np.flatnonzero(places.located))

    @property
    def _all_tables(self) -> list[EmbeddingTable]:
        raw = [] if self.raw is None else [self.raw]
        return [*self.tables.values(), *raw, *self.idle_tables.values()]

    def usable(self, target: Target) -> Target | str:
        """The rows of a target that are probed, or why it is skipped."""
        held = np.array([value is not None and value == value and value != "" for value in target.values.tolist()])
        rows = np.flatnonzero(held)
        if len(rows) < self.rules.min_places:
            return f"{len(rows)} places have a value, fewer than {self.rules.min_places}"
        if self.rules.limit and len(rows) > self.rules.limit:
            rows = np.sort(np.random.default_rng(self.rules.seed).choice(rows, self.rules.limit, replace=False))
        taken = target.take(rows)
        if not target.own:
            return taken
        # Tables join a target's own places only if they were made there.
        for name, table in {**self.tables, **self.idle_tables}.items():
            at = table.rows_of(taken.places.ids) >= 0
            if at.any() and not at.all():
                self._note(f"{target.name}: only the {int(at.sum()):,} places that the table {name!r} holds")
                taken = taken.take(np.flatnonzero(at))
        if len(taken.places) < self.rules.min_places:
            return f"the tables hold {len(taken.places)} of its places, fewer than {self.rules.min_places}"
        return taken

    def features(self, target: Target) -> list[Features]:
        """All features at the places of a target."""
        key = id(target)
        if key in self._at:
            return self._at[key]
        places = target.places
        lonlat = places.lonlat()
        found = [model.at(lonlat) for model in [*self.models, *self.idle_models]]
        for tables, role in ((self.tables, "learned"), (self.idle_tables, "untrained")):
            for name, table in tables.items():
                if (table.rows_of(places.ids) >= 0).all():
                    found.append(table_features(name, table, places, role))
                else:
                    self._note(f"{target.name} has places of its own, where the table {name!r} has no vectors")
        if self.banks is not None:
            found += self.banks.features(target, self.models, self.tables, self.buffer_m, self._note)
        labels = [(one.role, one.name) for one in found]
        twice = next((name for role, name in labels if labels.count((role, name)) > 1), None)
        if twice is not None:
            raise UsageError(f"two features are called {twice!r}: put NAME= before one of the encoders or tables")
        self._at = {key: found}
        return found

    @property
    def buffer_m(self) -> float:
        """The widest ground that a table has seen, in metres, unless it is given."""
        if self.rules.buffer_m is not None:
            return self.rules.buffer_m
        tables = [*self._all_tables, *(() if self.banks is None or self.banks.table is None else (self.banks.table,))]
        return max((float((table.meta.chip_layout or {}).get("ground_m", 0.0)) for table in tables), default=0.0)

    def key(self, target: Target) -> str:
        """The digest of all that the report of a target is made from."""
        lonlat = target.places.lonlat()
        data = digest_arrays([lonlat.lon, lonlat.lat, np.asarray(target.values), np.asarray(target.groups)])
        features = [[one.name, one.role, one.digest] for one in self.features(target)]
        pixels = self._pixels(target)
        raw = "" if pixels is None else digest_arrays([pixels])
        settings = {**self.rules.settings_of(target.name), "buffer_m": self.buffer_m}
        return digest_json([__version__, target.name, target.source, data, features, raw, settings])

    def probe(
        self, target: Target, features: Sequence[Features], progress: Callable[[str, int, int], None] | None
    ) -> ProbeReport:
        """Probe one target with all features; LeakError if one of them has seen its labels."""
        places = target.places
        lonlat = places.lonlat()
        for one in features:
            for column in dict.fromkeys((target.name, target.column)):
                refuse_leaks(one.name, one.saw, column, lonlat, places.keys, count=len(places))
        by_role: dict[str, dict[str, Any]] = {"learned": {}, "untrained": {}, "fixed": {}}
        for one in features:
            by_role[one.role][one.name] = one.values
        cells = places.column("h3").astype(np.uint64) if places.has("h3") else None
        return probe(
            by_role["learned"],
            lonlat,
            target.values,
            target=target.name,
            groups=target.groups,
            h3=cells,
            raw=self._pixels(target),
            untrained=by_role["untrained"],
            fixed=by_role["fixed"],
            blocks={one.name: one.blocks for one in features},
            buffer_m=self.buffer_m,
            progress=progress,
            **self.rules.settings_of(target.name),
        )

    def report(self, target: Target, probed: ProbeReport) -> dict[str, Any]:
        """The report of one target as JSON, with where it comes from."""
        return {"source": target.source, "own_places": target.own, **json.loads(probed.to_json())}

    def about(self, targets: Sequence[str]) -> dict[str, Any]:
        """The settings, as JSON."""
        tables = {name: table.fingerprint() for name, table in self.tables.items()}
        rules = {
            **vars(self.rules),
            "block": dict(self.rules.block) if isinstance(self.rules.block, Mapping) else self.rules.block,
        }
        return {
            "placevec": __version__,
            "encoders": [model.name for model in self.models],
            "tables": tables,
            "targets": list(targets),
            "banks": None if self.banks is None else self.banks.about(),
            "protocol": {**rules, "buffer_m": self.buffer_m},
        }

    def _pixels(self, target: Target) -> NDArray[np.float32] | None:
        if self.raw is None:
            return None
        rows = self.raw.rows_of(target.places.ids)
        return self.raw.vectors(rows) if (rows >= 0).all() else None

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def _told(progress: Progress, target: str) -> Callable[[str, int, int], None]:
    return lambda label, done, total: progress(target, label, done, total)
