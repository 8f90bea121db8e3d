"""The contestants of `search.py`, each in a process of its own: it builds, then answers orders that come line by line.

An order is a JSON object on standard input: ``tune`` (try the settings from the cheapest on until 99 % of the true
neighbours are found) and ``time`` (the seconds of all queries). After building a process is held to one core, so that
every engine has one, whatever threads it starts.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import peak_mb

K = 10
TARGET = 0.99
LADDER_S = 8.0  # a setting that takes longer for all queries is the last that is tried
WHOLE = "1"


class Task:
    """What `search.py` wrote: vectors, points, queries, the boxes of each selectivity and the true neighbours."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.vectors = np.load(folder / "vectors.npy", mmap_mode="r")
        self.lon, self.lat = np.load(folder / "lonlat.npy")
        self.queries = np.load(folder / "queries.npy")

    def boxes(self, share: str) -> np.ndarray | None:
        """(q, 4) the box of each query; None for all rows."""
        return None if share == WHOLE else np.load(self.folder / f"boxes-{share}.npy")

    def truth(self, share: str) -> np.ndarray:
        """(q, K) the true neighbours."""
        return np.load(self.folder / f"truth-{share}.npy")


class Engine(ABC):
    """One contestant. `ladder` are its settings, the cheapest first."""

    ladder: tuple[Any, ...] = (None,)

    def __init__(self, task: Task) -> None:
        self.task = task
        self.build()

    @abstractmethod
    def build(self) -> None:
        """Load the vectors and make the index."""

    @abstractmethod
    def ask(self, boxes: np.ndarray | None, setting: Any) -> list[np.ndarray]:
        """The rows found for each query."""


class Placevec(Engine):
    """The planner: nothing is set by hand."""

    kind = "ivf-sq8"

    def build(self) -> None:
        """See `Engine`."""
        from placevec.index.planner import Planner
        from placevec.index.stored import StoredIndex, build_index
        from placevec.index.stored.settings import IndexSettings
        from placevec.table import read_table

        table = read_table(self.task.folder / "t.parquet")
        folder = self.task.folder / f"{self.kind}.index"
        build_index(table, folder, IndexSettings(self.kind))
        index = StoredIndex(folder, table)
        self.planner = Planner(table, index)
        self.planner.prepare()
        self.ladder = (f"{index.settings.ef or index.settings.probes}, as chosen",)
        self.plans: set[str] = set()

    def ask(self, boxes: np.ndarray | None, setting: Any) -> list[np.ndarray]:
        """See `Engine`."""
        from placevec.table import Filter

        chosen = None if boxes is None else [Filter(bbox=tuple(box)) for box in boxes.tolist()]
        hits = self.planner.search_many(self.task.queries, K, filter=chosen)
        self.plans = {hit.plan.name for hit in hits}
        return [hit.rows for hit in hits]


class PlacevecGraph(Placevec):
    """The planner with an index of the kind hnsw."""

    kind = "hnsw"


class Faiss(Engine):
    """An index of faiss; a filter is a bitmap of the rows in the box, which numpy finds."""

    def ask(self, boxes: np.ndarray | None, setting: Any) -> list[np.ndarray]:
        """See `Engine`."""
        if boxes is None:
            return list(self.index.search(self.task.queries, K, params=self.parameters(setting, None))[1])
        found = []
        lon, lat = self.task.lon, self.task.lat
        for query, (west, south, east, north) in zip(self.task.queries, boxes, strict=True):
            inside = (lon >= west) & (lon <= east) & (lat >= south) & (lat <= north)
            chosen = self.faiss.IDSelectorBitmap(np.packbits(inside, bitorder="little"))
            rows = self.index.search(query[None], K, params=self.parameters(setting, chosen))[1][0]
            found.append(rows[rows >= 0])
        return found

    @abstractmethod
    def parameters(self, setting: Any, chosen: Any) -> Any:
        """How it is asked."""


class FaissGraph(Faiss):
    """IndexHNSWFlat: 32 links."""

    ladder = (16, 20, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024, 2048)

    def build(self) -> None:
        """See `Engine`."""
        import faiss

        self.faiss = faiss
        self.index = faiss.IndexHNSWFlat(self.task.vectors.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
        self.index.hnsw.efConstruction = 80
        self.index.add(np.ascontiguousarray(self.task.vectors))

    def parameters(self, setting: Any, chosen: Any) -> Any:
        """See `Engine`."""
        return self.faiss.SearchParametersHNSW(efSearch=setting, sel=chosen)


class FaissCells(Faiss):
    """IndexIVFFlat: some 1.5 √n cells."""

    ladder = (2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024)

    def build(self) -> None:
        """See `Engine`."""
        import faiss

        self.faiss = faiss
        rows, dims = self.task.vectors.shape
        cells = int(2 ** np.round(np.log2(1.5 * np.sqrt(rows))))
        self.index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dims), dims, cells, faiss.METRIC_INNER_PRODUCT)
        vectors = np.ascontiguousarray(self.task.vectors)
        self.index.train(vectors[:: max(1, rows // (64 * cells))])
        self.index.add(vectors)
        self.ladder = tuple(one for one in self.ladder if one <= cells)

    def parameters(self, setting: Any, chosen: Any) -> Any:
        """See `Engine`."""
        return self.faiss.SearchParametersIVF(nprobe=setting, sel=chosen)


class Lance(Engine):
    """IVF_HNSW_SQ and a prefilter on lon and lat, which have scalar indexes."""

    # Nodes in sight, and candidates re-ranked for each row wanted.
    ladder = ((32, 2), (64, 2), (128, 2), (256, 4), (512, 8))

    def build(self) -> None:
        """See `Engine`."""
        import lance
        import pyarrow as pa

        rows, dims = self.task.vectors.shape
        flat = pa.array(np.ascontiguousarray(self.task.vectors).reshape(-1))
        vectors = pa.FixedSizeListArray.from_arrays(flat, dims)
        data = pa.table({"vector": vectors, "lon": self.task.lon, "lat": self.task.lat, "row": np.arange(rows)})
        self.set = lance.write_dataset(data, str(self.task.folder / "peer.lance"))
        self.set.create_index("vector", "IVF_HNSW_SQ", metric="dot", num_partitions=1, m=16, ef_construction=80)
        for name in ("lon", "lat"):
            self.set.create_scalar_index(name, "BTREE")
        self.set = lance.dataset(str(self.task.folder / "peer.lance"))

    def ask(self, boxes: np.ndarray | None, setting: Any) -> list[np.ndarray]:
        """See `Engine`."""
        found = []
        for at, query in enumerate(self.task.queries):
            where = None
            if boxes is not None:
                west, south, east, north = (repr(float(value)) for value in boxes[at])
                where = f"lon >= {west} AND lon <= {east} AND lat >= {south} AND lat <= {north}"
            nearest = {"column": "vector", "q": query, "k": K, "ef": setting[0], "refine_factor": setting[1]}
            scanner = self.set.scanner(
                columns=["row"],
                nearest=nearest,
                filter=where,
                prefilter=True,
                disable_scoring_autoprojection=True,
            )
            table = scanner.to_table()
            found.append(table["row"].to_numpy())
        return found


class Qdrant(Engine):
    """The engine of Qdrant in this process: a graph, and a geo index on the location."""

    ladder = (16, 32, 64, 128, 256, 512, 1024, "exact")

    def build(self) -> None:
        """See `Engine`."""
        import qdrant_edge as edge

        self.edge = edge
        rows, dims = self.task.vectors.shape
        folder = self.task.folder / "peer.qdrant"
        folder.mkdir()
        config = edge.EdgeConfig(
            vectors=edge.EdgeVectorParams(size=dims, distance=edge.Distance.Cosine),
            hnsw_config=edge.HnswIndexConfig(m=16, ef_construct=80, full_scan_threshold=10_000),
            optimizers=edge.EdgeOptimizersConfig(indexing_threshold=1, default_segment_number=1),
            max_search_threads=1,
        )
        self.shard = edge.EdgeShard.create(str(folder), config)
        self.shard.update(edge.UpdateOperation.create_field_index("at", edge.PayloadSchemaType.Geo))
        lon, lat = self.task.lon.tolist(), self.task.lat.tolist()
        for start in range(0, rows, 5000):
            piece = self.task.vectors[start : start + 5000].tolist()
            points = [
                edge.Point(
                    id=start + at, vector=vector, payload={"at": {"lon": lon[start + at], "lat": lat[start + at]}}
                )
                for at, vector in enumerate(piece)
            ]
            self.shard.update(edge.UpdateOperation.upsert_points(points))
        self.shard.optimize()

    def ask(self, boxes: np.ndarray | None, setting: Any) -> list[np.ndarray]:
        """See `Engine`."""
        edge = self.edge
        params = edge.SearchParams(exact=True) if setting == "exact" else edge.SearchParams(hnsw_ef=setting)
        found = []
        for at, query in enumerate(self.task.queries):
            chosen = None
            if boxes is not None:
                west, south, east, north = (float(value) for value in boxes[at])
                box = edge.GeoBoundingBox(edge.GeoPoint(west, north), edge.GeoPoint(east, south))
                chosen = edge.Filter(must=[edge.FieldCondition("at", geo_bounding_box=box)])
            request = edge.QueryRequest(
                limit=K,
                query=edge.Query.Nearest(query.tolist()),
                filter=chosen,
                params=params,
                with_payload=False,
                with_vector=False,
            )
            found.append(np.array([point.id for point in self.shard.query(request)], dtype=np.int64))
        return found


ENGINES: dict[str, Callable[[Task], Engine]] = {
    "placevec": Placevec,
    "placevec hnsw": PlacevecGraph,
    "faiss HNSW": FaissGraph,
    "faiss IVF": FaissCells,
    "lance": Lance,
    "qdrant-edge": Qdrant,
}
OURS = ("placevec", "placevec hnsw")


def found_of(rows: list[np.ndarray], truth: np.ndarray) -> tuple[float, float]:
    """Recall, and the share of the rows asked for that came back; `truth` is padded with -1."""
    hit = asked = back = 0
    for own, best in zip(rows, truth, strict=True):
        real = best[best >= 0]
        asked += len(real)
        hit += int(np.isin(real, own).sum())
        back += min(len(own), len(real))
    return hit / max(1, asked), back / max(1, asked)


def tune(engine: Engine, share: str) -> dict[str, Any]:
    """The cheapest setting that finds enough, or the best there is."""
    boxes, truth = engine.task.boxes(share), engine.task.truth(share)
    best: dict[str, Any] = {"recall": -1.0}
    for setting in engine.ladder:
        began = time.perf_counter()
        recall, full = found_of(engine.ask(boxes, setting), truth)
        seconds = time.perf_counter() - began
        if recall > best["recall"]:
            best = {"setting": setting, "recall": recall, "full": full}
        if recall >= TARGET or seconds > LADDER_S:
            break
    plans = sorted(getattr(engine, "plans", ()))
    return {**best, "plans": plans}


def serve(name: str, folder: Path) -> None:
    """Build, then answer orders until there are no more."""
    task = Task(folder)
    began = time.perf_counter()
    engine = ENGINES[name](task)
    say(build_s=time.perf_counter() - began)
    if hasattr(os, "sched_setaffinity"):
        core = min(os.sched_getaffinity(0))
        for thread in Path("/proc/self/task").iterdir():
            os.sched_setaffinity(int(thread.name), {core})
    if name.startswith(("faiss", "placevec")):
        import faiss

        faiss.omp_set_num_threads(1)
    for line in sys.stdin:
        order = json.loads(line)
        if order["do"] == "tune":
            say(**tune(engine, order["share"]))
        elif order["do"] == "time":
            boxes = task.boxes(order["share"])
            setting = order["setting"]
            # Processor time of all threads: on one core it is the time it takes where nobody else is at work.
            began = time.process_time()
            engine.ask(boxes, tuple(setting) if isinstance(setting, list) else setting)
            say(seconds=time.process_time() - began)
        else:
            say(peak_mb=peak_mb())


def say(**values: Any) -> None:
    """One line of JSON."""
    print(json.dumps(values), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=list(ENGINES))
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    serve(options.name, options.folder)
