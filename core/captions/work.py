"""What a process does with one file of a batch: read it, describe it, answer with rows.

The same function runs in this machine's processes and on Ray. An answer is plain data. Trouble with one file becomes a
row; trouble that every file would have (no model, a package that is missing) is a refusal, which ends the run.
"""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from core.captions.files import Task, read
from core.captions.report import COLUMNS, Row, row
from core.errors import CoreError
from core.protocol import VERSION

TRIES = 3
"""How often a file is begun whose process dies, in all."""

SMALL = 50_000_000
"""Parameters of a model that computes in one thread: for its small products, waiting for a second one costs more than
it does (measured of the compact model: four times the processor's time on two cores)."""

SKIPPED = ("motion_too_short", "motion_static", "motion_missing", "bvh_unknown_skeleton")
"""Codes of what is no fault: there is nothing that a sentence could be made of."""


@dataclass(frozen=True)
class Options:
    """How files are described.

    Args:
        model, device, precision: as `core.model.checkpoint.load_model` takes them; the model's folder absolute.
        weights: fingerprint of the model's files (see `weights_of`).
        alternatives: further sentences for each motion.
        fast: 8-bit weights where the model is large.
        body_model: the user's SMPL-X or SMPL+H model, absolute; "" for none.
        blender: words of the command that describes one .blend; () for none.
        threads: of one process with a large model; 0 for PyTorch's own choice.
    """

    model: str | None = None
    device: str = "auto"
    precision: str = "float32"
    weights: str = ""
    alternatives: int = 0
    fast: bool = False
    body_model: str = ""
    blender: tuple[str, ...] = ()
    threads: int = 0

    def key(self, task: Task, stamp: str) -> str:
        """What must be the same for a finished file to count as finished: its contents, and what words depend on."""
        if task.is_blend:
            matters: list[Any] = list(self.blender)
        else:
            body = _stamp(Path(self.body_model)) if self.body_model else ""
            matters = [VERSION, self.weights, self.precision, self.alternatives, self.fast, body]
        return hashlib.sha256(json.dumps([stamp, *matters]).encode()).hexdigest()[:32]


@dataclass
class Answer:
    """What came of a task.

    Args:
        rows: for the report.
        key: `Options.key` of what was read; of a .blend, of what it is afterwards: describing may write to it.
        refusal: code, message and remedy of what ends the run; () where nothing does.
    """

    rows: list[Row] = field(default_factory=list)
    key: str = ""
    refusal: tuple[str, ...] = ()


def weights_of(folder: Path) -> str:
    """Fingerprint of a model: SHA-256 over its files. Raises CoreError("model_missing")."""
    from core.model.checkpoint import FILES

    digest = hashlib.sha256()
    for name in FILES:
        try:
            with (folder / name).open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise CoreError(
                "model_missing", f"There is no {name} in the model folder '{folder}'.", "Choose a model folder."
            ) from error
    return digest.hexdigest()


def stamp(task: Task) -> str:
    """Size and time of the last change of a task's file, and its part; "" where the file is gone."""
    size = _stamp(Path(task.path))
    return f"{size} {task.first}:{task.last}" if size else ""


def _stamp(path: Path) -> str:
    try:
        found = path.stat()
    except OSError:
        return ""
    return f"{found.st_size} {found.st_mtime_ns}"


def work(task: Task, options: Options) -> Answer:
    """Describe a task's file. Never raises what one file could cause."""
    before = stamp(task)
    try:
        if task.is_blend:
            rows = _blend(task, options)
            return Answer(rows, options.key(task, stamp(task)))
        return Answer(_motions(task, options), options.key(task, before))
    except _Refusal as refusal:
        error = refusal.error
        return Answer(refusal=(error.code, error.message, error.remedy))
    except Exception as error:  # what nobody foresaw in one file must not cost the others
        told = f"The core failed: {type(error).__name__}: {error}."
        return Answer([row(task.file, "", "failed", told)], options.key(task, before))


def died(task: Task) -> list[Row]:
    """The row of a file whose process died each time."""
    told = f"The process that described this file died, {TRIES} times out of {TRIES}. Memory may be short."
    return [row(task.file, "", "failed", told)]


class _Refusal(Exception):
    def __init__(self, error: CoreError) -> None:
        super().__init__(str(error))
        self.error = error


def _motions(task: Task, options: Options) -> list[Row]:
    model, describe = _model(options)
    about = {"model": model.info["name"], "licence": model.info["licence"]}
    try:
        clips = read(task, Path(options.body_model) if options.body_model else None)
    except CoreError as error:
        return [_untold(task, "", error, about)]
    described = describe(
        model, [joints for _, joints in clips], alternatives=options.alternatives, fast=options.fast, embed=False
    )
    rows = []
    for (name, joints), found in zip(clips, described, strict=True):
        length: dict[str, Any] = {"frames": len(joints), "seconds": round(max(len(joints) - 1, 0) / 20, 2)}
        if isinstance(found, CoreError):
            rows.append(_untold(task, name, found, about | length))
            continue
        told = found.to_dict()
        parts = ("sentence", "alternatives", "tags", "facts", "segments", "corrections")
        rows.append(row(task.file, name, "described", **length, **about, **{part: told[part] for part in parts}))
    return rows


def _untold(task: Task, name: str, error: CoreError, values: dict[str, Any]) -> Row:
    status = "skipped" if error.code in SKIPPED else "failed"
    message = f"{error.message} {error.remedy}".strip().replace(task.path, task.file)  # as the report names it
    return row(task.file, name, status, message, **values)


def _model(options: Options) -> tuple[Any, Any]:
    """The model, and what describes with it. Raises _Refusal."""
    try:
        from core.captions.describe import describe

        return _loaded(options), describe
    except CoreError as error:
        raise _Refusal(error) from error
    except ImportError as error:
        remedy = "Install core/requirements.txt into the Python that describes."
        raise _Refusal(CoreError("package_missing", f"A package is missing: {error}.", remedy)) from error


@lru_cache(maxsize=1)
def _loaded(options: Options) -> Any:
    """The model, loaded once a process."""
    import torch

    from core.model.checkpoint import load_model, model_folder

    model = load_model(options.model, options.device, options.precision)
    small = model.info["parameters"] < SMALL
    if small or options.threads:
        torch.set_num_threads(1 if small else options.threads)
    if options.weights and weights_of(model_folder(options.model)) != options.weights:
        raise CoreError("model_other", "This machine has another model than the one that was asked for.",
                        "Put the same model folder at the same place on every machine.")  # fmt: skip
    return model


def _blend(task: Task, options: Options) -> list[Row]:
    """Have the caller's Blender describe a .blend file, and take its rows."""
    if not options.blender:
        told = "A .blend file is described by Blender: use its own command (blender --command mgpt3 describe)."
        return [row(task.file, "", "skipped", told)]
    command = [*options.blender, task.path, "--rows", "-"]
    told = ""
    for _ in range(TRIES):
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace",
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
                preexec_fn=_ends_with_parent(),
            )  # fmt: skip
        except OSError as error:
            raise _Refusal(
                CoreError("blender_missing", f"'{command[0]}' cannot be started: {error.strerror}.", "Check --blender.")
            ) from error
        rows = _rows_in(done.stdout, task.file)
        if rows is not None:
            return rows
        last = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()][-1:]
        told = f"Blender ended with code {done.returncode} and no answer. {' '.join(last)}".strip()
        if 0 <= done.returncode < 128:
            break  # it says no, and would say so again; only a crash is worth another try
    return [row(task.file, "", "failed", told)]


def _rows_in(output: str, file: str) -> list[Row] | None:
    """The rows in the last line of JSON that a Blender printed; None where there is none."""
    for line in reversed(output.splitlines()):
        if line.startswith("{"):
            try:
                return [row(**{**{k: entry[k] for k in COLUMNS if k in entry}, "file": file})
                        for entry in json.loads(line)["rows"]]  # fmt: skip
            except (ValueError, KeyError, TypeError):
                return None
    return None


def _ends_with_parent() -> Callable[[], None] | None:
    """Linux: lets a Blender end with the process that started it, so that it does not go on writing a file which
    another one is given. What is called between fork and exec; looked up before, where other threads do no harm."""
    if sys.platform != "linux":
        return None
    import ctypes

    prctl, set_parent_death_signal = ctypes.CDLL(None).prctl, 1  # PR_SET_PDEATHSIG of linux/prctl.h
    return lambda: prctl(set_parent_death_signal, int(signal.SIGKILL))
