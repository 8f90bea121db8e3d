"""`embed`: apply an encoder to a source; the result is a table, and the list of what could not be embedded."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from placevec import __version__, registry
from placevec.engine.embedding import EmbedWork, name_of
from placevec.engine.flags import counted_flags, flag_columns, flags_of
from placevec.engine.jobs import Committed, Ids, Job, job_folder, plan_parts, plan_shards
from placevec.engine.shards import Shard
from placevec.engine.work import Progress, Spec, Work, build, spec_of
from placevec.errors import DataError, UsageError
from placevec.objects import Place, Remote, located
from placevec.provenance import SourceRef
from placevec.sources.base import Partitioned
from placevec.table import EmbeddingTable
from placevec.table.codec import DTYPES
from placevec.table.fingerprint import fingerprint
from placevec.table.places import check_ids
from placevec.tasks.identity import encoder_identity, source_identity

if TYPE_CHECKING:
    import pyarrow as pa

    from placevec.encoders.base import Encoder, ModelCard, Vectors
    from placevec.provenance import Space
    from placevec.sources.base import Source

SUFFIXES = (".parquet", ".geoparquet", ".gpq", ".lance")


class Engine(Protocol):
    """Does the shards of a job; see `engine.local.LocalEngine` and `engine.ray.RayEngine`.

    One that works in this process says so by ``in_process = True``, and is given the work itself, not its Spec.
    """

    def run(self, job: Job, work: Work | Spec, progress: Progress | None = None) -> None:
        """Do all shards that are not done."""


@dataclass(frozen=True)
class EmbedSummary:
    """What `embed` has made.

    Attributes:
        out: the table.
        places: places in = `rows` + `skipped`.
        rows: embedded places.
        skipped: places that were not; they stand in ``NAME.skipped.parquet``.
        skipped_because: how many for each "stage: reason".
        fingerprint: the table's.
        space: id of the Space of the vectors.
        dims: components of a vector.
        shards: shards of the job.
        resumed: of these, how many were done before this run.
        seconds: time of this run.
        notes: what a person should know.
        flagged: embedded places that the encoder flags, by column; they are among `rows`.
    """

    out: Place
    places: int
    rows: int
    skipped: int
    skipped_because: Mapping[str, int]
    fingerprint: str
    space: str
    dims: int
    shards: int
    resumed: int
    seconds: float
    notes: tuple[str, ...] = ()
    flagged: Mapping[str, int] = field(default_factory=dict)

    def some_rows(self) -> EmbedSummary:
        """This summary; DataError if there were places and none of them could be embedded."""
        if self.places and not self.rows:
            reason = next(iter(self.skipped_because), "no reason is known")
            raise DataError(
                f"{self.out}: none of the {self.places:,} places could be embedded ({reason}); "
                f"all reasons stand in {self.out.stem}.skipped.parquet"
            )
        return self

    def to_record(self) -> dict[str, Any]:
        """A JSON object."""
        return {**asdict(self), "out": str(self.out), "notes": list(self.notes)}


def embed(
    source: Source | Partitioned | Spec,
    encoder: Encoder | Spec,
    out: str | Path | Remote,
    *,
    batch: int = 256,
    workers: int = 1,
    engine: str | Engine = "local",
    dtype: str = "float32",
    shard_rows: int | None = None,
    restart: bool = False,
    progress: Progress | None = None,
    recipe: Mapping[str, Any] | None = None,
    seed: int | None = None,
    sources: Sequence[SourceRef] = (),
    parents: Sequence[str] = (),
    chip_layout: Mapping[str, Any] | None = None,
) -> EmbedSummary:
    """Embed all places of `source` with `encoder` into the table `out`.

    Killed at any moment and run again, it goes on from the shards that are done; the table is the same. A place that
    cannot be read or encoded is listed among the skipped ones with the reason.

    Args:
        source: the places and their content, or a Spec that builds it (in each worker process). Of a `Partitioned`
            one, places are read by workers, shard by shard, and the rows keep the order of the file.
        encoder: makes the vectors, or a Spec that builds it.
        out: ``.parquet`` or ``.lance``, of this machine or s3://; it appears when all is done.
        batch: places read and encoded at once.
        workers: processes.
        engine: the name of an engine, or one.
        dtype: "float32", "float16" or "int8".
        shard_rows: places done between two savings; by default a number that suits the size.
        restart: forget what an unfinished job for `out` has done.
        progress: called with the places done, all places, and counts ("embedded", "skipped").
        recipe: the settings that made source and encoder, for provenance; they are part of the job's key.
        seed: the random seed, for provenance.
        sources: what is read, for provenance, besides what `source.refs` says.
        parents: fingerprints of the tables that this one is made from, besides those of `source.parents`.
        chip_layout: `emb:chip_layout` of the table; by default that of the source.

    Raises:
        UsageError: an option is none, or the encoder needs what the source does not give.
        JobError: another process works on `out`, an unfinished other job stands there, a worker died twice at one
            shard, the disk is full, or rows and skipped rows are not exactly the places.
    """
    began = time.monotonic()
    goal = _goal(out)
    if dtype not in DTYPES:
        raise UsageError(f"vectors cannot be stored as {dtype!r}; choose one of {', '.join(DTYPES)}")
    if batch < 1 or (shard_rows is not None and shard_rows < 1):
        raise UsageError(f"batch is {batch}, shard_rows is {shard_rows}: give at least 1")
    driver = registry.get("engine", engine)(workers=workers) if isinstance(engine, str) else engine
    source_spec, encoder_spec = spec_of(source), spec_of(encoder)
    built: Source | Partitioned = build(source)
    maker: Encoder = build(encoder)

    # int8 needs one scale for all rows, which is known when all are embedded: until then they are float32.
    staged = "float32" if dtype == "int8" else dtype
    reader = _Counting(maker) if hasattr(maker, "truncated") else None
    work = EmbedWork(built, reader or maker, batch, staged)
    plan = _plan(work, shard_rows, batch)
    settings = {"do": "embed", "batch": batch, "dtype": dtype, "placevec": __version__, **(recipe or {})}
    inputs = {
        "places": plan.fingerprint,
        "source": source_identity(built, source_spec),
        "encoder": encoder_identity(maker, encoder_spec),
        "recipe": settings,
        "seed": seed,
        "version": __version__,
    }
    form = "lance" if goal.suffix == ".lance" and dtype != "int8" else "parquet"
    flags = counted_flags(maker)
    job = Job(job_folder(goal), inputs, plan.shards, "lance" if form == "lance" else "parquet", flags)
    with job.open(restart=restart):
        resumed = len(job.records)
        spec = Spec(
            "placevec.engine.embedding:EmbedWork",
            {"source": source_spec, "encoder": encoder_spec, "batch": batch, "dtype": staged},
        )
        alone = getattr(driver, "in_process", False)
        driver.run(job, work if alone else spec, progress)
        card = getattr(maker, "card", None)
        template = EmbeddingTable.of(
            work.template,
            np.empty((0, maker.space.dims), dtype=np.float32),
            maker.space,
            dtype=staged,
            tower=maker.tower,
            dims=tuple(getattr(maker, "names", ())),
            chip_layout=getattr(built, "chip_layout", None) if chip_layout is None else chip_layout,
            encoder=name_of(maker),
            weights_sha256=str(getattr(card, "weights_sha256", "")),
            recipe=settings,
            seed=seed,
            sources=tuple(dict.fromkeys((*getattr(built, "refs", ()), *sources, *getattr(card, "sources", ())))),
            parents=tuple(dict.fromkeys((*getattr(built, "parents", ()), *parents))),
            saw=tuple(getattr(card, "saw", ())),
        )
        committed = job.commit(goal, template, plan.ids, dtype, plan.rows)
    return EmbedSummary(
        out=goal,
        places=plan.rows,
        rows=committed.rows,
        skipped=committed.skipped,
        skipped_because=committed.reasons,
        fingerprint=committed.fingerprint,
        space=maker.space.id,
        dims=maker.space.dims,
        shards=len(plan.shards),
        resumed=resumed,
        seconds=round(time.monotonic() - began, 3),
        notes=(
            *getattr(built, "notes", ()),
            *_notes(goal, len(plan.shards), resumed, committed),
            *([] if reader is None else reader.notes(alone)),
        ),
        flagged=committed.flagged,
    )


class _Plan(NamedTuple):
    """The places of a job: how many, what tells them from others, the shards, and the ids for the proof."""

    rows: int
    fingerprint: str
    shards: list[Shard]
    ids: Ids


def _plan(work: EmbedWork, shard_rows: int | None, batch: int) -> _Plan:
    source = work.source
    if isinstance(source, Partitioned):
        n = source.num_rows
        cut = plan_parts(source.parts(), shard_rows or default_shard_rows(n, batch))

        def ids(shard: Shard) -> list[str]:
            assert isinstance(shard.rows, range)
            found: list[str] = source.part(shard.rows.start, shard.rows.stop).places().ids.tolist()
            return found

        return _Plan(n, source.fingerprint(), cut, ids)
    places = work.places
    check_ids(places.data["id"])
    n = len(places)
    shards = plan_shards(n, shard_rows or default_shard_rows(n, batch))
    return _Plan(n, fingerprint([places.data]), shards, places.ids[work.order])


class _Counting:
    """An encoder of texts, and how many of those that it was given were longer than it reads."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.texts = self.cut = 0

    @property
    def card(self) -> ModelCard:
        """See `Encoder`."""
        return self.encoder.card

    @property
    def space(self) -> Space:
        """See `Encoder`."""
        return self.encoder.space

    @property
    def tower(self) -> str:
        """See `Encoder`."""
        return self.encoder.tower

    @property
    def dims(self) -> int:
        """See `Encoder`."""
        return self.encoder.dims

    @property
    def inputs(self) -> tuple[str, ...]:
        """See `Encoder`."""
        return self.encoder.inputs

    @property
    def flag_columns(self) -> Mapping[str, pa.DataType]:
        """See `engine.flags`."""
        return flag_columns(self.encoder)

    def flags(self, data: Mapping[str, NDArray[Any]]) -> Mapping[str, Any]:
        """See `engine.flags`."""
        return flags_of(self.encoder, data, len(next(iter(data.values()))))

    def encode(self, data: Mapping[str, NDArray[Any]]) -> Vectors:
        """See `Encoder`."""
        found = self.encoder.encode(data)
        self.texts += len(found)
        self.cut += int(getattr(self.encoder, "truncated", 0))
        return found

    def notes(self, alone: bool) -> list[str]:
        """What there is to say; `alone` says whether this process has encoded all texts itself."""
        name = name_of(self.encoder)
        if not alone:
            return [f"how many texts are longer than {name} reads is counted with one worker only"]
        if not self.cut:
            return []
        return [f"{self.cut:,} of {self.texts:,} texts are longer than {name} reads: their ends were cut off"]


def default_shard_rows(n_rows: int, batch: int) -> int:
    """About 64 shards of 1,024 to 16,384 rows each, in whole batches."""
    wanted = int(np.clip(n_rows // 64, 1024, 16_384))
    return -(-wanted // batch) * batch


def _goal(out: str | Path | Remote) -> Place:
    goal = located(out)
    if goal.suffix not in SUFFIXES:
        raise UsageError(f"{out}: a table's name ends in .parquet or .lance")
    if goal.suffix != ".lance" and isinstance(goal, Path) and goal.is_dir():
        raise UsageError(f"{out}: this is a folder")
    return goal


def _notes(goal: Place, shards: int, resumed: int, made: Committed) -> tuple[str, ...]:
    notes = []
    if resumed:
        notes.append(f"went on with a job of which {resumed} of {shards} shards were done")
    notes += [f"{count:,} places skipped: {reason}" for reason, count in list(made.reasons.items())[:5]]
    if len(made.reasons) > 5:
        notes.append(f"and {len(made.reasons) - 5} further reasons in {goal.stem}.skipped.parquet")
    notes += [f"{count:,} places embedded and flagged: {name}" for name, count in made.flagged.items() if count]
    if not made.rows:
        notes.append("nothing was embedded: the table has no rows")
    return tuple(notes)
