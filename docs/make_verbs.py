"""Write the help of every verb into its page, between two marks; what else stands on a page is written by hand.

python docs/make_verbs.py           writes docs/verbs/*.md
python docs/make_verbs.py --check   exits with 1 if a page is out of date
"""

from __future__ import annotations

import io
import os
import re
import sys
from contextlib import redirect_stdout
from pathlib import Path

PAGES = Path(__file__).parent / "verbs"
TERMINAL = {"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1", "TERMINAL_WIDTH": "100"}
BEGIN, END = "<!-- help: made by docs/make_verbs.py -->", "<!-- end of help -->"
GROUPS = {
    "area": ["new", "info", "captions", "stencil", "patches", "geocells", "features", "graph", "targets"],
    "data": ["list", "fetch", "verify", "photos", "crawl flickr", "crawl google-places"],
    "evaluate": ["location", "retrieval", "evidence", "landscape", "geolocation", "fusion", "transfer"],
}


def help_of(*words: str) -> str:
    """The help text of a command, as a terminal of 100 columns shows it, without colours."""
    from placevec.cli.main import run

    with redirect_stdout(io.StringIO()) as shown:
        code = run([*words, "--help"])
    if code != 0:
        sys.exit(f"`placevec {' '.join(words)} --help` ends with {code}")
    return "\n".join(line.rstrip() for line in shown.getvalue().strip().splitlines())


def block(verb: str) -> str:
    """The help of a verb and of its sub-commands, as Markdown."""
    commands = [(verb, *sub.split()) for sub in GROUPS[verb]] if verb in GROUPS else [(verb,)]
    parts = [f"```text\n$ placevec {' '.join(words)} --help\n\n{help_of(*words)}\n```" for words in commands]
    return f"{BEGIN}\n\n" + "\n\n".join(parts) + f"\n\n{END}"


def main() -> int:
    """Write or check all pages."""
    os.environ.update(TERMINAL)  # before the import: typer reads the width once
    from placevec.cli.commands import VERBS

    PAGES.mkdir(exist_ok=True)
    stale = []
    for verb in VERBS:
        page = PAGES / f"{verb}.md"
        text = page.read_text() if page.exists() else f"# placevec {verb}\n\n{BEGIN}\n{END}\n"
        new = re.sub(re.escape(BEGIN) + ".*?" + re.escape(END), lambda _, verb=verb: block(verb), text, flags=re.DOTALL)
        if new != text or not page.exists():
            stale.append(page.name)
            if "--check" not in sys.argv:
                page.write_text(new)
    if stale and "--check" in sys.argv:
        print(f"out of date: {', '.join(stale)}; run python docs/make_verbs.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
