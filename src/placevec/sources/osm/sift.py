"""What osmium does by itself: pass over a file, place the nodes, and write down what has a key, for arrays to read.

An object that is handed to Python costs microseconds, its nodes and tags each one more; so none is. Osmium writes what
is wanted into a file of its own, of any format that it reads, without compression, with the position of each node in
its way (`blocks` reads that file, at a tenth of the time).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from placevec.measure.parallel import workers
from placevec.sources.osm.storage import as_ours, load_osmium, node_storage

# Nodes one by one, so that nodes and ways are messages of one form; no dates and authors, which nobody asks for.
_FORMAT = "pbf,pbf_compression=none,pbf_dense_nodes=false,locations_on_ways=true,add_metadata=none"

_THREADS = 8


@dataclass(frozen=True, eq=False)
class Sifted:
    """A file of what is wanted, for as long as it is looked at."""

    file: Path  # uncompressed .pbf, see `blocks.read_blocks`
    places: Any  # osmium's table of the positions of all nodes


@contextmanager
def sifted(path: Path, keys: Sequence[str], *, nodes: bool, on_disk: str | Path | None = None) -> Iterator[Sifted]:
    """The ways, and if `nodes` the nodes, of a file that have one of `keys`, in a file for temporary use.

    Args:
        path: .osm.pbf, .osm, .osm.gz or .osm.bz2.
        keys: the keys of which an object needs one.
        nodes: whether nodes are wanted too.
        on_disk: a folder for the file and for the positions of nodes, see `storage.node_storage`.

    Raises:
        FormatError: the file is no OpenStreetMap file, or ends early.
        UsageError: the folder cannot be used.
    """
    osmium = load_osmium()
    wanted = osmium.osm.NODE | osmium.osm.WAY if nodes else osmium.osm.WAY
    with node_storage(path, on_disk) as storage, TemporaryDirectory(prefix="placevec-osm-", dir=on_disk) as scratch:
        goal = Path(scratch) / "sifted.osm.pbf"
        with as_ours(path):
            places = osmium.index.create_map(storage)
            only = osmium.filter.EntityFilter(wanted), osmium.filter.KeyFilter(*keys)
            with (
                reader(str(path), osmium.osm.NODE | osmium.osm.WAY) as objects,
                osmium.SimpleWriter(osmium.io.File(str(goal), _FORMAT)) as writer,
            ):
                osmium.apply(objects, placed(places), *only, writer)
        yield Sifted(goal, places)


def reader(source: Any, kinds: Any) -> Any:
    """Osmium's reader of objects of some kinds, which unpacks on as many cores as this process may use, up to 8.

    Left to itself osmium leaves two cores free, of which one has nothing to do while no object is handed to Python.
    """
    io = load_osmium().io
    pool = (io.ThreadPool(min(workers(), _THREADS)),) if hasattr(io, "ThreadPool") else ()  # since osmium 4.1
    return io.Reader(source, kinds, *pool)


def placed(places: Any) -> Any:
    """Osmium's handler that gives the nodes of ways their positions; a node that is missing has none."""
    handler = load_osmium().NodeLocationsForWays(places)
    handler.ignore_errors()
    return handler
