"""Our own joint bundles: a pair NAME_joints.npz and NAME_captions.jsonl.

The .npz has `local` (N, 22, 3) int16 in 0.1 mm (joint minus root x and z), `root_xz` (N, 2) float32 metres, `offsets`
(clip i is rows offsets[i] to offsets[i + 1]) and `ids`; a caption line has id, split, source, captions [{text, ...}].
Metres, Y up, 20 frames a second.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from core.train.sources.checks import broken, check_body, check_split, read_lines
from core.train.sources.clip import MAX_FRAMES, Clip

_REMEDY = "Check the bundle against the description in core/train/sources/bundle.py."


def load_bundle(joints_path: Path) -> list[Clip]:
    """Read a bundle; of clips that are longer, the first 9.8 seconds.

    Raises:
        CoreError: data_broken, naming the file and the line or clip that is wrong.
    """
    joints_path = Path(joints_path)
    name = joints_path.name
    if not name.endswith("_joints.npz"):
        raise broken(name, "it is not called NAME_joints.npz", _REMEDY)
    local, root, offsets, ids = bundle_arrays(joints_path)
    captions_path = joints_path.with_name(name.removesuffix("_joints.npz") + "_captions.jsonl")
    meta = _captions(captions_path)
    clips = []
    for i, clip_id in enumerate(ids):
        if clip_id not in meta:
            raise broken(captions_path.name, f"there is no line for the clip {clip_id}", _REMEDY)
        joints = bundle_joints(local, root, offsets, i)
        check_body(joints, f"{name}, clip {clip_id}")
        m = meta[clip_id]
        texts = list(dict.fromkeys(c["text"] for c in m["captions"]))
        clips.append(Clip(clip_id, m["source"], m["split"], joints[: MAX_FRAMES + 1], texts))
    return clips


def bundle_joints(local: np.ndarray, root: np.ndarray, offsets: np.ndarray, clip: int) -> np.ndarray:
    """One clip of what `bundle_arrays` gives: (T, 22, 3) float32 metres."""
    a, b = int(offsets[clip]), int(offsets[clip + 1])
    joints = local[a:b].astype(np.float32) * np.float32(1e-4)
    joints[..., 0] += root[a:b, None, 0]
    joints[..., 2] += root[a:b, None, 1]
    return joints


def bundle_arrays(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """local (N, 22, 3), root_xz (N, 2), offsets (clips + 1,), ids; checked."""
    try:
        with np.load(path, allow_pickle=False) as z:
            local, root, offsets = z["local"], z["root_xz"], z["offsets"]
            ids = [str(i) for i in z["ids"]]
    except KeyError as error:
        raise broken(path.name, f"it is not a joint bundle ({error})", _REMEDY) from error
    except Exception as error:  # a damaged archive can fail in any way: zip, header, numbers
        raise broken(path.name, "it is not a joint bundle", _REMEDY) from error
    if local.ndim != 3 or local.shape[1:] != (22, 3) or local.dtype.kind not in "iu":
        raise broken(path.name, f"'local' is {local.dtype} {local.shape}, not int16 (rows, 22, 3)", _REMEDY)
    if root.shape != (len(local), 2) or len(offsets) != len(ids) + 1 or offsets[0] != 0 or offsets[-1] != len(local):
        raise broken(path.name, "offsets, ids and rows do not agree", _REMEDY)
    lengths = np.diff(offsets.astype(np.int64))
    if lengths.min(initial=1) < 1:
        raise broken(path.name, f"the clip {ids[int(lengths.argmin())]} has no frames", _REMEDY)
    if len(set(ids)) != len(ids):
        twice = next(i for i in ids if ids.count(i) > 1)
        raise broken(path.name, f"the clip {twice} is there twice", _REMEDY)
    return local, root, offsets, ids


def _captions(path: Path) -> dict[str, dict[str, Any]]:
    meta: dict[str, dict[str, Any]] = {}
    for n, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        where = f"{path.name}, line {n}"
        try:
            entry = json.loads(line)
            texts = [c["text"] for c in entry["captions"]]
            words = [entry["id"], entry["split"], entry["source"], *texts]
        except (ValueError, KeyError, TypeError) as error:
            raise broken(where, repr(error), _REMEDY) from error
        if not texts or not all(isinstance(w, str) and w.strip() for w in words):
            raise broken(where, "id, split, source or a caption is empty or no text", _REMEDY)
        check_split(entry["split"], where)
        if entry["id"] in meta:
            raise broken(where, f"the clip {entry['id']} has a line already", _REMEDY)
        meta[entry["id"]] = entry
    return meta
