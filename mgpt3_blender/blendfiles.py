""".blend files from outside: which version wrote them, whether they may be written to, and replacing one whole.

Knows nothing of Blender, so that a folder can be looked through before any Blender is started.

A header is "BLENDER", one character for the size of pointers, one for the byte order, three digits of version; from 5.0
on "BLENDER", two digits that say how long the header is, "-", two of the format's version, "v" and four digits. A
compressed file holds all of it in zstd (3.0 and later) or gzip. (Blender's doc/blender_file_format.)
"""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import re
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from .errors import UserError

SUFFIX = ".blend"
PART = ".mgpt3-part"
"""In the name of a file that is being written; what has it is nobody's library."""
ZSTD, GZIP = b"\x28\xb5\x2f\xfd", b"\x1f\x8b"
_OLD = re.compile(rb"BLENDER[_-][vV](\d)(\d\d)")
_NEW = re.compile(rb"BLENDER\d\d-\d\dv(\d\d)(\d\d)")
_LONGEST = 24
_OWNER = re.compile(rf"{re.escape(PART)}-(\d+){re.escape(SUFFIX)}@?$")  # Blender writes to NAME@ before it is NAME
_LOCK_NAMES = ("{}.lock", ".{}.lock", ".~lock.{}#", "~${}", ".#{}")
"""What programs that share folders put beside a file in use."""


@dataclass(frozen=True)
class Header:
    """What a file says of itself. version: (major, minor), None where it cannot be told without unpacking it."""

    version: tuple[int, int] | None
    compressed: bool


@dataclass(frozen=True)
class Stamp:
    """Size and time of a file, to see whether somebody changed it meanwhile."""

    size: int
    time: int

    @classmethod
    def of(cls, path: Path) -> Stamp:
        """Raises OSError."""
        found = path.stat()
        return cls(found.st_size, found.st_mtime_ns)


def find(paths: Iterable[Path], *, recursive: bool = True) -> list[Path]:
    """The .blend files that are named, or lie in folders that are named; in order, each once, spelt as they were given.

    Hidden files and folders, backups (.blend1) and half-written files are left out. Raises UserError("path_missing").
    """
    found: dict[str, Path] = {}
    for path in paths:
        if path.is_dir():
            for file in _inside(path, recursive):
                found.setdefault(os.path.abspath(file), file)
        elif path.is_file():
            found.setdefault(os.path.abspath(path), path)
        else:
            raise UserError("path_missing", f"There is no file or folder {path}.", "Check its name.")
    return sorted(found.values(), key=shown)


def shown(path: Path) -> str:
    """A path as a report names it: forward slashes; bytes that are no UTF-8 are spelt out, for a report is UTF-8."""
    return path.as_posix().encode("utf-8", "backslashreplace").decode("utf-8")


def _inside(folder: Path, recursive: bool) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".")) if recursive else []
        for name in files:
            if name.lower().endswith(SUFFIX) and not name.startswith(".") and PART not in name:
                yield Path(place, name)


def read_header(path: Path) -> Header:
    """Read what wrote a file. Raises UserError("file_broken") where it is no .blend file, "file_unreadable"."""
    try:
        with path.open("rb") as file:
            start = file.read(4)
            file.seek(0)
            packed = start == ZSTD or start.startswith(GZIP)
            head = file.read(_LONGEST) if not packed else _unpacked(file, start)
    except OSError as error:
        raise UserError(
            "file_unreadable", f"The file cannot be read ({error.strerror or error}).", "Check who may read it."
        ) from error
    if head is None:
        return Header(None, True)
    match = _OLD.match(head) or _NEW.match(head)
    if match is None:
        raise UserError("file_broken", "This is no .blend file, or a damaged one.", "Open it in Blender to see.")
    return Header((int(match[1]), int(match[2])), packed)


def _unpacked(file: IO[bytes], start: bytes) -> bytes | None:
    """The first bytes of a compressed file; b"" of a damaged one, None where this Python cannot unpack it."""
    if start == ZSTD:
        try:
            import zstandard  # Blender has it
        except ImportError:
            return None
        try:
            with zstandard.ZstdDecompressor().stream_reader(file) as reader:
                return reader.read(_LONGEST)
        except zstandard.ZstdError:
            return b""
    try:
        with gzip.open(io.BufferedReader(file)) as reader:  # type: ignore[type-var]
            return reader.read(_LONGEST)
    except (OSError, EOFError, zlib.error):
        return b""


def check_version(header: Header, blender: tuple[int, ...]) -> None:
    """Raises UserError("file_newer") where a later Blender saved the file: this one could lose part of it."""
    if header.version is not None and header.version > tuple(blender[:2]):
        wrote, ours = (".".join(map(str, v)) for v in (header.version, blender[:2]))
        raise UserError(
            "file_newer",
            f"Blender {wrote} saved this file; this is Blender {ours}.",
            f"Describe it with Blender {wrote} or later.",
        )


def check_writable(path: Path) -> None:
    """Raises UserError("file_locked") where a file must not or cannot be replaced now."""
    with contextlib.suppress(OSError):
        mode = path.stat().st_mode
        # An administrator may write everywhere; who write-protected the file meant something by it all the same.
        if not mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH) or not os.access(path, os.W_OK):
            raise _locked("It is write-protected", "Take the protection off to have it described.")
    if not os.access(path.parent, os.W_OK):
        raise _locked("Its folder is write-protected", "Take the protection off to have it described.")
    for pattern in _LOCK_NAMES:
        beside = path.with_name(pattern.format(path.name))
        if beside.exists():
            raise _locked(f"A lock file lies beside it ({beside.name})", "Close it in the other program.")


@contextlib.contextmanager
def held(path: Path) -> Iterator[Callable[[], None]]:
    """Hold the operating system's lock of a file, so that two runs never work on it at once.

    Gives the function that lets go of it early, for `replace`: Windows renames over no file that anybody has open.

    Raises UserError("file_locked") at once where another program has it.
    """
    try:
        file = path.open("r+b")
    except OSError as error:
        raise _locked(f"Another program keeps it ({error.strerror})", "Close it there.") from error
    with file:
        try:
            _lock(file)
        except OSError as error:
            raise _locked("Another program has locked it", "Close it there.") from error
        yield file.close


def _lock(file: IO[bytes]) -> None:
    try:
        import fcntl
    except ImportError:  # Windows: a byte far behind the end, which no program reads
        import msvcrt

        file.seek(2**31 - 2)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        return
    for take in (fcntl.flock, fcntl.lockf):  # two kinds that do not know of each other; NFS and Samba use the latter
        try:
            take(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if isinstance(error, BlockingIOError | PermissionError):
                raise
            # A file system without locks: whoever else is there cannot lock either.


def replace(path: Path, save: Callable[[Path], None], stamp: Stamp, let_go: Callable[[], None] | None = None) -> Stamp:
    """Replace a file by one that `save` writes beside it; whoever looks sees the old one or the new one.

    Args:
        save: writes a whole file to the path that it is given.
        stamp: of the file when it was read.
        let_go: ends our own hold of the file, called where the system could not rename otherwise.

    Returns the new file's stamp. Raises UserError: "file_changed" where somebody else wrote the file since, "not_saved"
    where it could not be written; the file is then as it was, and nothing is left beside it.
    """
    real = path.resolve()  # a link stays a link
    part = real.with_name(f".{real.stem}{PART}-{os.getpid()}{SUFFIX}")
    try:
        save(part)
        new = read_header(part)
        if new.version is None and not new.compressed:
            raise OSError(0, "the copy is not whole")
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        with contextlib.suppress(OSError):
            was = real.stat()
            os.chmod(part, stat.S_IMODE(was.st_mode))
            if hasattr(os, "chown"):
                os.chown(part, was.st_uid, was.st_gid)
        if Stamp.of(real) != stamp:
            raise UserError(
                "file_changed", "The file was changed while it was being described.", "Describe it once more."
            )
        if let_go is not None and os.name == "nt":
            let_go()
        os.replace(part, real)
        _sync_folder(real.parent)
        return Stamp.of(real)
    except (OSError, RuntimeError, UserError) as error:  # Blender's own complaints are RuntimeErrors
        if isinstance(error, UserError) and error.code == "file_changed":
            raise
        words = getattr(error, "strerror", None) or str(error).strip()
        raise UserError(
            "not_saved", f"The file could not be saved ({words}).", "Check the disk's space and who may write there."
        ) from error
    finally:
        for left in (part, part.with_name(f"{part.name}@")):
            with contextlib.suppress(OSError):
                left.unlink(missing_ok=True)


def clean(folder: Path) -> int:
    """Remove what processes that were killed left half-written in a folder; how many that were."""
    count = 0
    for left in folder.glob(f".*{PART}-*{SUFFIX}*"):
        owner = _OWNER.search(left.name)
        if owner is not None and not alive(int(owner[1])):
            with contextlib.suppress(OSError):
                left.unlink()
                count += 1
    return count


def alive(process: int) -> bool:
    """Whether a process of this computer lives."""
    if process <= 0:
        return False
    if os.name == "nt":  # there os.kill would end it
        import ctypes

        kernel = ctypes.windll.kernel32  # type: ignore[attr-defined]
        handle = kernel.OpenProcess(0x1000, False, process)
        if not handle:
            return False
        code = ctypes.c_ulong()
        kernel.GetExitCodeProcess(handle, ctypes.byref(code))
        kernel.CloseHandle(handle)
        return code.value == 259  # STILL_ACTIVE
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def started(process: int) -> str:
    """When a process began, as the system counts, so that a number given out again is not taken for it; "" unknown."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return fields[19]
    except (OSError, IndexError):
        return ""


def _sync_folder(folder: Path) -> None:
    """Let the new name survive a power cut, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _locked(what: str, remedy: str) -> UserError:
    return UserError("file_locked", f"{what}.", remedy)
