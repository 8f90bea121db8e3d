"""Write the help of every verb into its page, between two marks; what else stands on a page is written by hand.

python docs/make_verbs.py           writes docs/verbs/*.md
python docs/make_verbs.py --check   exits with 1 if a page is out of date
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

PAGES = Path(__file__).parent / "verbs"
BEGIN, END = "<!-- help: made by docs/make_verbs.py -->", "<!-- end of help -->"
GROUPS = {
    "area": ["new", "info", "captions", "stencil", "patches", "geocells", "features", "targets"],
    "data": ["list", "fetch", "verify", "photos", "crawl flickr", "crawl google-places"],
    "evaluate": ["location", "retrieval", "evidence", "landscape", "geolocation"],
}


def help_of(*words: str) -> str:
    """The help text of a command, as a terminal of 100 columns shows it, without colours."""
    env = {**os.environ, "COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1", "TERMINAL_WIDTH": "100"}
    code = "from placevec.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *words, "--help"], capture_output=True, text=True, check=True, env=env
    )
    return "\n".join(line.rstrip() for line in done.stdout.strip().splitlines())


def block(verb: str) -> str:
    """The help of a verb and of its sub-commands, as Markdown."""
    commands = [(verb, *sub.split()) for sub in GROUPS[verb]] if verb in GROUPS else [(verb,)]
    parts = [f"```text\n$ placevec {' '.join(words)} --help\n\n{help_of(*words)}\n```" for words in commands]
    return f"{BEGIN}\n\n" + "\n\n".join(parts) + f"\n\n{END}"


def main() -> int:
    """Write or check all pages."""
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
