"""A worker of its own: ``python fragment_writer.py FOLDER KEY FORM N SHARD_ROWS FIRST`` does every second shard."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    from embedding_fakes import FakeEncoder, FakeSource
    from placevec.engine.embedding import EmbedWork
    from placevec.engine.fragments import Fragments
    from placevec.engine.jobs import plan_shards

    folder, key, form, n, shard_rows, first = sys.argv[1:]
    fragments = Fragments(Path(folder), key, form)
    work = EmbedWork(FakeSource(int(n)), FakeEncoder(), batch=32)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for shard in plan_shards(int(n), int(shard_rows))[int(first) :: 2]:
        if fragments.done(shard.name) is None:
            fragments.write(shard.name, work(shard.positions))
