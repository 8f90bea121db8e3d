"""`fuse`: one vector for each hexagon from the tables of several modalities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import UsageError
from placevec.files import remove
from placevec.measure.fusion import Block, fuse_plain, parse_method
from placevec.measure.leaks import labels_of
from placevec.provenance import Space, digest_json, inherit_saw
from placevec.table import EmbeddingTable, write_table
from placevec.tasks.fuse_inputs import Modalities, Tables, read_modalities

Told = Callable[[str, int, int], None]


@dataclass(frozen=True)
class FuseSummary:
    """What `fuse` has made.

    Attributes:
        out: the table.
        fuser: the model, or the name of the fusion without parameters.
        rows: cells.
        dims: components of a vector.
        space: id of the Space.
        absent: how many cells each modality does not know, for those that lack any.
        gates: mean share of each modality in what a model reads.
    """

    out: Path
    fuser: str
    rows: int
    dims: int
    space: str
    absent: dict[str, int]
    gates: dict[str, float]

    def to_record(self) -> dict[str, Any]:
        """A JSON object."""
        return {**vars(self), "out": str(self.out)}


def fuse(
    tables: Tables,
    out: str | Path,
    *,
    model: str | Path | None = None,
    method: str | None = None,
    graphs: Sequence[str | Path] = (),
    cone_resolution: int | None = None,
    halo: int | None = None,
    device: str = "cpu",
    restart: bool = False,
    seed: int = 0,
    told: Told | None = None,
) -> FuseSummary:
    """Write the fused vectors of all cells that at least one table holds.

    Args:
        tables: of the modalities, by the names that the model knows.
        out: a .parquet or .lance.
        model: a fuser's folder; or give
        method: a fusion without parameters: "concat", "pca:64", "rings:3", "ring-stack:1"; see
            `measure.fusion.fuse_plain`.
        graphs: the accessibility graphs that the model was trained with.
        cone_resolution: go cone by cone below cells of this resolution: little memory, and a run that was killed goes
            on where it was.
        halo: rings of the coarsest level around a cone; None: all that it depends on, so that nothing changes.
        device: of torch.
        restart: forget the cones that an earlier run has finished.
        seed: of the bases of coordinates of a method.
        told: progress.

    Raises:
        UsageError: neither model nor method, or both; or an option that is for the other.
        SchemaError: tables that do not fit together or are not those that the model knows.
    """
    if (model is None) == (method is None):
        raise UsageError("fuse by what? give a fuser's folder, or --method such as concat; one of them")
    given = read_modalities(tables)
    goal = Path(out)
    if method is not None:
        if graphs or cone_resolution is not None or halo is not None:
            raise UsageError("--graph, --cones and --halo are for a trained fuser; leave them out with --method")
        made = _plain(given, method, seed)
        gates: dict[str, float] = {}
    else:
        assert model is not None
        made, gates = _learned(given, goal, model, graphs, (cone_resolution, halo), device, restart, told)
    write_table(made, goal)
    remove(cones_folder(goal))
    name = method or str(model)
    return FuseSummary(goal, name, len(made), made.dims, made.space.id, given.absent(), gates)


def cones_folder(out: Path) -> Path:
    """Where the finished cones of an unfinished table stand."""
    return out.with_name(f".{out.name}.cones")


def _plain(given: Modalities, method: str, seed: int) -> EmbeddingTable:
    asked = parse_method(method)
    blocks = {}
    for name, table in given.tables.items():
        values, present = given.values(name)
        blocks[name] = Block(values, present, table.meta.dims)
    vectors, names = fuse_plain(method, blocks, given.cells, given.lonlat, seed=seed)
    parents = [table.space for table in given.tables.values()]
    digest = digest_json([method, list(names), seed, [table.fingerprint() for table in given.tables.values()]])
    space = Space.derived(parents, digest, vectors.shape[1], metric="l2", note=f"{method} of {', '.join(given.tables)}")
    return _table(
        given,
        vectors,
        space,
        names=names,
        encoder=f"fusion:{method}",
        recipe={"method": method, "modalities": list(given.tables)},
        reach_m=asked.reach_m(given.resolution),
    )


def _learned(
    given: Modalities,
    goal: Path,
    model: str | Path,
    graphs: Sequence[str | Path],
    cones: tuple[int | None, int | None],
    device: str,
    restart: bool,
    told: Told | None,
) -> tuple[EmbeddingTable, dict[str, float]]:
    from placevec.encoders.fuser import Fuser
    from placevec.encoders.model import load_encoder
    from placevec.nn.hexunet import ConeBatchingUNet, kept_run
    from placevec.tasks.train_fuse import area_of

    fuser: Any = load_encoder(model, device)
    if not isinstance(fuser, Fuser):
        raise UsageError(f"{model} is no fuser but of the kind {fuser.card.kind!r}: give what `train fuse` wrote")
    given = _in_order(given, fuser)
    used = sorted(str(name) for name in fuser.card.recipe.get("graphs", ()))
    if sorted(Path(graph).name for graph in graphs) != used:
        told_of = f"with the graphs {', '.join(used)}" if used else "without a graph"
        raise UsageError(f"{model} was trained {told_of}: give the same, --graph FILE")
    area = area_of(given, fuser.config.resolutions, graphs)
    root, halo = cones
    if root is None:
        if halo is not None:
            raise UsageError("--halo is for cones: give --cones RESOLUTION as well")
        ordered = fuser.fuse(area.x, area.graph)
    else:
        run = ConeBatchingUNet(area.levels, area.graph, fuser.config.unet, root, "exact" if halo is None else halo)
        folder = cones_folder(goal)
        if restart:
            remove(folder)
        tables = [table.fingerprint() for table in given.tables.values()]
        key = digest_json([fuser.card.weights_sha256, tables, [str(graph) for graph in graphs], root, halo])
        kept = kept_run(folder, [(len(area.x), fuser.dims)], len(run), key)
        ordered = fuser.fuse(area.x, area.graph, run, out=kept.out, done=kept.done, told=told)
    vectors = area.levels.as_given(np.asarray(ordered))
    shares = fuser.gates(area.x).mean(axis=0)
    gates = {shape.name: round(float(share), 4) for shape, share in zip(fuser.shapes, shares, strict=True)}
    blocks = [{"name": name, "start": start, "stop": stop} for name, start, stop in fuser.config.blocks]
    made = _table(
        given,
        vectors,
        fuser.space,
        names=fuser.names,
        encoder=fuser.card.name,
        recipe={"blocks": blocks, "gates": gates, "halo": "exact" if halo is None else halo},
        reach_m=fuser.reach_m,
        weights=fuser.card.weights_sha256,
        saw=fuser.card.saw,
    )
    return made, gates


def _in_order(given: Modalities, fuser: Any) -> Modalities:
    """The tables in the order in which the fuser reads them, checked against what it learned from."""
    wanted = [shape.name for shape in fuser.shapes]
    odd = next((name for name in (*wanted, *given.tables) if (name in wanted) != (name in given.tables)), None)
    if odd is not None:
        verb = "needs the modality" if odd in wanted else "does not know the modality"
        raise UsageError(f"the fuser {verb} {odd!r}; it reads {', '.join(wanted)}: give --modality NAME=TABLE for each")
    for shape in fuser.shapes:
        table = given.tables[shape.name]
        shape.check(table.meta.dims, table.space, f"the table of {shape.name}")
    tables = {name: given.tables[name] for name in wanted}
    return Modalities(tables, given.cells, given.places, {name: given.rows[name] for name in wanted})


def _table(
    given: Modalities,
    vectors: NDArray[np.float32],
    space: Space,
    *,
    names: Sequence[str],
    encoder: str,
    recipe: dict[str, Any],
    reach_m: float,
    weights: str = "",
    saw: Sequence[Any] = (),
) -> EmbeddingTable:
    metas = [table.meta for table in given.tables.values()]
    layout: dict[str, Any] = {"layout_type": "named_grid", "grid_id": f"h3:{given.resolution}"}
    # What a modality has looked at from its own cells, a fusion looks at from cells around.
    own = max(float((meta.chip_layout or {}).get("ground_m", 0.0)) for meta in metas)
    if own + reach_m > 0:
        layout["ground_m"] = own + reach_m
    return EmbeddingTable.of(
        given.places,
        np.ascontiguousarray(vectors, dtype=np.float32),
        space,
        tower="fusion",
        dims=tuple(names),
        encoder=encoder,
        weights_sha256=weights,
        recipe=recipe,
        sources=tuple(dict.fromkeys(source for meta in metas for source in meta.sources)),
        parents=tuple(table.fingerprint() for table in given.tables.values()),
        chip_layout=layout,
        # Column names do not survive: what they held is remembered as seen.
        saw=inherit_saw(*(labels_of(meta.saw, meta.dims) for meta in metas), tuple(saw)),
    )
