"""Commands of placevec run within this process, as from a folder: what they print and what they say."""

from __future__ import annotations

import io
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path

from placevec.cli.main import run


def placevec(folder: Path, *words: str, code: int = 0) -> tuple[str, str]:
    """What a command prints on stdout and says on stderr; the test fails with that if it ends otherwise than `code`.

    A process of its own would only add the time in which it starts; the tests of kills start one.
    """
    with chdir(folder), redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as said:
        ended = run(list(words))
    assert ended == code, f"placevec {' '.join(words)}\n{said.getvalue()}"
    return out.getvalue(), said.getvalue()
