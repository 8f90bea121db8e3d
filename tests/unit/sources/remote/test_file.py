"""Remote files: every byte right, each block fetched once, changes seen, servers that fail."""

from __future__ import annotations

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import urllib3

from placevec.errors import FormatError, UsageError
from placevec.sources.remote import Absent, RemoteFile, Unreachable, forget, http
from placevec.sources.remote.blocks import BlockStore, default_store
from placevec.sources.remote.file import BLOCK
from remote_server import Served, serve

DATA = np.random.default_rng(0).integers(0, 256, 5 * BLOCK + 1234, dtype=np.uint8).tobytes()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No pause between tries, and a cache folder of its own."""
    monkeypatch.setattr(
        http,
        "_retries",
        lambda: urllib3.Retry(total=2, backoff_factor=0, status_forcelist=http.PASSING, raise_on_status=False),
    )
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def served():
    with serve(Served({"/a.tif": DATA})) as server:
        yield server


@pytest.fixture
def store(tmp_path: Path) -> BlockStore:
    return BlockStore(tmp_path / "blocks", 1 << 30)


def test_every_range_is_right_and_each_block_is_fetched_once(served: Served, store: BlockStore) -> None:
    file = RemoteFile(f"{served.address}/a.tif", store=store)
    assert file.size == len(DATA)
    rng = np.random.default_rng(1)
    for start, stop in np.sort(rng.integers(0, len(DATA) + 100, (60, 2)), axis=1).tolist():
        assert file.read(start, stop) == DATA[start:stop]
    assert file.read(0, len(DATA)) == DATA
    assert file.read(7, 7) == file.read(len(DATA), len(DATA) + 9) == b""
    assert served.sent == len(DATA)
    again = RemoteFile(file.address, store=store)
    assert again.read(0, len(DATA)) == DATA
    assert served.sent == len(DATA)
    assert again.requests == 1  # whether it is still the same
    assert served.asked[-1] == ("/a.tif", f"bytes=0-{BLOCK - 1}")


def test_neighbouring_blocks_come_in_one_request(served: Served, store: BlockStore) -> None:
    file = RemoteFile(f"{served.address}/a.tif", store=store)
    file.read(3 * BLOCK, 3 * BLOCK + 1)
    file.read(0, len(DATA))
    assert [span for _, span in served.asked[1:]] == [
        f"bytes={3 * BLOCK}-{4 * BLOCK - 1}",
        f"bytes={BLOCK}-{3 * BLOCK - 1}",
        f"bytes={4 * BLOCK}-{6 * BLOCK - 1}",
    ]


@pytest.mark.parametrize("how", ["etag", "modified"])
def test_another_content_is_seen_when_it_is_opened(served: Served, store: BlockStore, how: str) -> None:
    if how == "modified":
        served.etags, served.modified = False, "Mon, 01 Jan 2024 00:00:00 GMT"
    address = f"{served.address}/a.tif"
    RemoteFile(address, store=store).read(0, len(DATA))
    sent = served.sent
    assert RemoteFile(address, store=store).read(0, len(DATA)) == DATA
    assert served.sent == sent
    served.files["/a.tif"] = DATA[::-1]
    served.modified = "Tue, 02 Jan 2024 00:00:00 GMT" if how == "modified" else ""
    assert RemoteFile(address, store=store).read(0, len(DATA)) == DATA[::-1]
    assert len([path for path in store.folder.glob("*/*") if path.is_dir()]) == 1  # the old blocks are gone


def test_a_change_while_it_is_read_is_an_error(served: Served, store: BlockStore) -> None:
    address = f"{served.address}/a.tif"
    file = RemoteFile(address, store=store)
    served.files["/a.tif"] = DATA[::-1]
    with pytest.raises(FormatError, match="changed on the server while it was read"):
        file.read(2 * BLOCK, 3 * BLOCK)
    assert RemoteFile(address, store=store).read(0, len(DATA)) == DATA[::-1]


def test_without_a_mark_nothing_is_trusted_across_openings(served: Served, store: BlockStore) -> None:
    served.etags = False
    address = f"{served.address}/a.tif"
    file = RemoteFile(address, store=store)
    assert file.read(0, len(DATA)) == DATA
    assert file.read(0, len(DATA)) == DATA
    assert served.sent == len(DATA)
    served.files["/a.tif"] = DATA[::-1]
    assert RemoteFile(address, store=store).read(0, len(DATA)) == DATA[::-1]


def test_refresh_fetches_all_again(served: Served, store: BlockStore) -> None:
    address = f"{served.address}/a.tif"
    RemoteFile(address, store=store).read(0, len(DATA))
    RemoteFile(address, store=store, refresh=True).read(0, len(DATA))
    assert served.sent == 2 * len(DATA)


def test_forgetting_by_address(served: Served) -> None:
    address = f"{served.address}/a.tif"
    RemoteFile(address).read(0, len(DATA))
    forget(address)
    assert default_store().known(address) is None
    RemoteFile(address).read(0, len(DATA))
    assert served.sent == 2 * len(DATA)
    default_store().forget_below(served.address)
    assert default_store().known(address) is None
    with pytest.raises(UsageError, match="worldcover-2021"):
        forget("dataset:worldcover-2022")


def test_what_is_kept_serves_without_a_network(
    served: Served, store: BlockStore, caplog: pytest.LogCaptureFixture
) -> None:
    address = f"{served.address}/a.tif"
    RemoteFile(address, store=store).read(0, 2 * BLOCK)
    served.status = 503
    file = RemoteFile(address, store=store)
    assert file.offline
    assert "what is kept of it is used, unchecked" in caplog.text
    assert file.read(0, 2 * BLOCK) == DATA[: 2 * BLOCK]
    with pytest.raises(Unreachable, match="does not answer now"):
        file.read(3 * BLOCK, 4 * BLOCK)
    served.status = 0
    assert file.read(3 * BLOCK, 4 * BLOCK) == DATA[3 * BLOCK : 4 * BLOCK]


def test_a_server_that_is_gone(store: BlockStore) -> None:
    with serve(Served({"/a.tif": DATA})) as served:
        address = f"{served.address}/a.tif"
        file = RemoteFile(address, store=store)
    http._pool.cache_clear()
    with pytest.raises(Unreachable, match=r"a\.tif cannot be reached .*check the address and the network"):
        file.read(3 * BLOCK, 4 * BLOCK)
    assert RemoteFile(address, store=store).offline
    with pytest.raises(Unreachable, match="cannot be reached"):
        RemoteFile(f"{served.address}/b.tif", store=store)
    with pytest.raises(Unreachable, match="cannot be reached"):
        RemoteFile("http://placevec.invalid/b.tif", store=store)


def test_what_passes_by_itself_is_tried_again(served: Served, store: BlockStore) -> None:
    served.fail_first = 2
    file = RemoteFile(f"{served.address}/a.tif", store=store)
    served.cut = 1
    assert file.read(0, len(DATA)) == DATA
    served.cut = 99
    store.forget(file.address)
    with pytest.raises(Unreachable):
        RemoteFile(file.address, store=store)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"status": 403}, r"may not be read \(HTTP 403\)"),
        ({"status": 401}, r"may not be read \(HTTP 401\)"),
        ({"status": 410}, r"there is nothing at"),
        ({"ranges": False}, "does not send parts of files"),
        ({"files": {}}, "there is nothing at"),
        ({"files": {"/a.tif": b""}}, "is empty"),
    ],
)
def test_what_a_server_refuses_is_said(served: Served, store: BlockStore, change: dict, words: str) -> None:
    for name, value in change.items():
        setattr(served, name, value)
    with pytest.raises(FormatError, match=words):
        RemoteFile(f"{served.address}/a.tif", store=store)


def test_what_was_kept_of_a_file_that_is_gone_is_not_used(served: Served, store: BlockStore) -> None:
    address = f"{served.address}/a.tif"
    RemoteFile(address, store=store)
    served.files.clear()
    with pytest.raises(Absent):
        RemoteFile(address, store=store)
    assert store.known(address) is None


def test_keys_and_passwords_are_not_repeated(served: Served, store: BlockStore) -> None:
    served.files.clear()
    host = served.address.removeprefix("http://")
    with pytest.raises(Absent) as told:
        RemoteFile(f"http://me:secret@{host}/a.tif?sig=hidden", store=store)
    assert "secret" not in str(told.value)
    assert "hidden" not in str(told.value)
    served.files["/a.tif"] = DATA
    RemoteFile(f"{served.address}/a.tif?sig=hidden", store=store)
    assert all(b"hidden" not in path.read_bytes() for path in store.folder.glob("*/version.json"))


def test_damaged_blocks_are_fetched_again(served: Served, store: BlockStore) -> None:
    address = f"{served.address}/a.tif"
    RemoteFile(address, store=store).read(0, len(DATA))
    blocks = sorted(path for path in store.folder.glob("*/*/*"))
    blocks[0].write_bytes(b"")
    blocks[1].write_bytes(blocks[1].read_bytes()[:-1])
    blocks[2].write_bytes(blocks[3].read_bytes()[:-1] + b"?")
    (listing,) = store.folder.glob("*/version.json")
    assert RemoteFile(address, store=store).read(0, len(DATA)) == DATA
    listing.write_text("{")
    assert RemoteFile(address, store=store).read(0, len(DATA)) == DATA


def test_threads_and_pickles_share_a_version(served: Served, store: BlockStore) -> None:
    file = RemoteFile(f"{served.address}/a.tif", store=store)
    spans = [(i * 9973 % len(DATA), i * 9973 % len(DATA) + 50_000) for i in range(100)]
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda span: file.read(*span) == DATA[slice(*span)], spans))
    before = len(served.asked)
    again = pickle.loads(pickle.dumps(file))
    assert again.read(0, len(DATA)) == DATA
    assert len(served.asked) == before


def test_the_least_recently_used_blocks_go_first(served: Served, tmp_path: Path) -> None:
    import os

    served.files = {f"/{i}.tif": DATA for i in range(4)}
    store = BlockStore(tmp_path / "small", 3 * len(DATA))
    for i in range(4):
        RemoteFile(f"{served.address}/{i}.tif", store=store).read(0, len(DATA))
        for block in store.folder.glob("*/*/*"):
            os.utime(block, (block.stat().st_mtime - 100, block.stat().st_mtime - 100))
    assert store.trim() <= 3 * len(DATA)
    kept = [RemoteFile(f"{served.address}/{i}.tif", store=store) for i in range(4)]
    before = served.sent
    assert kept[3].read(0, len(DATA)) == DATA
    assert served.sent == before
    assert kept[0].read(0, len(DATA)) == DATA
    assert served.sent > before


def test_a_folder_that_cannot_be_written_is_no_hindrance(
    served: Served, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    file = RemoteFile(f"{served.address}/a.tif", store=BlockStore(tmp_path / "file" / "x", 1 << 30))
    assert file.read(0, len(DATA)) == DATA
    assert "cannot be kept" in caplog.text


def test_many_readers_of_one_folder(served: Served, store: BlockStore) -> None:
    # Each with its own object, as processes have: all are right whatever the others remove.
    address = f"{served.address}/a.tif"
    stop = threading.Event()

    def remove() -> None:
        while not stop.is_set():
            for block in list(store.folder.glob("*/*/*"))[::2]:
                block.unlink(missing_ok=True)

    thread = threading.Thread(target=remove)
    thread.start()
    try:
        with ThreadPoolExecutor(6) as pool:
            found = list(pool.map(lambda _: RemoteFile(address, store=store).read(0, len(DATA)), range(24)))
    finally:
        stop.set()
        thread.join()
    assert all(data == DATA for data in found)


def test_the_size_of_the_cache_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_store().limit == 8_000_000_000
    monkeypatch.setenv("PLACEVEC_CACHE_GB", "0.5")
    assert default_store().limit == 500_000_000
    for text in ("much", "-1", "nan"):
        monkeypatch.setenv("PLACEVEC_CACHE_GB", text)
        with pytest.raises(UsageError, match="PLACEVEC_CACHE_GB"):
            default_store()


def test_addresses_of_objects(monkeypatch: pytest.MonkeyPatch, served: Served, store: BlockStore) -> None:
    monkeypatch.setenv("AWS_NO_SIGN_REQUEST", "YES")
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    assert http._url("s3://bucket/a b/c.tif") == "https://bucket.s3.amazonaws.com/a%20b/c.tif"
    with pytest.raises(FormatError, match="s3://BUCKET/KEY"):
        http._url("s3://bucket")
    monkeypatch.setenv("AWS_ENDPOINT_URL", served.address)
    served.files["/bucket/a.tif"] = DATA
    assert RemoteFile("s3://bucket/a.tif", store=store).read(0, len(DATA)) == DATA


def test_requests_are_signed_where_there_are_keys(
    monkeypatch: pytest.MonkeyPatch, served: Served, store: BlockStore
) -> None:
    pytest.importorskip("boto3")
    monkeypatch.delenv("AWS_NO_SIGN_REQUEST", raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", served.address)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "an-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    url = http._url("s3://bucket/a.tif")
    assert url.startswith(f"{served.address}/bucket/a.tif?")
    assert "Signature=" in url
    assert "a-secret" not in url
    served.files["/bucket/a.tif"] = DATA
    assert RemoteFile("s3://bucket/a.tif", store=store).read(0, len(DATA)) == DATA
