"""The parts of a kept index, each against what is slow and obvious."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import make_table
from placevec.errors import CheckpointError, StaleIndex, UsageError
from placevec.index.stored import digests, finders
from placevec.index.stored.digests import FileDigest
from placevec.index.stored.settings import KINDS, IndexSettings
from placevec.index.stored.slots import Slots, keys_of, row_states
from placevec.index.stored.vectors import VectorsFile, kept, kept_dtype, map_vectors, read_vectors, widened
from placevec.provenance import Space
from placevec.table import EmbeddingTable


@given(
    pieces=st.lists(st.integers(0, 7), max_size=5), more=st.lists(st.integers(1, 5), max_size=3), step=st.integers(1, 9)
)
def test_a_file_of_vectors_grows_as_numpy_would_write_it(tmp_path_factory, pieces, more, step: int) -> None:
    folder = tmp_path_factory.mktemp("v")
    rng = np.random.default_rng(0)
    half = np.dtype(np.float16)
    first = [rng.standard_normal((n, 3)).astype(np.float16) for n in pieces]
    one = VectorsFile(folder / "one.npy", half, 3)
    for piece in first:
        one.add(piece)
    one.close()
    wanted = np.concatenate([np.empty((0, 3), np.float16), *first])
    assert np.array_equal(np.load(folder / "one.npy"), wanted)
    two = VectorsFile(folder / "two.npy", half, 3, folder / "one.npy")
    for n in more:
        piece = rng.standard_normal((n, 3)).astype(np.float16)
        two.add(piece)
        wanted = np.concatenate([wanted, piece])
    two.close()
    assert np.array_equal(np.load(folder / "two.npy"), wanted)
    read = list(read_vectors(folder / "two.npy", min(2, len(wanted)), step))
    assert np.array_equal(np.concatenate([wanted[:0], *read]), wanted[min(2, len(wanted)) :])
    assert np.array_equal(map_vectors(folder / "two.npy", wanted.shape, half, ""), wanted)


def test_other_vectors_than_expected_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.zeros((3, 2), np.float32))
    with pytest.raises(CheckpointError, match=r"holds float32 \(3, 2\), not float16 \(3, 2\): mend it"):
        map_vectors(tmp_path / "v.npy", (3, 2), np.dtype(np.float16), "mend it")
    np.save(tmp_path / "o.npy", np.array([[object()]]), allow_pickle=True)
    with pytest.raises(CheckpointError, match="cannot be read"):
        map_vectors(tmp_path / "o.npy", (3, 2), np.dtype(np.float16), "mend it")


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_the_form_in_which_vectors_are_kept(metric: str, dtype: str) -> None:
    table = make_table(50, 8, dtype=dtype, space=Space.mint(8, metric=metric), unit=False)
    vectors = kept(table)
    assert vectors.dtype == kept_dtype(table.meta)
    if metric == "cosine":
        assert np.allclose(np.linalg.norm(vectors.astype(np.float64), axis=1), 1, atol=1e-3)
    else:
        assert np.array_equal(vectors.astype(np.float32), table.vectors())


@given(size=st.integers(0, 3 << 20), at=st.floats(0, 1))
def test_a_changed_byte_changes_the_checksum(tmp_path_factory, size: int, at: float) -> None:
    path = tmp_path_factory.mktemp("d") / "file"
    data = bytearray(np.random.default_rng(size).bytes(size))
    path.write_bytes(bytes(data))
    for sampled in (False, True):  # a file of few blocks is read whole
        digest = FileDigest.of(path, sampled=sampled)
        assert FileDigest(**digest.to_json()) == digest
        digest.check(path, "")
        if size:
            data[int(at * (size - 1))] ^= 1
            path.write_bytes(bytes(data))
            with pytest.raises(CheckpointError, match=r"checksum differs\): mend it"):
                digest.check(path, "mend it")


def test_between_the_blocks_of_a_sample_only_the_hash_sees(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(digests, "_BLOCK", 1 << 10)
    path = tmp_path / "file"
    data = bytearray(200 << 10)
    path.write_bytes(data)
    digest = FileDigest.of(path, sampled=True)
    data[(1 << 10) + 5] = 1
    path.write_bytes(data)
    digest.check(path, "")
    with pytest.raises(CheckpointError, match="sha256"):
        digest.check(path, "", fully=True)
    data[5] = 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="checksum"):
        digest.check(path, "")
    path.unlink()
    with pytest.raises(CheckpointError, match="is missing: again"):
        digest.check(path, "again")


@given(rows=st.integers(1, 60), most=st.integers(1, 70))
def test_a_sample_is_spread_over_all_blocks(tmp_path_factory, rows: int, most: int) -> None:
    path = tmp_path_factory.mktemp("s") / "v.npy"
    vectors = np.arange(1, rows + 1, dtype=np.float32)[:, None]
    np.save(path, vectors)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finders, "_ADD_BYTES", 4 * 7)  # seven vectors in a block
        found = finders._sample(path, rows, most, Space.mint(1, metric="l2"))
    assert np.array_equal(found, vectors[[at * rows // min(rows, most) for at in range(min(rows, most))]])


def slots_of(table: EmbeddingTable, rows: np.ndarray) -> Slots:
    return Slots(table.data["id"].cast("large_string"), keys_of(table.data["id"]), row_states(table.data), rows)


@given(order=st.permutations(range(20)), dead=st.sets(st.integers(0, 19), max_size=8))
def test_slots_are_found_by_id(tmp_path_factory, order: list[int], dead: set[int]) -> None:
    table = make_table(20)
    rows = np.array([-1 if slot in dead else slot for slot in range(20)])
    path = tmp_path_factory.mktemp("s") / "ids.arrow"
    slots_of(table, rows).write(path)
    slots = Slots.read(path, 20, "")
    assert slots.ids.to_pylist() == list(table.ids)
    assert np.array_equal(slots.rows, rows)
    shuffled = table.take(order)
    found = slots.find(keys_of(shuffled.data["id"]))
    assert found.tolist() == [-1 if slot in dead else slot for slot in order]
    living = shuffled.take([at for at, slot in enumerate(order) if slot not in dead])
    assert [living.ids[row] for row in slots.rows_in(living)[slots.live]] == [table.ids[slot] for slot in slots.live]
    if dead:
        with pytest.raises(StaleIndex, match="does not know the id"):
            slots.rows_in(shuffled)


def test_no_slot_is_found_where_there_is_none() -> None:
    table = make_table(3)
    nothing = slots_of(table.take([]), np.empty(0, dtype=np.int64))
    assert nothing.find(keys_of(table.data["id"])).tolist() == [-1, -1, -1]


def test_a_row_is_its_id_and_its_vector() -> None:
    table = make_table(5)
    assert np.array_equal(row_states(table.data), row_states(table.with_column("count", np.zeros(5)).data))
    assert not np.array_equal(row_states(table.data), row_states(make_table(5, seed=1).data))


@pytest.mark.parametrize("kind", KINDS)
def test_settings_go_through_json(kind: str) -> None:
    settings = IndexSettings(kind)
    assert IndexSettings.from_json(settings.to_json()) == settings


def test_settings_that_cannot_be() -> None:
    with pytest.raises(UsageError, match="no index of the kind 'best'; choose one of flat, hnsw, ivf-sq8, ivf"):
        IndexSettings("best")
    with pytest.raises(UsageError, match="probes is 0"):
        IndexSettings("ivf", probes=0)
    with pytest.raises(UsageError, match="m means nothing to an index of the kind 'flat'; its numbers: none"):
        IndexSettings.chosen(10, m=4)
    with pytest.raises(UsageError, match="its numbers: cells, probes"):
        IndexSettings.chosen(10, "ivf-sq8", ef=4)


def test_the_kind_grows_with_the_table() -> None:
    assert IndexSettings.chosen(100_000).kind == "flat"
    assert IndexSettings.chosen(100_001, probes=5) == IndexSettings("ivf-sq8", probes=5)


def test_half_floats_are_widened_as_numpy_does_it() -> None:
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    every = every[np.isfinite(every)].reshape(-1, 8)
    assert widened(every).tobytes() == every.astype(np.float32).tobytes()
    assert np.array_equal(widened(every[::3, ::2]), every[::3, ::2].astype(np.float32))
    whole = np.ones((2, 3), np.float32)
    assert widened(whole) is whole
