"""Downloads with checksums: one process downloads, the others wait, and a killed download is continued."""

from __future__ import annotations

import gzip
import hashlib
import logging
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)

_TIMEOUT_S = 30
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Archive:
    """A file to download: ``path`` is where it is put, and its directory is where it is extracted."""

    path: Path
    md5: str
    urls: Sequence[str]


def fetch_archives(name: str, archives: Sequence[Archive], is_complete: Callable[[], bool], *, download: bool) -> None:
    """Make sure that a data set is there: extract its archives, and download those that are missing.

    Args:
        name: What to call the data set.
        archives: All files that it consists of; they lie in one directory.
        is_complete: Says whether the extracted files are there and whole. It may be slow.
        download: False: extract archives that are there, and download nothing.

    Raises:
        FileNotFoundError: An archive is missing, or damaged, and cannot be downloaded. The message says which file to
            put where.
    """
    if is_complete():
        return
    directory = archives[0].path.parent
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with _lock(directory / f".{name}.lock", name):
            if is_complete():  # another process has done it
                return
            for archive in archives:
                _fetch(archive, download=download)
            for archive in archives:
                _extract(archive.path)
            if not is_complete():
                raise OSError("The extracted files are not those of the data set")
    except OSError as error:
        raise FileNotFoundError(_describe_missing(name, archives, error)) from error


def _lock(path: Path, name: str) -> FileLock:
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("Another process prepares %s; waiting for it.", name)
        lock.acquire()
    return lock


def _fetch(archive: Archive, *, download: bool) -> None:
    """Download an archive unless it is there and whole."""
    found = compute_md5(archive.path)
    if found == archive.md5:
        return
    if not download:
        raise OSError("downloads are switched off: data.download=false")
    errors = []
    for url in archive.urls:
        try:
            log.info("Downloading %s to %s", url, archive.path)
            _download(url, archive)
            return
        except (OSError, ValueError) as error:  # ValueError: no URL
            errors.append(f"{url}: {error}")
    raise OSError("; ".join(errors))


def _download(url: str, archive: Archive) -> None:
    partial = archive.path.with_name(f"{archive.path.name}.part")
    continued = partial.exists()
    while not _transfer(url, partial):
        log.info("The connection ended; continuing at byte %d of %s", partial.stat().st_size, url)
    if (found := compute_md5(partial)) == archive.md5:
        partial.replace(archive.path)
        return
    partial.unlink()
    if not continued:
        raise OSError(f"the file has the MD5 checksum {found} instead of {archive.md5}")
    _download(url, archive)  # what was there was not the beginning of this file


def _transfer(url: str, partial: Path) -> bool:
    """Append to ``partial`` what it lacks; return whether that is all.

    Raises:
        OSError: The server cannot be reached, refuses, or sent nothing.
    """
    start = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "wandbsweep"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
            start = start if response.status == 206 else 0  # else the server begins with the first byte
            with partial.open("ab" if start else "wb", buffering=0) as file:
                shutil.copyfileobj(response, file, _CHUNK)
                received = file.tell() - start
            expected = response.headers.get("Content-Length")
    except urllib.error.HTTPError as error:
        with error:
            if start and error.code == 416:  # nothing follows what is there
                return True
        raise
    if not received:
        raise OSError("the server sent nothing")
    return expected is None or received >= int(expected)


def compute_md5(path: Path) -> str | None:
    """Return a file's MD5 checksum; None: there is no such file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except FileNotFoundError:
        return None


def _extract(archive: Path) -> None:
    """Extract an archive into its directory; each file appears there whole, or not at all."""
    directory = archive.parent
    with tempfile.TemporaryDirectory(dir=directory, prefix=f".{archive.name}.") as temporary:
        if archive.name.endswith(".tar.gz"):
            with tarfile.open(archive) as tar:
                tar.extractall(temporary, filter="data")
        else:
            with gzip.open(archive) as packed, Path(temporary, archive.stem).open("wb") as file:
                shutil.copyfileobj(packed, file, _CHUNK)
        for file_path in sorted(Path(temporary).rglob("*")):
            if file_path.is_file():
                target = directory / file_path.relative_to(temporary)
                target.parent.mkdir(parents=True, exist_ok=True)
                file_path.replace(target)


def _describe_missing(name: str, archives: Sequence[Archive], error: Exception) -> str:
    directory = archives[0].path.parent
    lines = [f"The data set {name} is not in {directory}, and could not be downloaded: {error}", "Put there:"]
    for archive in archives:
        found = compute_md5(archive.path)
        note = "" if found in (None, archive.md5) else f"; the file that is there has {found}: another, or damaged"
        lines.append(f"  {archive.path.name}  from {archive.urls[0]}  (MD5 {archive.md5}{note})")
    lines.append(
        "or what these archives contain; or set `data.root` to a directory that has them in torchvision's layout."
    )
    return "\n".join(lines)
