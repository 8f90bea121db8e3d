"""The engine of Qdrant in this process (qdrant-edge-py) behind the methods of a client that a store calls."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import qdrant_edge as edge
from qdrant_client import models

_DISTANCES = {"Cosine": edge.Distance.Cosine, "Dot": edge.Distance.Dot, "Euclid": edge.Distance.Euclid}
_SCHEMAS = {
    "geo": edge.PayloadSchemaType.Geo,
    "keyword": edge.PayloadSchemaType.Keyword,
    "integer": edge.PayloadSchemaType.Integer,
    "float": edge.PayloadSchemaType.Float,
    "bool": edge.PayloadSchemaType.Bool,
    "datetime": edge.PayloadSchemaType.Datetime,
}


class EdgeClient:
    """One collection a folder; `settle` does what a server does when its indexing threshold is restored."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shards: dict[str, Any] = {}
        self.metadata: dict[str, dict[str, Any]] = {}
        self.thresholds: dict[str, int] = {}

    def close(self) -> None:
        for shard in self.shards.values():
            shard.close()
        self.shards.clear()

    def collection_exists(self, collection_name: str) -> bool:
        return collection_name in self.shards

    def create_collection(
        self,
        collection_name: str,
        vectors_config: Any,
        quantization_config: Any,
        optimizers_config: Any,
        on_disk_payload: bool,
        metadata: dict[str, Any],
    ) -> bool:
        quantization = None
        if quantization_config is not None:
            scalar = quantization_config.scalar
            quantization = edge.ScalarQuantizationConfig(
                type=edge.ScalarType.Int8, quantile=scalar.quantile, always_ram=scalar.always_ram
            )
        config = edge.EdgeConfig(
            vectors=edge.EdgeVectorParams(
                size=vectors_config.size,
                distance=_DISTANCES[vectors_config.distance.value],
                on_disk=vectors_config.on_disk,
                quantization_config=quantization,
            ),
            # Kilobytes below which a server compares all points whatever it is asked: here the graph is wanted.
            hnsw_config=edge.HnswIndexConfig(m=16, ef_construct=100, full_scan_threshold=10),
            optimizers=edge.EdgeOptimizersConfig(indexing_threshold=1, default_segment_number=1),
            on_disk_payload=on_disk_payload,
        )
        path = self.folder / collection_name
        path.mkdir(parents=True)
        self.shards[collection_name] = edge.EdgeShard.create(str(path), config)
        self.metadata[collection_name] = dict(metadata)
        self.thresholds[collection_name] = optimizers_config.indexing_threshold
        return True

    def update_collection(self, collection_name: str, metadata: Any = None, optimizers_config: Any = None) -> bool:
        self.metadata[collection_name] |= metadata or {}
        if optimizers_config is not None:
            self.thresholds[collection_name] = optimizers_config.indexing_threshold
            if optimizers_config.indexing_threshold:
                self.shards[collection_name].optimize()
        return True

    def delete_collection(self, collection_name: str) -> bool:
        self.shards.pop(collection_name).close()
        shutil.rmtree(self.folder / collection_name)
        return True

    def get_collection(self, collection_name: str) -> Any:
        info = self.shards[collection_name].info()
        config = SimpleNamespace(
            metadata=self.metadata[collection_name],
            optimizer_config=SimpleNamespace(indexing_threshold=self.thresholds[collection_name]),
        )
        return SimpleNamespace(
            status="green",
            optimizer_status="ok",
            config=config,
            points_count=info.points_count,
            indexed_vectors_count=info.indexed_vectors_count,
        )

    def create_payload_index(self, collection_name: str, field_name: str, field_schema: Any, wait: bool) -> None:
        operation = edge.UpdateOperation.create_field_index(field_name, _SCHEMAS[field_schema.value])
        self.shards[collection_name].update(operation)

    def upsert(self, collection_name: str, points: Any, wait: bool) -> None:
        made = [
            edge.Point(id=_id(key), vector=vector, payload=payload)
            for key, vector, payload in zip(points.ids, points.vectors, points.payloads, strict=True)
        ]
        self.shards[collection_name].update(edge.UpdateOperation.upsert_points(made))

    def delete(self, collection_name: str, points_selector: Any, wait: bool) -> None:
        keys = [_id(key) for key in points_selector.points]
        self.shards[collection_name].update(edge.UpdateOperation.delete_points(keys))

    def count(self, collection_name: str, count_filter: Any, exact: bool) -> Any:
        found = self.shards[collection_name].count(edge.CountRequest(exact=exact, filter=to_edge(count_filter)))
        return SimpleNamespace(count=found)

    def scroll(
        self, collection_name: str, limit: int, offset: Any, with_payload: Any, with_vectors: bool
    ) -> tuple[list[Any], Any]:
        request = edge.ScrollRequest(offset=offset, limit=limit, with_payload=True, with_vector=with_vectors)
        records, after = self.shards[collection_name].scroll(request)
        return [_record(record) for record in records], after

    def retrieve(self, collection_name: str, ids: list[Any], with_payload: bool, with_vectors: bool) -> list[Any]:
        records = self.shards[collection_name].retrieve([_id(key) for key in ids], with_payload, with_vectors)
        return [_record(record) for record in records]

    def query_batch_points(self, collection_name: str, requests: list[Any]) -> list[Any]:
        answers = []
        for request in requests:
            found = self.shards[collection_name].query(
                edge.QueryRequest(
                    limit=request.limit,
                    offset=request.offset,
                    query=edge.Query.Nearest(request.query),
                    filter=to_edge(request.filter),
                    params=_params(request.params),
                    with_payload=request.with_payload,
                    with_vector=False,
                )
            )
            points = [SimpleNamespace(id=_key(p.id), score=p.score, payload=p.payload) for p in found]
            answers.append(SimpleNamespace(points=points))
        return answers


def to_edge(condition: Any) -> Any:
    """A condition of qdrant-client as one of qdrant-edge."""
    if condition is None:
        return None
    if isinstance(condition, models.Filter):
        return edge.Filter(
            **{
                name: [to_edge(part) for part in getattr(condition, name)]
                for name in ("must", "should", "must_not")
                if getattr(condition, name) is not None
            }
        )
    if isinstance(condition, models.HasIdCondition):
        return edge.HasIdCondition({_id(key) for key in condition.has_id})
    if isinstance(condition, models.IsEmptyCondition):
        return edge.IsEmptyCondition(condition.is_empty.key)
    assert isinstance(condition, models.FieldCondition), condition
    if condition.match is not None and isinstance(condition.match.value, bool):
        # qdrant-edge-py 0.9 makes the number 1 of True: any value is let through, and placevec looks again.
        return edge.Filter(must_not=[edge.IsEmptyCondition(condition.key)])
    if condition.match is not None:
        return edge.FieldCondition(condition.key, match=edge.MatchValue(condition.match.value))
    if condition.geo_bounding_box is not None:
        box = condition.geo_bounding_box
        return edge.FieldCondition(
            condition.key, geo_bounding_box=edge.GeoBoundingBox(_point(box.top_left), _point(box.bottom_right))
        )
    if condition.geo_radius is not None:
        circle = condition.geo_radius
        return edge.FieldCondition(condition.key, geo_radius=edge.GeoRadius(_point(circle.center), circle.radius))
    if condition.geo_polygon is not None:
        polygon = condition.geo_polygon
        holes = [[_point(p) for p in hole.points] for hole in polygon.interiors or []]
        outer = [_point(p) for p in polygon.exterior.points]
        return edge.FieldCondition(condition.key, geo_polygon=edge.GeoPolygon(outer, holes or None))
    limits = {name: getattr(condition.range, name) for name in ("gt", "gte", "lt", "lte")}
    if isinstance(condition.range, models.DatetimeRange):
        texts = {name: None if value is None else value.isoformat() for name, value in limits.items()}
        return edge.FieldCondition(condition.key, range=edge.RangeDateTime(**texts))
    return edge.FieldCondition(condition.key, range=edge.RangeFloat(**limits))


def _params(params: Any) -> Any:
    quantization = params.quantization
    return edge.SearchParams(
        hnsw_ef=params.hnsw_ef,
        exact=bool(params.exact),
        quantization=edge.QuantizationSearchParams(
            ignore=bool(quantization.ignore), rescore=quantization.rescore, oversampling=quantization.oversampling
        ),
        acorn=None if params.acorn is None else edge.AcornSearchParams(enable=True),
    )


def _point(point: Any) -> Any:
    return edge.GeoPoint(point.lon, point.lat)


def _record(record: Any) -> Any:
    return SimpleNamespace(id=_key(record.id), payload=record.payload, vector=record.vector)


def _id(key: Any) -> Any:
    from uuid import UUID

    return key if isinstance(key, int) else UUID(key)


def _key(key: Any) -> Any:
    return key if isinstance(key, int) else str(key)
