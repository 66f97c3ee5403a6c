"""One file from the network to the disk: goes on where it stopped, and is not believed until its checksum is right.

huggingface_hub finds the file, knows the user's login and speaks HTTP; the transfer is ours because its own begins
anew in every process and does not compare checksums.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import CoreError
from core.official import neterrors
from core.official.writing import full_disk, require_space

CHUNK = 1024 * 1024
TIMEOUT = 20.0
"""Seconds without a byte after which a connection counts as dead."""
PAUSE = 0.5
"""Seconds before the first of them; doubled each time."""
RETRIES = 4
"""Times in a row that a dead connection is tried again without a single new byte."""
MAX_UNKNOWN = 64 * 1024 * 1024
"""Bytes that are taken from a server that does not say how many there are."""

Progress = Callable[[int, int], None]
"""Told (bytes done, bytes in all)."""


@dataclass(frozen=True)
class Remote:
    """A file as the server describes it.

    Args:
        url, headers: how to ask for it.
        size: bytes, None where the server does not say.
        checksum: sha256 (64 digits) or git's sha1 (40 digits); "" where the server states none.
        version: changes when the content does.
        revision: of the repository, "" where there is none.
    """

    url: str
    headers: dict[str, str]
    size: int | None
    checksum: str
    version: str
    revision: str = ""


@dataclass(frozen=True)
class HubFile:
    """A file of a Hugging Face repository; endpoint None for the environment's HF_ENDPOINT, else huggingface.co."""

    repo: str
    name: str
    revision: str = "main"
    endpoint: str | None = None

    def locate(self) -> Remote:
        """Ask for its size and checksum. Raises what the hub library raises."""
        from huggingface_hub import get_hf_file_metadata, hf_hub_url
        from huggingface_hub.utils import build_hf_headers

        url = hf_hub_url(self.repo, self.name, revision=self.revision, endpoint=self.endpoint)
        found = get_hf_file_metadata(url, timeout=TIMEOUT, endpoint=self.endpoint)
        # The user's login goes to the hub only: large files lie elsewhere, at addresses that are keys themselves.
        headers = build_hf_headers() if _origin(found.location) == _origin(url) else {}
        etag = found.etag or ""
        checksum = etag if re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", etag) else ""
        return Remote(found.location, headers, found.size, checksum, etag, found.commit_hash or "")

    def explain(self, error: Exception) -> CoreError:
        return neterrors.explain_hub(error, self.repo, self.name, self.endpoint)


@dataclass(frozen=True)
class WebFile:
    """A file at a plain address, without a checksum."""

    url: str

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]

    def locate(self) -> Remote:
        return Remote(self.url, {}, None, "", hashlib.sha256(self.url.encode()).hexdigest())

    def explain(self, error: Exception) -> CoreError:
        return neterrors.explain_web(error, self.url)


def fetch(source: HubFile | WebFile, target: Path, progress: Progress | None = None, spare: int = 0) -> Remote:
    """Download a file, or go on with one that was begun, into `target`, whose folder exists.

    Args:
        spare: bytes that have to stay free, for each byte of the file (1: its size once more).
    Returns:
        What was downloaded.
    Raises:
        CoreError: disk_full, checksum_wrong, and those of core.official.neterrors.
    """
    failures = attempts = 0
    while True:
        partial: Path | None = None
        before = 0
        try:
            remote = source.locate()
            partial = target.with_name(f"{target.name}.{_safe(remote.version)}.incomplete")
            for old in target.parent.glob(f"{target.name}.*.incomplete"):
                if old != partial:
                    old.unlink()  # of a version that is gone
            before = _size(partial)
            _transfer(remote, partial, progress, spare)
            break
        except CoreError:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno:
                raise  # the disk, not the network
            attempts += 1
            failures = 0 if partial is not None and _size(partial) > before else failures + 1
            if not neterrors.passing(error) or failures > RETRIES or attempts > 100:
                raise source.explain(error) from error
            time.sleep(min(PAUSE * 2**failures, 8.0))
    _verify(remote, partial, source.name)
    partial.replace(target)
    return remote


def _transfer(remote: Remote, partial: Path, progress: Progress | None, spare: int) -> None:
    """Append what is missing. Raises what the HTTP library raises, CoreError("disk_full")."""
    from huggingface_hub import get_session

    have = _size(partial)
    if remote.size is not None:
        if have > remote.size:
            partial.unlink()
            have = 0
        require_space(partial.parent, remote.size - have + spare * remote.size)
        if have == remote.size:
            return
    headers = {**remote.headers, "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    with get_session().stream("GET", remote.url, headers=headers, timeout=TIMEOUT, follow_redirects=True) as response:
        if have and response.status_code == 416:  # nothing is left to send, or it is another file now
            if remote.size is None:
                partial.unlink()
            raise neterrors.Interrupted("the server has no such part of the file")
        neterrors.raise_for_status(response)
        start = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
        resumed = response.status_code == 206 and start is not None and int(start[1]) == have
        if not resumed:
            have = 0  # the server sends all of it, whatever was asked
        length = response.headers.get("Content-Length")
        total = remote.size or (have + int(length) if length and length.isdigit() else 0)
        with full_disk(partial.parent, total - have), partial.open("ab" if resumed else "wb") as file:
            for chunk in response.iter_bytes(CHUNK):
                file.write(chunk)
                have += len(chunk)
                if progress is not None:
                    progress(have, max(total, have))
                if have > (remote.size or MAX_UNKNOWN):
                    break  # more than there can be: the check below says so
        if total and have < total:
            raise neterrors.Interrupted("the connection ended early")


def _verify(remote: Remote, partial: Path, name: str) -> None:
    """Compare size and checksum; a file that is wrong is deleted, so that the next try begins anew."""
    size = _size(partial)
    digest = hashlib.sha256()
    if len(remote.checksum) == 40:
        digest = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)  # git's name of the content
    with partial.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    expected = size if remote.size is None and size <= MAX_UNKNOWN else remote.size
    if size != expected or remote.checksum not in ("", digest.hexdigest()):
        partial.unlink()
        raise CoreError(
            "checksum_wrong",
            f"{name} arrived damaged: its checksum is not the one the server states. It was deleted.",
            "Run the same command again. If it happens again, a proxy or a mirror changes the file.",
        )


def _size(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


def _safe(version: str) -> str:
    return re.sub(r"[^0-9a-zA-Z]", "", version)[:16] or "0"


def _origin(url: str) -> Any:
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


def repository_files(source: HubFile) -> Iterator[str]:
    """The repository's checkpoints, for a message; none where it does not say."""
    from huggingface_hub import HfApi

    with contextlib.suppress(Exception):  # it is only a hint, whatever goes wrong with it
        for name in HfApi(endpoint=source.endpoint).list_repo_files(source.repo, revision=source.revision):
            if name.endswith((".ckpt", ".pth", ".pt", ".safetensors")):
                yield name
