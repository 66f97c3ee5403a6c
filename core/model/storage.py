"""Weights in a safetensors file: as floats, or matrices in whole numbers of few bits and everything else in float32.

A packed matrix is cut into groups of 64 numbers along its last axis; a group shares one half-precision scale and its
numbers are multiples of it, from -127 to 127 (8 bits) or -31 to 31 (6 bits). The scale may clip a group's largest
number where that makes the squared error of the group smaller. After LLM.int8() (Dettmers et al., NeurIPS 2022) and
the groups of GPTQ (Frantar et al., ICLR 2023), without their calibration data. Reading gives float32.

Of a matrix whose first rows matter most (a PCA's basis: its first directions are metres long, and no clip is without
them) those rows are stored a second time, what the first time left over, and the part of the other rows' errors that
lies along the first rows is stored too, as so much of each of them.

In the file: NAME (int8 in the matrix's own shape, or uint8 bytes in which numbers of fewer bits are packed), NAME:scale
(half; its last axis is the groups), for a matrix with fine rows NAME:fine, NAME:fine:scale and NAME:along, and the
metadata's "storage", JSON: {"version": 1, "packed": {NAME: [bits, shape, fine rows]}}.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file

VERSION = 1
GROUP = 64
SMALLEST = 4096
"""Tensors of fewer numbers, and all with one axis (biases, norms, statistics, centres, scales), stay in float32."""
PIECES = {8: (), 6: (4, 2), 4: (4,)}
"""Bits of a number -> the pieces it is cut into, lowest first; pieces of one width fill bytes without a gap."""
_CLIPS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75)
PARTS = ("", ":scale", ":fine", ":fine:scale", ":along")
"""What the names of a packed matrix's tensors end in."""


class StorageError(ValueError):
    """A file whose contents do not fit what it says of itself; a sentence's end, for whoever knows the file."""


def packable(name: str, tensor: torch.Tensor) -> bool:
    """Whether a tensor can be stored in few bits: a large finite matrix of floats."""
    return (
        tensor.is_floating_point()
        and tensor.dim() >= 2
        and tensor.numel() >= SMALLEST
        and bool(torch.isfinite(tensor).all())
    )


def write_weights(
    path: Path,
    state: dict[str, torch.Tensor],
    dtype: torch.dtype = torch.float32,
    metadata: dict[str, str] | None = None,
    bits: Callable[[str], int] | int = 8,
    fine: dict[str, int] | None = None,
) -> None:
    """Write a state dict as one safetensors file.

    Args:
        dtype: of the floats; torch.int8 for packed matrices.
        metadata: further entries of the file's own.
        bits: of a packed number, 8, 6 or 4: for all, or by the tensor's name.
        fine: matrices (two axes) whose first rows matter most -> how many rows.
    Raises:
        OSError, SafetensorError: it cannot be written.
    """
    tensors: dict[str, torch.Tensor] = {}
    packed: dict[str, list[Any]] = {}
    for name, tensor in state.items():
        tensor = tensor.detach().cpu()
        if dtype != torch.int8:
            tensors[name] = tensor.to(dtype) if tensor.is_floating_point() else tensor
        elif packable(name, tensor):
            width, rows = bits(name) if callable(bits) else bits, (fine or {}).get(name, 0)
            parts = pack(tensor, width, rows)
            tensors |= {name + part: stored for part, stored in parts.items()}
            packed[name] = [width, list(tensor.shape), rows]
        else:
            tensors[name] = tensor.float() if tensor.is_floating_point() else tensor
    about = dict(metadata or {})
    if dtype == torch.int8:
        about["storage"] = json.dumps({"version": VERSION, "packed": packed}, separators=(",", ":"))
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, about)
    path.chmod(0o644)  # safetensors makes it private; a model is there to be read


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file of either kind: floats as float32. Those stored so stay where the file is mapped.

    Raises:
        StorageError: its contents do not fit together, or a later version wrote it.
        SafetensorError, OSError: it is not a whole safetensors file, or cannot be read.
    """
    with safe_open(path, framework="pt") as file:
        packed = _packed(file.metadata() or {})
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
    out = {}
    for name, (bits, shape, rows) in packed.items():
        parts = {part: found.pop(name + part) for part in PARTS if name + part in found}
        try:
            out[name] = unpack(parts, bits, shape, rows)
        except StorageError as error:
            raise StorageError(f"{name}: {error}") from error
    return out | {name: t.float() if t.is_floating_point() else t for name, t in found.items()}


def pack(matrix: torch.Tensor, bits: int, rows: int = 0) -> dict[str, torch.Tensor]:
    """(..., C) floats -> what is stored of it: an ending of its name (PARTS) -> tensor.

    Args:
        bits: of a number: 8, 6 or 4.
        rows: how many rows of a (R, C) matrix are stored finely.
    """
    whole, scales = _round(matrix.float(), bits)
    parts = {"": whole if bits == 8 else _squeeze(whole, bits), ":scale": scales}
    if rows:
        left = matrix.float() - _multiply(whole.float(), scales)
        parts[":fine"], parts[":fine:scale"] = _round(left[:rows], 8)
        first = (matrix[:rows] - left[:rows] + _multiply(parts[":fine"].float(), parts[":fine:scale"])).double()
        parts[":along"] = torch.linalg.lstsq(first.T, left[rows:].double().T).solution.T.half()  # (R - rows, rows)
    return parts


def unpack(parts: dict[str, torch.Tensor], bits: int, shape: list[int], rows: int = 0) -> torch.Tensor:
    """What `pack` gave -> float32 of `shape`. Raises StorageError where sizes do not fit."""
    groups = [*shape[:-1], -(-shape[-1] // GROUP)]
    count = math.prod(shape)
    if bits == 8:
        _check(parts, "", shape, torch.int8)
        whole = parts[""].float()
    else:
        _check(parts, "", [_bytes(count, bits)], torch.uint8)
        whole = _spread(parts[""], bits, count).view(shape)
    _check(parts, ":scale", groups, torch.float16)
    out = _multiply(whole, parts[":scale"])
    if rows:
        if len(shape) != 2:
            raise StorageError("only matrices have rows")
        _check(parts, ":fine", [rows, shape[-1]], torch.int8)
        _check(parts, ":fine:scale", [rows, groups[-1]], torch.float16)
        _check(parts, ":along", [shape[0] - rows, rows], torch.float16)
        out[:rows] += _multiply(parts[":fine"].float(), parts[":fine:scale"])
        out[rows:] += parts[":along"].float() @ out[:rows]
    return out


def _round(matrix: torch.Tensor, bits: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(..., C) float32 -> whole numbers (..., C) int8 and their scales (..., ceil(C / 64)) in half precision."""
    most = 2 ** (bits - 1) - 1
    C = matrix.shape[-1]
    groups = F.pad(matrix, (0, -C % GROUP)).reshape(*matrix.shape[:-1], -1, GROUP)  # (..., G, 64)
    largest = groups.abs().amax(-1, keepdim=True)
    least = torch.full_like(largest, torch.inf)
    numbers, scales = torch.zeros_like(groups), torch.zeros_like(largest)
    for clip in _CLIPS:
        # Rounded to half first, to no less than its smallest number: what is stored is what the numbers are chosen for.
        scale = (largest * (clip / most)).clamp(min=2**-24).half().float()
        tried = (groups / scale).round_().clamp_(-most, most)
        error = (tried * scale - groups).square_().sum(-1, keepdim=True)
        better = error < least
        least = torch.where(better, error, least)
        numbers, scales = torch.where(better, tried, numbers), torch.where(better, scale, scales)
    return numbers.flatten(-2)[..., :C].to(torch.int8), scales.squeeze(-1).half()


def _multiply(whole: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Whole numbers (..., C) float32, changed in place, times the scales of their groups."""
    C = whole.shape[-1]
    if C % GROUP == 0:
        return whole.view(*scales.shape, GROUP).mul_(scales.float().unsqueeze(-1)).view(whole.shape)
    return whole.mul_(scales.float().repeat_interleave(GROUP, -1)[..., :C])


def _packed(metadata: dict[str, str]) -> dict[str, tuple[int, list[int], int]]:
    """Name -> bits, shape and fine rows of what is packed, from a file's metadata; nothing where it says nothing."""
    if "storage" not in metadata:
        return {}
    try:
        storage = json.loads(metadata["storage"])
        version, packed = storage["version"], storage["packed"]
        found = {str(k): (int(bits), [int(n) for n in shape], int(rows)) for k, (bits, shape, rows) in packed.items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise StorageError("what it says of its own storage cannot be read") from error
    if version != VERSION or any(bits not in PIECES for bits, _, _ in found.values()):
        raise StorageError("a later version of this program stored it")
    return found


def _check(parts: dict[str, torch.Tensor], part: str, shape: list[int], dtype: torch.dtype) -> None:
    tensor = parts.get(part)
    if tensor is None:
        raise StorageError(f"its part '{part}' is missing")
    if list(tensor.shape) != shape or tensor.dtype != dtype:
        raise StorageError(f"its part '{part}' is {tuple(tensor.shape)}, not {tuple(shape)}")


# -- numbers of fewer bits than a byte has -----------------------------------------------------------------------------


def _layout(count: int, bits: int) -> Iterator[tuple[int, int, int]]:
    """(lowest bit, width, bytes) of each piece of `count` numbers, in the order they are stored."""
    at = 0
    for width in PIECES[bits]:
        yield at, width, -(-count * width // 8)
        at += width


def _bytes(count: int, bits: int) -> int:
    return sum(size for _, _, size in _layout(count, bits))


def _squeeze(whole: torch.Tensor, bits: int) -> torch.Tensor:
    """int8 numbers of `bits` bits -> bytes (n,)."""
    codes = (whole.flatten().short() + 2 ** (bits - 1)).to(torch.uint8)
    parts = []
    for at, width, size in _layout(len(codes), bits):
        each = 8 // width
        piece = F.pad((codes >> at) & (2**width - 1), (0, size * each - len(codes))).view(size, each)
        parts.append(sum((piece[:, i] << (i * width) for i in range(each)), torch.zeros(size, dtype=torch.uint8)))
    return torch.cat(parts)


def _spread(stored: torch.Tensor, bits: int, count: int) -> torch.Tensor:
    """What `_squeeze` gave -> float32 (count,)."""
    codes, start = torch.zeros(count, dtype=torch.uint8), 0
    for at, width, size in _layout(count, bits):
        part = stored.flatten()[start : start + size]
        start += size
        pieces = torch.stack([(part >> i) & (2**width - 1) for i in range(0, 8, width)], 1).flatten()[:count]
        codes |= pieces << at
    return codes.float().sub_(2 ** (bits - 1))
