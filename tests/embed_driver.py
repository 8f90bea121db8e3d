"""A process that embeds the fakes: ``python embed_driver.py OUT N WORKERS [ENGINE]``; it says "ready" first."""

from __future__ import annotations

import signal
import sys

if __name__ == "__main__":
    from embedding_fakes import FakeEncoder, FakeSource
    from placevec.tasks.embed import embed

    # A shell without job control starts what is in the background with SIGINT ignored; a terminal does not.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    out, n, workers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    engine = sys.argv[4] if len(sys.argv) > 4 else "local"
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    summary = embed(FakeSource(n), FakeEncoder(), out, batch=32, shard_rows=64, workers=workers, engine=engine)
    sys.stdout.write(f"{summary.fingerprint}\n")
