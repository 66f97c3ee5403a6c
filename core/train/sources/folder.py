"""A folder of motion files with one captions file, whatever the files are: what BVH and AMASS folders share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from core.errors import CoreError
from core.features import canonicalise
from core.skeleton import FPS
from core.train.sources.captions import Caption, find_captions, read_captions, split_of
from core.train.sources.checks import LEAST_FRAMES, Skipped, broken, check_body
from core.train.sources.clip import MAX_FRAMES, Clip

_PASS = ("body_model_needed", "body_model_missing", "body_model_pickle", "body_model_broken", "smplx_missing")
_BEYOND = 0.5  # seconds that a span may reach past the file's end, for times that were rounded


def load_folder(folder: Path, kind: str, read: Callable[[Path], np.ndarray], *, split: str | None = None) -> list[Clip]:
    """Clips of the files that the captions file names: one for each file and time span.

    Args:
        kind: the files' ending, ".bvh" or ".npz".
        read: file -> joints (T, 22, 3) metres, Y up, 20 fps.
        split: only that one's clips; other files are not read.
    Returns:
        Clips with the id NAME or NAME@START-END (seconds), their source the folder's name, in the captions' order.
    Raises:
        CoreError: data_broken, naming the captions file's line; and of the body model what `read` raises.
    """
    captions = read_captions(find_captions(folder))
    skipped = Skipped()
    files: dict[str, list[Caption]] = {}
    for c in captions:
        files.setdefault(c.file, []).append(c)
    unnamed = sorted(p.name for p in folder.rglob(f"*{kind}") if p.relative_to(folder).as_posix() not in files)
    for name in unnamed:
        skipped.add(f"{kind} files without caption", name)

    clips: list[Clip] = []
    for file, lines in files.items():
        name, where = file.removesuffix(Path(file).suffix), lines[0].where
        belongs = lines[0].split or split_of(name)
        path = folder / file
        if path.suffix.lower() != kind:
            raise broken(where, f"'{file}' is no {kind} file")
        if not path.is_file():
            raise broken(where, f"there is no file '{file}'")
        if split is not None and belongs != split:
            continue
        try:
            joints = read(path)
        except CoreError as error:
            if error.code in _PASS:
                raise
            raise broken(f"{file} ({where})", error.message.rstrip("."), error.remedy) from error
        check_body(joints, f"{file} ({where})")
        spans: dict[tuple[float, float], list[str]] = {}
        for c in lines:
            if c.start * FPS >= len(joints) or c.end * FPS > len(joints) + _BEYOND * FPS:
                raise broken(c.where, f"'{file}' ends after {len(joints) / FPS:.2f} seconds, before {c.end:g}")
            spans.setdefault((c.start, c.end), []).append(c.text)
        for (start, end), texts in spans.items():
            part = joints[round(start * FPS) : round(end * FPS) + 1] if end else joints
            if len(part) <= LEAST_FRAMES:
                skipped.add("clips shorter than a second", file)
                continue
            if len(part) > MAX_FRAMES + 1:
                skipped.add(f"ends of clips longer than {MAX_FRAMES / FPS:g} seconds", file)
            part = canonicalise(part[: MAX_FRAMES + 1])
            clip_id = f"{name}@{start:g}-{end:g}" if end else name
            clips.append(Clip(clip_id, folder.name, belongs, part, list(dict.fromkeys(texts))))
    skipped.report(folder.name)
    return clips
