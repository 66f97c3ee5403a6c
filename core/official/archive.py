"""The container around a checkpoint: where each tensor lies in the file, without reading it.

Three containers: torch's zip (since 2020), torch's older stream of pickles, and safetensors. Sizes and places in them
are claims of a stranger: each is checked against the file before anything is read.
"""

from __future__ import annotations

import io
import json
import math
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import torch

from core.errors import CoreError
from core.official.harmless import UnsafePickle
from core.official.pickles import BrokenPickle, Named, read_pickle

MAX_PICKLE = 64 * 1024 * 1024
"""Bytes of the part that is not numbers; a real one has less than one million."""
MAX_ENTRIES = 100_000
BLOCK = 1024 * 1024
"""Numbers that are in memory at a time."""

AGAIN = "Download motiongpt3.ckpt again from its makers' page."
LEGACY_MAGIC = bytes.fromhex("80028a0a6cfc9c46f9206aa85019")
_DAMAGE = (ValueError, LookupError, TypeError, AttributeError, NotImplementedError, ArithmeticError, struct.error)
"""What Python's own readers raise at bytes that make no sense."""
_STORAGES = {
    "FloatStorage": torch.float32, "DoubleStorage": torch.float64, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}  # fmt: skip
_SAFETENSORS = {
    "F32": torch.float32, "F64": torch.float64, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


@dataclass(eq=False)
class Storage:
    """A run of numbers in the file."""

    nbytes: int
    dtype: torch.dtype | None  # None: bytes, the tensor says what they are
    start: int = -1  # where it begins in the file; -1 while not known
    crc: int | None = None  # the checksum the file states for it


@dataclass(eq=False)
class Stored:
    """A tensor that is still in the file: a view of a storage. Offsets and strides count numbers, not bytes."""

    storage: Storage
    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int

    @property
    def place(self) -> tuple:
        """Equal for two tensors that are the same numbers of the file."""
        return id(self.storage), self.dtype, self.shape, self.stride, self.offset

    @property
    def numel(self) -> int:
        return math.prod(self.shape)


@dataclass
class Archive:
    """An open checkpoint: `content` is what was saved, its tensors are `Stored`."""

    path: Path
    content: Any
    container: str  # for people
    file: BinaryIO = field(repr=False)

    def blocks(self, tensor: Stored, size: int = BLOCK) -> Iterator[torch.Tensor]:
        """The tensor's numbers in order, as flat pieces of at most `size`; one that is laid out in another order
        comes in one piece. Raises CoreError("checkpoint_truncated" or "checkpoint_broken")."""
        expected: list[int] = []
        step = 1
        for n in reversed(tensor.shape):
            expected.insert(0, step)
            step *= n
        in_order = all(n == 1 or s == e for n, s, e in zip(tensor.shape, tensor.stride, expected, strict=True))
        if tensor.numel == 0:
            return
        if not in_order:
            extent = _extent(tensor.shape, tensor.stride)
            yield self._read(tensor, 0, extent).as_strided(tensor.shape, tensor.stride).reshape(-1)
            return
        crc, whole = 0, tensor.numel * tensor.dtype.itemsize == tensor.storage.nbytes
        for at in range(0, tensor.numel, size):
            block = self._read(tensor, at, min(size, tensor.numel - at))
            if whole and tensor.storage.crc is not None:
                crc = zlib.crc32(block.view(torch.uint8).numpy().data, crc)
            yield block
        if whole and tensor.storage.crc not in (None, crc):
            raise CoreError(
                "checkpoint_broken", f"'{self.path.name}' is damaged: some of its numbers were changed.", AGAIN
            )

    def _read(self, tensor: Stored, at: int, count: int) -> torch.Tensor:
        width = tensor.dtype.itemsize
        data = bytearray(count * width)
        self.file.seek(tensor.storage.start + (tensor.offset + at) * width)
        if self.file.readinto(data) != len(data):  # type: ignore[attr-defined]
            raise truncated(self.path)
        return torch.frombuffer(data, dtype=tensor.dtype)

    def close(self) -> None:
        self.file.close()


def open_archive(path: Path) -> Archive:
    """Open a checkpoint; nothing in it is run, and no tensor is read yet.

    Raises:
        CoreError: checkpoint_missing, checkpoint_unsafe, checkpoint_truncated, checkpoint_broken, checkpoint_unknown.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise CoreError(
            "checkpoint_missing", f"'{path}' cannot be opened: {error.strerror}.", "Choose the motiongpt3.ckpt file."
        ) from error
    try:
        content, container = _content(path, file)
    except UnsafePickle as error:
        file.close()
        raise CoreError(
            "checkpoint_unsafe",
            f"'{path.name}' is not only numbers: whoever opens it is made to run or load '{error.name}'. Nothing of it "
            "was run.",
            "Delete it, open it with no other program, and get the official file from its makers' page.",
        ) from error
    except (BrokenPickle, *_DAMAGE) as error:
        file.close()
        raise CoreError("checkpoint_broken", f"'{path.name}' is damaged, or no checkpoint: {error}.", AGAIN) from error
    except BaseException:
        file.close()
        raise
    return Archive(path, content, container, file)


def truncated(path: Path) -> CoreError:
    size = path.stat().st_size / 1e6
    return CoreError(
        "checkpoint_truncated",
        f"'{path.name}' is not whole: its end is missing ({size:.1f} MB are here).",
        "The download was cut off. " + AGAIN,
    )


def _content(path: Path, file: BinaryIO) -> tuple[Any, str]:
    head = file.read(512)
    size = path.stat().st_size
    if head[:4] == b"PK\x03\x04":
        return _open_zip(path, file), "torch zip"
    if head.startswith(LEGACY_MAGIC):
        return _open_legacy(path, file, size), "torch, the format before 2020"
    length = int.from_bytes(head[:8], "little")
    if len(head) > 9 and head[8:9] == b"{" and 2 <= length <= MAX_PICKLE:
        return _open_safetensors(path, file, length, size), "safetensors"
    raise CoreError("checkpoint_unknown", f"'{path.name}' is {_what(head, size)}, not a MotionGPT3 checkpoint.", AGAIN)


def _what(head: bytes, size: int) -> str:
    start = head.lstrip()[:15].lower()
    if size == 0:
        return "empty"
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page (the download asked for a login or failed)"
    if head.startswith(b"version https://git-lfs"):
        return "only the address of a large file (git-lfs did not fetch it)"
    if head.startswith((b"\x1f\x8b", b"7z\xbc\xaf", b"Rar!")) or head[257:262] == b"ustar":
        return "a packed archive (unpack it first)"
    return "another kind of file"


# -- torch's zip ---------------------------------------------------------------------------------------------------


def _open_zip(path: Path, file: BinaryIO) -> Any:
    try:
        members = zipfile.ZipFile(file).infolist()
    except (zipfile.BadZipFile, *_DAMAGE):
        raise truncated(path) from None
    names = {m.filename: m for m in members}
    roots = [n[: -len("data.pkl")] for n in names if n == "data.pkl" or n.endswith("/data.pkl")]
    if len(roots) != 1 or len(names) != len(members) or len(members) > MAX_ENTRIES:
        raise CoreError("checkpoint_unknown", f"'{path.name}' is a zip file, but not a torch checkpoint.", AGAIN)
    root, size = roots[0], path.stat().st_size
    if root + "constants.pkl" in names:
        raise CoreError(
            "checkpoint_unknown", f"'{path.name}' is a TorchScript program, not a checkpoint of weights.", AGAIN
        )

    def place(member: zipfile.ZipInfo) -> int:
        """Where a member's bytes begin. They are never unpacked, so none can grow larger than the file."""
        if (
            member.compress_type != zipfile.ZIP_STORED
            or member.flag_bits & 1
            or member.compress_size != member.file_size
        ):
            raise BrokenPickle("it was packed again, which torch does not do")
        file.seek(max(member.header_offset, 0))
        header = file.read(30)
        if member.header_offset < 0 or len(header) < 30 or header[:4] != b"PK\x03\x04":
            raise BrokenPickle("its table of contents is wrong")
        start = member.header_offset + 30 + sum(struct.unpack("<HH", header[26:30]))
        if start + member.file_size > size:
            raise truncated(path)
        return start

    if root + "byteorder" in names:
        order = names[root + "byteorder"]
        file.seek(place(order))
        if file.read(min(order.file_size, 16)) != b"little":
            raise BrokenPickle("it was written on a big-endian computer")
    storages: dict[str, Storage] = {}

    def storage(key: str, dtype: torch.dtype | None, nbytes: int) -> Storage:
        member = names.get(f"{root}data/{key}")
        if member is None or member.file_size < nbytes:
            raise BrokenPickle(f"the numbers of storage {key[:20]} are missing")
        if key not in storages:
            storages[key] = Storage(member.file_size, dtype, place(member), member.CRC)
        return storages[key]

    pickle = names[root + "data.pkl"]
    return _read(file, place(pickle), pickle.file_size, storage, pickle.CRC)


# -- torch's older stream ------------------------------------------------------------------------------------------


def _open_legacy(path: Path, file: BinaryIO, size: int) -> Any:
    file.seek(0)
    storages: dict[str, Storage] = {}

    def storage(key: str, dtype: torch.dtype | None, nbytes: int) -> Storage:
        return storages.setdefault(key, Storage(nbytes, dtype))

    def pickle(storage: Any = None) -> Any:
        return _read(file, file.tell(), min(size - file.tell(), MAX_PICKLE), storage)

    for _ in ("magic number", "protocol", "system"):
        pickle()
    content = pickle(storage)
    keys = pickle()
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or set(keys) != storages.keys():
        raise BrokenPickle("its list of storages is wrong")
    for key in keys:  # each: how many numbers, then the numbers
        found = storages[key]
        count = file.read(8)
        if len(count) < 8 or file.tell() + found.nbytes > size:
            raise truncated(path)
        if struct.unpack("<q", count)[0] * (found.dtype or torch.uint8).itemsize != found.nbytes:
            raise BrokenPickle(f"storage {key[:20]} has another size than it says")
        found.start = file.tell()
        file.seek(found.nbytes, io.SEEK_CUR)
    return content


# -- the pickle in either ------------------------------------------------------------------------------------------


class _Window(io.RawIOBase):
    """A part of a file, which no claim in it can make one read more than."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self.data = memoryview(_bytes(file, start, size))
        self.at = 0

    def read(self, size: int = -1) -> bytes:
        end = len(self.data) if size is None or size < 0 else min(self.at + size, len(self.data))
        piece = bytes(self.data[self.at : end])
        self.at = end
        return piece

    def tell(self) -> int:
        return self.at

    def readline(self, size: int | None = -1) -> bytes:
        window = bytes(self.data[self.at : self.at + 65536])
        return self.read(window.find(b"\n") + 1 or len(window))


def _bytes(file: BinaryIO, start: int, size: int) -> bytes:
    file.seek(start)
    return file.read(size)


def _read(file: BinaryIO, start: int, size: int, storage: Any = None, crc: int | None = None) -> Any:
    """The pickle that begins at `start`; the file stands behind it afterwards."""
    if size > MAX_PICKLE:
        raise BrokenPickle(f"the part of it that is no numbers has {size / 1e6:.0f} MB")
    window = _Window(file, start, size)
    if crc not in (None, zlib.crc32(window.data)):
        raise BrokenPickle("its bytes were changed")

    def persistent(reference: Any) -> Storage:
        if storage is None or not isinstance(reference, tuple) or len(reference) < 5 or reference[0] != "storage":
            raise BrokenPickle("it refers to something outside")
        _, kind, key, _location, count, *view = reference
        if not isinstance(kind, Named) or not isinstance(key, str) or type(count) is not int or count < 0 or any(view):
            raise BrokenPickle("a storage is not described properly")
        name = kind.name.rpartition(".")[2]
        if name not in _STORAGES and name != "UntypedStorage":
            raise BrokenPickle(f"numbers of the kind {name[:30]} are unknown")
        dtype = _STORAGES.get(name)
        return storage(key, dtype, count * (dtype or torch.uint8).itemsize)

    content = read_pickle(window, _rebuild, persistent)  # type: ignore[arg-type]
    file.seek(start + window.at)
    return content


def _rebuild(name: str, args: tuple) -> Any:
    """The tensor that a call of torch's would have made, still in the file."""
    function = name.rpartition(".")[2]
    if function == "_rebuild_parameter" or function == "_rebuild_parameter_with_state":
        return args[0]
    if function == "_rebuild_from_type_v2":  # (function, class, its arguments, state)
        return _rebuild(args[0].name, args[2]) if isinstance(args[0], Named) else NotImplemented
    if function not in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3"):
        return NotImplemented
    storage, offset, shape, stride = args[:4]
    if not isinstance(storage, Storage):
        raise BrokenPickle("a tensor without numbers")
    dtype = storage.dtype
    if function == "_rebuild_tensor_v3":
        dtype = getattr(torch, args[6].name.rpartition(".")[2], None)
    if not isinstance(dtype, torch.dtype):
        raise BrokenPickle("a tensor of an unknown kind")
    for value in (offset, *shape, *stride):
        if type(value) is not int or not 0 <= value < 2**48:
            raise BrokenPickle("a tensor's sizes are no sizes")
    if len(shape) != len(stride) or len(shape) > 8:
        raise BrokenPickle("a tensor's sizes do not fit together")
    numbers = storage.nbytes // dtype.itemsize
    empty = math.prod(shape) == 0
    # More entries than numbers would be one number repeated, which can be made to fill any memory.
    if not empty and (offset + _extent(shape, stride) > numbers or math.prod(shape) > numbers):
        raise BrokenPickle("a tensor reaches beyond its numbers")
    return Stored(storage, dtype, tuple(shape), tuple(stride), offset)


def _extent(shape: tuple[int, ...], stride: tuple[int, ...]) -> int:
    """Numbers from a view's first to its last."""
    return sum((n - 1) * s for n, s in zip(shape, stride, strict=True)) + 1


# -- safetensors ---------------------------------------------------------------------------------------------------


def _open_safetensors(path: Path, file: BinaryIO, length: int, size: int) -> dict:
    try:
        header = json.loads(_bytes(file, 8, length).decode("utf-8"))
        header.pop("__metadata__", None)
        content = {}
        for name, entry in header.items():
            dtype, shape, (begin, end) = _SAFETENSORS[entry["dtype"]], tuple(entry["shape"]), entry["data_offsets"]
            if any(type(n) is not int or n < 0 for n in (*shape, begin, end)):
                raise ValueError("sizes")
            if end - begin != math.prod(shape) * dtype.itemsize:
                raise ValueError("sizes")
            if 8 + length + end > size:
                raise truncated(path)
            stride = tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))
            content[name] = Stored(Storage(end - begin, dtype, 8 + length + begin), dtype, shape, stride, 0)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BrokenPickle("its table of contents cannot be read") from error
    return content
