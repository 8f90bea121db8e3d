"""The command line: one command a verb. Its modules are imported when a verb is used, not before."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache

import typer

from placevec.cli import commands
from placevec.errors import PlacevecError
from placevec.files import goal_of

INTERRUPTED = 130  # 128 + SIGINT, as shells count
INTERRUPTED_WORDS = "interrupted; what is complete was kept, the same command goes on from there"

app = typer.Typer(
    name="placevec",
    help="Embeddings of the places of a region: learn, keep, search, probe and map them.",
    epilog="Begin with `placevec demo`. Each verb tells more: `placevec search --help`.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
commands.register(app)


def _version(value: bool) -> None:
    if value:
        from placevec import __version__

        typer.echo(f"placevec {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    sys.exit(run(arguments))


@lru_cache(maxsize=1)
def _command() -> Callable[..., object]:
    """The command line as click has it; made once a process, for it reads the signatures of all verbs."""
    return typer.main.get_command(app)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    try:
        given = None if arguments is None else list(arguments)
        result = _command()(args=given, prog_name="placevec", standalone_mode=False)
        if result == INTERRUPTED:  # typer makes this of Ctrl-C
            return _fail(INTERRUPTED_WORDS, INTERRUPTED)
        return result if isinstance(result, int) else 0
    except PlacevecError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt as error:
        return _fail(str(error) or INTERRUPTED_WORDS, INTERRUPTED)
    except BrokenPipeError:
        # The reader of the pipe has gone, as with `| head`; nothing is wrong.
        sys.stderr.close()
        return 0
    except OSError as error:
        name = None if error.filename is None else goal_of(str(error.filename))
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return _fail(f"the disk is full ({name or 'while writing'}); what was complete stays", 1)
        if error.errno == errno.EFBIG:
            return _fail("a file would be larger than this disk or `ulimit -f` allows; what was complete stays", 1)
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOENT, errno.EISDIR, errno.ENOTDIR):
            return _fail(f"{name}: {error.strerror}", 1)
        raise
    except Exception as error:
        return _click_error(error)


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"placevec: {' '.join(message.split())}\n")
    return code


def _click_error(error: Exception) -> int:
    """What typer raises for wrong usage and for Ctrl-C; anything else is a defect and keeps its traceback."""
    if type(error).__name__ == "Abort":
        return _fail(INTERRUPTED_WORDS, INTERRUPTED)
    show = getattr(error, "show", None)
    code = getattr(error, "exit_code", None)
    if show is None or code is None:
        raise error
    if not hasattr(error, "format_message"):
        return int(code)
    show(file=sys.stderr)
    return int(code)
