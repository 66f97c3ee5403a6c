"""HumanML3D (Guo et al., CVPR 2022) and KIT-ML in the same form, in their own folder layout:

    new_joint_vecs/ID.npy   features (T, 263), or (T, 251) for KIT-ML; not normalised
    new_joints/ID.npy       joints (T, 22 or 21, 3), optional: compared with the features where it is there
    texts/ID.txt            a line a caption: caption#word/POS word/POS …#start#end, seconds
    train.txt val.txt test.txt, or all.txt alone: an ID a line
    Mean.npy Std.npy        of the features, optional (`load_statistics`)

A caption whose times are 0.0#0.0, or nan, is the whole clip's; any other is that part's, which becomes a clip of its
own: frames int(start * fps) to int(end * fps) at 20 fps, for KIT-ML at its 12.5. (Guo's loader counts 20 for both.)
As there, clips of 200 frames and more are left out; of the rest, the first 196 are kept. IDs that begin with M are the
mirrored clips that the datasets bring along. Some IDs have no file, in everybody's copy: they are counted and left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.errors import CoreError
from core.features import WIDTHS, features_to_joints, next_joints
from core.skeleton import FPS
from core.train.sources import kit
from core.train.sources.captions import split_of
from core.train.sources.checks import LEAST_FRAMES, Skipped, broken, check_body, read_array, read_lines, stature
from core.train.sources.clip import MAX_FRAMES, SPLITS, Clip

SOURCES = {263: "humanml3d", 251: "kit-ml"}
"""Numbers a frame -> the name of the dataset in `Clip.source`."""

TOO_LONG = 200  # frames from which Guo's loaders leave a clip out
_APART = 0.05  # metres between new_joints and the features' joints, on average, beyond which they are two motions


@dataclass(frozen=True)
class Line:
    """A line of a text file: `start`, `end` seconds, None for the clip's own."""

    caption: str
    tokens: list[str]
    start: float | None
    end: float | None


def load_humanml(folder: Path, *, split: str | None = None) -> list[Clip]:
    """The dataset's clips, in the order of its split files.

    Args:
        split: train, val or test; None for all.
    Returns:
        Clips with features as the files have them, and the joints they stand for in metres; ID@START-END for parts.
    Raises:
        CoreError: data_broken, naming the file and line.
    """
    for name in ("new_joint_vecs", "texts"):
        if not (folder / name).is_dir():
            raise broken(str(folder), f"there is no folder '{name}'", "Give the dataset's own folder.")
    load_statistics(folder)
    skipped = Skipped()
    clips: list[Clip] = []
    width, unit, asked = 0, 1.0, 0
    for clip_id, belongs in read_splits(folder).items():
        if split is not None and belongs != split:
            continue
        asked += 1
        path, words = folder / "new_joint_vecs" / f"{clip_id}.npy", folder / "texts" / f"{clip_id}.txt"
        if not path.is_file() or not words.is_file():
            skipped.add("ids without a file", clip_id)
            continue
        features = _features(path, width)
        lines = read_texts(words)
        if not LEAST_FRAMES <= len(features) < TOO_LONG:
            skipped.add(f"clips not of {LEAST_FRAMES} to {TOO_LONG - 1} frames", clip_id)
            continue
        if not width:
            width = features.shape[1]
            unit = unit_of(features)
        whole = _clip(clip_id, belongs, features, unit)
        check_body(whole.joints, path.name)
        _compare(folder / "new_joints" / path.name, whole.joints / unit, unit)
        clips += _cut(whole, features, lines, skipped)
    if asked and not clips:
        raise broken(str(folder), f"none of the {asked} ids in its split files has usable files", "Check the folder.")
    skipped.report(SOURCES.get(width, folder.name))
    return clips


def read_splits(folder: Path) -> dict[str, str]:
    """Clip id -> split, from train.txt, val.txt and test.txt; from all.txt where there is none of them."""
    found: dict[str, str] = {}
    files = [name for name in SPLITS if (folder / f"{name}.txt").is_file()]
    if not files and not (folder / "all.txt").is_file():
        raise broken(str(folder), "there is none of train.txt, val.txt, test.txt and all.txt",
                     "Copy the dataset's split files there.")  # fmt: skip
    for name in files or ["all"]:
        for n, line in enumerate(read_lines(folder / f"{name}.txt"), 1):
            clip_id = line.strip()
            if not clip_id:
                continue
            where = f"{name}.txt, line {n}"
            if not clip_id.replace("_", "").replace("-", "").isalnum():
                raise broken(where, f"'{clip_id}' is not a clip's id")
            belongs = name if files else split_of(clip_id.removeprefix("M"))
            if found.setdefault(clip_id, belongs) != belongs:
                raise broken(where, f"the clip {clip_id} is in {found[clip_id]}.txt too",
                             "A clip belongs to one split, else a model is tested on what it learned.")  # fmt: skip
    return found


def read_texts(path: Path) -> list[Line]:
    """The lines of one of the files in texts/. Raises CoreError("data_broken") naming the line."""
    lines = [_line(text, f"{path.name}, line {n}") for n, text in enumerate(read_lines(path), 1) if text.strip()]
    if not lines:
        raise broken(path.name, "there is no caption in it")
    return lines


def load_statistics(folder: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """The dataset's own mean and standard deviation, (F,) each; None where it has neither. Raises data_broken."""
    paths = [folder / "Mean.npy", folder / "Std.npy"]
    if not any(p.is_file() for p in paths):
        return None
    mean, std = (read_array(p) for p in paths)
    for path, values in zip(paths, (mean, std), strict=True):
        if values.ndim != 1 or values.shape[0] not in WIDTHS or not np.isfinite(values).all():
            raise broken(path.name, f"it is not {' or '.join(map(str, WIDTHS))} finite numbers, but {values.shape}")
    if mean.shape != std.shape or (std <= 0).any():
        raise broken("Std.npy", "it does not fit Mean.npy, or is not positive everywhere")
    return mean.astype(np.float32), std.astype(np.float32)


def unit_of(features: np.ndarray) -> float:
    """Metres a unit of length: 1, and for KIT-ML's 21 joints the MMM model's, unless somebody made metres of it."""
    if features.shape[1] == WIDTHS[0]:
        return 1.0
    return 1.0 if np.median(stature(features_to_joints(features))) < 10 else kit.UNIT


def _line(text: str, where: str) -> Line:
    """caption#word/POS word/POS#start#end; from the right, so that a caption may have a # in it."""
    parts = text.strip().rsplit("#", 3)
    if len(parts) != 4:
        raise broken(where, "it is not caption#word/POS word/POS#start#end")
    caption, tokens = parts[0].strip(), parts[1].split()
    if not caption:
        raise broken(where, "the caption is empty")
    bad = next((t for t in tokens if not all(t.rpartition("/"))), None)
    if bad is not None or not tokens:
        raise broken(where, f"the word '{bad or ''}' has no part of speech (word/POS)")
    times: list[float | None] = []
    for value in parts[2:]:
        try:
            seconds = float(value)
        except ValueError as error:
            raise broken(where, f"'{value}' is not a time in seconds") from error
        if math.isinf(seconds) or seconds < 0:
            raise broken(where, f"'{value}' is not a time in seconds")
        times.append(None if math.isnan(seconds) else seconds)
    start, end = times
    if not start and not end:  # 0 or nan, both: the whole clip
        return Line(caption, tokens, None, None)
    if end is not None and end <= (start or 0.0):
        raise broken(where, f"the time span from {start or 0:g} to {end:g} seconds is empty")
    return Line(caption, tokens, start or 0.0, end)


def _features(path: Path, width: int) -> np.ndarray:
    """(T, 263) or (T, 251) float32, finite, of the width that the files before it have."""
    array = read_array(path)
    if array.ndim != 2 or array.shape[1] not in WIDTHS or not len(array):
        raise broken(path.name, f"it is {array.shape}, not (frames, {' or '.join(map(str, WIDTHS))})")
    if width and array.shape[1] != width:
        raise broken(path.name, f"it has {array.shape[1]} numbers a frame, the files before it {width}")
    array = array.astype(np.float32)
    if not np.isfinite(array).all():
        frame = int(np.argwhere(~np.isfinite(array))[0, 0])
        raise broken(path.name, f"frame {frame} has values that are not finite numbers")
    return array


def _clip(clip_id: str, split: str, features: np.ndarray, unit: float) -> Clip:
    """Without captions yet. One more frame of joints than of features: where the last velocities lead."""
    features = features[:MAX_FRAMES]
    joints = np.concatenate([features_to_joints(features), next_joints(features)[None]]) * np.float32(unit)
    fps = FPS if joints.shape[1] == 22 else kit.FPS
    return Clip(clip_id, SOURCES[features.shape[1]], split, joints, [], features, [], fps, unit)


def _cut(whole: Clip, features: np.ndarray, lines: list[Line], skipped: Skipped) -> Iterator[Clip]:
    """The whole clip where a caption is of it, then the parts that have captions of their own."""
    made: dict[tuple[float, float | None] | None, Clip] = {}
    for line in lines:
        key = None if line.start is None else (line.start, line.end)
        if key not in made:
            made[key] = whole if key is None else _part(whole, features, *key)
        clip = made[key]
        assert clip.tokens is not None
        if line.caption not in clip.captions:
            clip.captions.append(line.caption)
            clip.tokens.append(line.tokens)
    for clip in made.values():
        if clip.frames < LEAST_FRAMES:
            skipped.add("parts of clips shorter than a second or outside them", clip.id)
        else:
            yield clip


def _part(whole: Clip, features: np.ndarray, start: float, end: float | None) -> Clip:
    first = int(start * whole.fps)
    last = len(features) if end is None else int(end * whole.fps)
    clip_id = f"{whole.id}@{start:g}-{'' if end is None else f'{end:g}'}"
    rows = features[first:last]
    if not len(rows):  # outside the clip: too short, as the caller sees
        return Clip(clip_id, whole.source, whole.split, whole.joints[:1], [], None, [])
    return _clip(clip_id, whole.split, rows, whole.unit)


def _compare(path: Path, joints: np.ndarray, unit: float) -> None:
    """The joints of new_joints, where there are any, must be those of the features."""
    if not path.is_file():
        return
    there = read_array(path)
    name = f"new_joints/{path.name}"
    if there.ndim != 3 or there.shape[1:] != joints.shape[1:]:
        raise broken(name, f"it is {there.shape}, not (frames, {joints.shape[1]}, 3)")
    n = min(len(there), len(joints))
    if n < len(joints) - 1 or not np.linalg.norm(there[:n] - joints[:n], axis=-1).mean() * unit < _APART:
        raise broken(name, "its motion is not that of the features in new_joint_vecs", "Make both from one motion.")


def refuse_kit(clips: list[Clip], what: str) -> None:
    """Raise CoreError("data_unsuitable") where there are clips of 21 joints, which `what` cannot learn from."""
    if any(c.joints.shape[1] != 22 for c in clips):
        raise CoreError(
            "data_unsuitable",
            f"KIT-ML has a skeleton of 21 joints, and {what} needs the 22 of SMPL and HumanML3D.",
            "Train an autoencoder of the official kind on it (251 features), or take HumanML3D.",
        )
