"""What is said of captioned clips: by the model alone, with its sides as measured, and as users are told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from core import prompts
from core.errors import CoreError
from core.train.data import Clip

GREEDY, CORRECTED, CHOSEN, TOLD = "greedy", "sides corrected", "chosen draft", "as told"
"""The model's likeliest sentence; the same with its sides as measured; the draft that `describe` takes, as the model
wrote it; what `describe` says: that with its sides as measured, or what was measured where no draft fits."""
ROWS = (GREEDY, CORRECTED, CHOSEN, TOLD)
BATCH = 64


@dataclass
class Told:
    """The clips that have captions and were described.

    Args:
        rows: of ROWS, a sentence a clip. refused: (clip, why) of those that `describe` would not describe.
        unsure: how many are told from what was measured alone.
    """

    clips: list[Clip]
    rows: dict[str, list[str]]
    refused: list[tuple[str, str]]
    unsure: int = 0

    @property
    def references(self) -> list[list[str]]:
        return [c.captions for c in self.clips]

    def changed(self, before: str, after: str) -> int:
        """How many sentences differ between two rows."""
        return sum(a != b for a, b in zip(self.rows[before], self.rows[after], strict=True))


def tell(model: Any, clips: list[Clip]) -> Told:
    """Describe the clips; those without a caption are left out.

    Raises:
        CoreError: data_empty, where no clip has a caption or none can be described.
    """
    from core.captions.choosing import UNSURE
    from core.captions.describe import describe
    from core.captions.sides import corrected
    from core.captions.summary import summarise

    captioned = [c for c in clips if any(t.strip() for t in c.captions)]
    found = describe(model, [c.joints for c in captioned], embed=False)
    out = Told([], {row: [] for row in ROWS}, [])
    for clip, description in zip(captioned, found, strict=True):
        if isinstance(description, CoreError):
            out.refused.append((clip.id, description.code))
            continue
        out.clips.append(clip)
        parts = [s["raw"] for s in description.segments]
        out.rows[CHOSEN].append(description.raw or summarise(parts))
        out.rows[TOLD].append(description.sentence)
        fit = description.facts.get("fit")
        out.unsure += fit is not None and fit < UNSURE
    if not out.clips:
        raise CoreError("data_empty", "No clip of this split has a caption and can be described.",
                        "Give captioned motion of half a second and more, or another --split.")  # fmt: skip
    out.rows[GREEDY] = greedy(model, out.clips)
    out.rows[CORRECTED] = [corrected(s, c.joints)[0] for s, c in zip(out.rows[GREEDY], out.clips, strict=True)]
    return out


def greedy(model: Any, clips: list[Clip]) -> list[str]:
    """The likeliest sentence of each clip, as `core caption` without anything that ranks or corrects."""
    from core.tasks.caption import MAX_FRAMES, encode_motions

    said = [""] * len(clips)
    order = sorted(range(len(clips)), key=lambda i: len(clips[i].joints))  # alike lengths share a batch
    with torch.inference_mode(), model.computing():
        prompt = model.prompt(prompts.motion_to_text())
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            codes = encode_motions(model, [clips[i].joints[: MAX_FRAMES + 1] for i in rows])
            written = model.write_all(prompt.expand(len(rows), -1), codes[:, None])
            for i, (tokens, _) in zip(rows, written, strict=True):
                said[i] = model.tokenizer.decode(tokens)
    return said
