"""What goes over the wire to a server, and what becomes of a load when the server fails."""

import json
import socket
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from placevec.errors import DataError, SpaceMismatch, UsageError
from placevec.geo.sphere import LonLat
from placevec.index.stores import open_store
from placevec.index.stores.qdrant import QdrantStore, load
from placevec.index.stores.qdrant.link import Link
from placevec.provenance import Space
from placevec.table import EmbeddingTable, Filter, Places
from qdrant_server import Fault, Server, serving
from qdrant_tables import hard_table

TABLE = hard_table(40)
CELLS = ["8928308280fffff", "8928308280bffff", "89283082807ffff"]


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.delenv("QDRANT_API_KEY", raising=False)
    monkeypatch.setattr(load, "BATCH_BYTES", 4000)
    monkeypatch.setattr(load, "_POLL_S", 0.001)
    with serving() as made:
        yield made


def store_of(server: Server, name: str = "places", **options: Any) -> QdrantStore:
    store = open_store(f"{server.url}/{name}", **options)
    assert isinstance(store, QdrantStore)
    store.link.pauses = (0.001, 0.001, 0.001)
    return store


def cells_table(metric: str = "cosine") -> EmbeddingTable:
    places = Places.create(
        CELLS,
        lonlat=LonLat(np.array([-122.4, -122.41, -122.42]), np.array([37.7, 37.71, 37.72])),
        attributes={"cover": np.array(["forest", "city", "grass"], dtype=object), "elevation": np.arange(3.0)},
    )
    space = Space("asserted:cells", 2, metric, "asserted")
    return EmbeddingTable.of(places, np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]), space, tower="image")


@pytest.mark.parametrize(("metric", "distance"), [("cosine", "Cosine"), ("dot", "Dot"), ("l2", "Euclid")])
def test_the_collection_that_is_made(server: Server, metric: str, distance: str) -> None:
    store_of(server).load(cells_table(metric))
    body = server.of("PUT", "/collections/places")[0].body
    assert body["vectors"] == {"size": 2, "distance": distance, "on_disk": True}
    assert body["quantization_config"] == {"scalar": {"type": "int8", "quantile": 0.99, "always_ram": True}}
    assert body["optimizers_config"] == {"indexing_threshold": 0}
    card = json.loads(body["metadata"]["placevec"])
    assert card["complete"] is False
    assert card["space"]["id"] == "asserted:cells"
    index = server.of("PUT", "/index")[0].body
    assert index == {"field_name": "location", "field_schema": "geo"}


def test_without_quantization(server: Server) -> None:
    store_of(server, quantize="none").load(cells_table())
    assert "quantization_config" not in server.of("PUT", "/collections/places")[0].body


def test_points_have_the_numbers_of_cells_and_their_payload(server: Server) -> None:
    store_of(server).load(cells_table())
    (sent,) = server.of("PUT", "/points")
    assert sent.query == {"wait": ["true"]}
    batch = sent.body["batch"]
    assert batch["ids"] == [int(cell, 16) for cell in CELLS]
    assert batch["vectors"][0] == [1.0, 0.0]
    payload = batch["payloads"][1]
    assert payload["id"] == CELLS[1]
    assert payload["location"] == {"lon": -122.41, "lat": 37.71}
    assert payload["attributes"] == {"cover": "city", "elevation": 1.0}
    assert isinstance(payload["hash"], int)


def test_ids_that_are_no_cells_become_uuids(server: Server) -> None:
    store_of(server).load(TABLE.take([0, 1]))
    ids = server.of("PUT", "/points")[0].body["batch"]["ids"]
    assert all(isinstance(one, str) and len(one) == 36 for one in ids)


def test_the_graph_is_built_after_the_load_and_waited_for(server: Server) -> None:
    server.statuses = ["green", "green", "yellow", "yellow", "grey", "green"]
    steps: list[str] = []
    store_of(server).load(TABLE, progress=lambda done, total, facts: steps.append(str(facts["step"])))
    thresholds = [
        one.body["optimizers_config"]["indexing_threshold"]
        for one in server.of("PATCH", "/places")
        if "optimizers_config" in one.body
    ]
    assert thresholds == [0, 20_000]
    assert server.threshold == 20_000
    last = max(at for at, one in enumerate(server.sent) if one.method == "PUT")
    restored = next(at for at, one in enumerate(server.sent) if one.body and 20_000 in json_numbers(one.body))
    assert last < restored
    assert steps.index("indexing") > max(at for at, step in enumerate(steps) if step == "sending")
    assert not server.statuses
    assert store_of(server).card().complete


def json_numbers(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [one for part in value.values() for one in json_numbers(part)]
    return [value] if isinstance(value, int) else []


def test_batches_are_cut_by_bytes(server: Server) -> None:
    store_of(server).load(TABLE)
    sizes = [len(one.body["batch"]["ids"]) for one in server.of("PUT", "/points")]
    assert sum(sizes) == len(TABLE)
    assert max(sizes) == 4000 // (4 * TABLE.dims + 300)


def test_a_second_load_sends_no_row_and_changes_nothing(server: Server) -> None:
    store_of(server).load(TABLE)
    before = len(server.sent)
    again = store_of(server).load(TABLE)
    assert (again.added, again.removed, again.unchanged) == (0, 0, len(TABLE))
    assert {one.method for one in server.sent[before:]} == {"GET", "POST"}


def test_only_what_differs_is_sent(server: Server) -> None:
    store_of(server).load(TABLE)
    before = len(server.sent)
    elevation = TABLE.data["elevation"].to_pylist()
    elevation[7] = 77.0
    new = TABLE.with_column("elevation", pa.array(elevation)).take(np.arange(5, 40))
    loaded = store_of(server).load(new)
    assert (loaded.added, loaded.removed, loaded.unchanged) == (1, 5, 34)
    sent = [one.body["batch"] for one in server.sent[before:] if one.path.endswith("/points") and one.method == "PUT"]
    assert "row 007" in [payload["id"] for batch in sent for payload in batch["payloads"]]
    (deleted,) = [one.body["points"] for one in server.sent[before:] if one.path.endswith("/delete")]
    assert len(deleted) == 5
    with store_of(server) as store:
        assert store.search(np.ones(6), 1, Filter(where="elevation == 77")).ids.tolist() == ["row 007"]


def test_payload_indexes_on_demand(server: Server) -> None:
    url = f"{server.url}/places?index=cover,elevation,wet,count,time_start,odd name.x"
    open_store(url).load(TABLE)
    made = {one.body["field_name"]: one.body["field_schema"] for one in server.of("PUT", "/index")}
    assert made == {
        "location": "geo",
        "attributes.cover": "keyword",
        "attributes.elevation": "float",
        "attributes.wet": "bool",
        "attributes.count": "integer",
        "attributes.time_start": "datetime",
        'attributes."odd name.x"': "integer",
    }
    with pytest.raises(UsageError, match="'height'.*cover"):
        open_store(f"{server.url}/places?index=height").load(TABLE)


def test_what_a_search_asks(server: Server) -> None:
    store = store_of(server)
    store.load(TABLE)
    store.search(np.ones(6), 3, Filter(near=(0, 0, 500_000), where="cover == 'grass'"))
    asked = server.of("POST", "/points/query/batch")[-1].body["searches"][0]
    assert asked["params"]["exact"] is True
    assert asked["params"]["quantization"] == {"ignore": True}
    circle, words = asked["filter"]["must"]
    assert circle["geo_radius"]["center"] == {"lon": 0.0, "lat": 0.0}
    assert 500_000 < circle["geo_radius"]["radius"] < 501_000
    assert words == {"key": "attributes.cover", "match": {"value": "grass"}}
    counted = server.of("POST", "/points/count")
    assert any(one.body.get("filter") == asked["filter"] and one.body["exact"] for one in counted)
    store.exact_rows = 2
    store.search(np.ones(6), 3, Filter(where="cover == 'grass'"))
    graph, passing = (one.body["searches"][0] for one in server.of("POST", "/points/query/batch")[-2:])
    assert graph["params"]["hnsw_ef"] >= 256
    assert graph["params"]["quantization"] == {"rescore": True, "oversampling": 4.0}
    assert "filter" not in graph
    assert graph["with_payload"] is False
    near, words = passing["filter"]["must"]
    assert len(near["has_id"]) == len(TABLE)
    assert words == {"must": [{"key": "attributes.cover", "match": {"value": "grass"}}]}
    assert passing["params"]["exact"] is True


def test_the_key_comes_from_the_environment(server: Server, monkeypatch) -> None:
    server.key = "s3cret"
    with pytest.raises(DataError, match=r"set QDRANT_API_KEY in the environment \(it is not set\)"):
        store_of(server).load(TABLE)
    monkeypatch.setenv("QDRANT_API_KEY", "wrong")
    with pytest.raises(DataError, match="refused") as caught:
        store_of(server).load(TABLE)
    assert "wrong" not in str(caught.value)
    monkeypatch.setenv("QDRANT_API_KEY", "s3cret")
    assert store_of(server).load(TABLE).added == len(TABLE)
    assert server.sent[-1].headers["api-key"] == "s3cret"


def test_a_server_that_stumbles_is_asked_again(server: Server) -> None:
    server.faults = [
        Fault("PUT", "/points", 2, 500, "panic"),
        Fault("PUT", "/points", 1, 429, "slow down"),
        Fault("PUT", "/points", 1),
        Fault("GET", "/exists", 1, 503, "starting"),
    ]
    assert store_of(server).load(TABLE).added == len(TABLE)
    assert not any(fault.times for fault in server.faults)
    assert server.client.count("places").count == len(TABLE)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault("PUT", "/points", 99, 0, after=2), "went away.*what was committed stays: run it again"),
        (Fault("PUT", "/points", 99, 500, "panic", after=2), "answers 500: panic.*what was committed stays"),
        (Fault("PUT", "/points", 99, 500, "No space left on device", after=2), "disk of .* is full.*make room"),
        (Fault("PUT", "/points", 99, 507, "Insufficient", after=2), "disk of .* is full"),
        (Fault("PUT", "/points", 99, 400, "Wrong input: nonsense", after=2), "answers 400: Wrong input: nonsense"),
        (Fault("POST", "/points/count", 99, 0, after=1), "went away"),
    ],
)
def test_a_server_that_goes_away_half_way(server: Server, fault: Fault, words: str) -> None:
    server.faults = [fault]
    with pytest.raises(DataError, match=words) as caught:
        store_of(server, workers=1).load(TABLE)
    assert "\n" not in str(caught.value)
    server.faults = []
    kept = server.client.count("places").count
    assert kept >= 2 * (4000 // 324)
    store = store_of(server)
    assert store.card().complete is False
    hits = store.search(np.ones(6), 3)
    assert len(hits) == 3
    assert "cut short" in hits.plan.note
    loaded = store.load(TABLE)
    assert (loaded.added, loaded.unchanged) == (len(TABLE) - kept, kept)
    assert store.card().complete
    assert "cut short" not in store.search(np.ones(6), 3).plan.note


def test_old_rows_can_be_read_while_new_ones_come(server: Server) -> None:
    store = store_of(server, workers=1)
    store.load(TABLE.take(np.arange(30)))
    server.faults = [Fault("PUT", "/points", 99, 500, "panic")]
    with pytest.raises(DataError):
        store.load(TABLE)
    server.faults = []
    assert server.client.count("places").count == 30
    assert len(store.search(np.ones(6), 30)) == 30


def test_no_server(monkeypatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    store = open_store(f"qdrant://127.0.0.1:{port}/places")
    assert isinstance(store, QdrantStore)
    store.link.pauses = ()
    with pytest.raises(DataError, match=rf"127.0.0.1:{port} cannot be reached .*start it, or mend the address"):
        store.load(TABLE)


def test_something_else_than_qdrant(server: Server, monkeypatch) -> None:
    monkeypatch.setattr(Server, "answer", lambda self, sent: "hello")
    with pytest.raises(DataError, match="something else than Qdrant does"):
        store_of(server).load(TABLE)


def test_a_server_too_old_for_cards(server: Server) -> None:
    server.keeps_metadata = False
    with pytest.raises(DataError, match="1.16 or later"):
        store_of(server).load(TABLE)
    assert not server.client.collection_exists("places")


def test_an_index_that_cannot_be_built(server: Server) -> None:
    server.statuses = ["green", "green", "red"]
    with pytest.raises(DataError, match="out of cheese"):
        store_of(server).load(TABLE)
    assert store_of(server).card().complete is False


def test_what_placevec_did_not_write_is_left_alone(server: Server) -> None:
    from qdrant_client import models

    server.client.create_collection("places", vectors_config=models.VectorParams(size=6, distance="Dot"))
    with pytest.raises(UsageError, match="placevec did not write"):
        store_of(server).load(TABLE)
    assert not server.of("DELETE", "/places")
    store_of(server).load(TABLE, replace=True)
    assert len(server.of("DELETE", "/places")) == 1
    assert store_of(server).card().rows == len(TABLE)


def test_another_space_another_tower_another_table(server: Server) -> None:
    store_of(server).load(TABLE)
    count = len(server.of("PUT", "/points"))
    foreign = EmbeddingTable(TABLE.data, TABLE.meta.replace(space=Space.mint(6, metric="dot")))
    with pytest.raises(SpaceMismatch, match="--replace"):
        store_of(server).load(foreign)
    text = EmbeddingTable(TABLE.data, TABLE.meta.replace(tower="text"))
    with pytest.raises(UsageError, match="'image'.*'text'.*--replace"):
        store_of(server).load(text)
    with pytest.raises(UsageError, match="only 3 are in the table.*--replace"):
        store_of(server).load(TABLE.take([0, 1, 2]))
    assert len(server.of("PUT", "/points")) == count
    assert server.client.count("places").count == len(TABLE)
    assert store_of(server).load(foreign, replace=True).added == len(TABLE)


def test_addresses_that_would_leak_a_key() -> None:
    with pytest.raises(UsageError, match="QDRANT_API_KEY") as caught:
        open_store("qdrant://me:hunter2@localhost:6333/places")
    assert "hunter2" not in str(caught.value)
    with pytest.raises(UsageError, match="qdrants://"):
        open_store("qdrant://x.cloud.qdrant.io:6333/places")
    assert "hunter2" not in repr(Link(open_store("qdrant://:memory:/x").address))
