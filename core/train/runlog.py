"""What a training tells: log.jsonl, one row a validation, and the same as TensorBoard curves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm


class RunLog:
    """The log of a runs folder, which goes on after `step`: steps that are made again are not in it twice."""

    def __init__(self, folder: Path, step: int) -> None:
        self.file = folder / "log.jsonl"
        if self.file.exists():
            lines = self.file.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if json.loads(line)["step"] <= step]
            if len(kept) < len(lines):
                self.file.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
        self.curves = SummaryWriter(str(folder), purge_step=step + 1)

    def write(self, row: dict[str, Any]) -> None:
        """Add a row; its numbers become points of the curves at row["step"]."""
        text = json.dumps(row)
        with self.file.open("a", encoding="utf-8") as f:
            f.write(text + "\n")
        tqdm.write(text)
        for k, v in row.items():
            if not isinstance(v, str):
                self.curves.add_scalar(k, v, row["step"])
        self.curves.flush()

    def close(self) -> None:
        self.curves.close()
