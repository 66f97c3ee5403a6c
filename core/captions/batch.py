"""Describe many motion files: which ones, who does the work, what is kept for a later run, and the report."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core.captions.files import Found, Task
from core.captions.journal import Journal
from core.captions.report import Row, counts, in_order, paths_of, row, write_report
from core.captions.work import Answer, Options, stamp, weights_of
from core.errors import CoreError
from core.protocol import VERSION

Told = Callable[[int], None]
"""Called with how many tasks are done, each time that one more is."""


@dataclass(frozen=True)
class Outcome:
    """What came of a batch.

    Args:
        rows: in the report's order.
        resumed: how many tasks were taken from the journal.
        written: the report's files; () without one.
    """

    rows: list[Row]
    resumed: int
    written: tuple[Path, ...]

    @property
    def failed(self) -> int:
        return counts(self.rows).get("failed", 0)


def describe_files(
    found: Found,
    options: Options,
    *,
    report: Path | None = None,
    resume: bool = False,
    jobs: int = 1,
    ray: str | None = None,
    told: Told | None = None,
) -> Outcome:
    """Describe everything that was found.

    Args:
        report: NAME.csv or NAME.json: both are written, with a journal beside them.
        resume: take what an earlier run with the same options finished from that journal.
        jobs: processes on this machine.
        ray: the address of a Ray cluster that works instead of this machine.
        told: hears of progress.
    Raises:
        CoreError: report_type, report_not_written, journal_unreadable, resume_without_report, jobs_out_of_range, the
            model's errors, ray_missing, ray_unreachable, ray_failed, blender_missing.
    """
    if jobs < 1:
        raise CoreError("jobs_out_of_range", f"{jobs} processes cannot do anything.", "Choose 1 or more.")
    if resume and report is None:
        raise CoreError("resume_without_report", "--resume goes on from a report's journal.", "Add --report FILE.")
    options, made_with = _with_model(found.tasks, options)
    rows = [row(folder, "", "failed", f"The folder cannot be read: {why}.") for folder, why in found.unreadable]
    journal = None if report is None else Journal(paths_of(report)[2], resume=resume)
    try:
        left: list[Task] = []
        for task in found.tasks:
            before = journal.rows(task.name, options.key(task, stamp(task))) if journal else None
            if before is None:
                left.append(task)
            else:
                rows += before
        done = resumed = len(found.tasks) - len(left)
        if told is not None:
            told(done)
        with closing(_answers(left, options, jobs, ray)) as answers:  # closing ends the processes, whatever happened
            for task, answer in answers:
                if answer.refusal:
                    raise CoreError(*answer.refusal)
                rows += answer.rows
                if journal is not None:
                    journal.add(task.name, answer.key, answer.rows)
                done += 1
                if told is not None:
                    told(done)
    finally:
        if journal is not None:
            journal.close()
    rows = in_order(rows)
    written = () if report is None else write_report(report, rows, made_with)
    return Outcome(rows, resumed, written)


def _answers(
    tasks: Sequence[Task], options: Options, jobs: int, ray: str | None
) -> Generator[tuple[Task, Answer], None, None]:
    if not tasks:
        return
    if ray is not None:
        from core.captions.ray_runner import run_on_ray

        yield from run_on_ray(tasks, options, ray)
    else:
        from core.captions.runner import run_here

        yield from run_here(tasks, options, min(jobs, len(tasks)))


def _with_model(tasks: Iterable[Task], options: Options) -> tuple[Options, dict[str, Any]]:
    """Options with the model's folder and fingerprint, and what the report says it was made with.

    A run of .blend files alone has no model here: the rows say which one Blender's side used.
    """
    about: dict[str, Any] = {"program": f"MotionGPT3 for Blender {VERSION}"}
    if all(task.is_blend for task in tasks):
        return options, about
    from core.model.checkpoint import BUNDLED, model_folder
    from core.model.config import ModelConfig

    folder = model_folder(options.model)
    weights = weights_of(folder)
    cfg = ModelConfig.load(folder / "config.json")
    about |= {"model": cfg.name, "licence": cfg.licence, "weights": weights}
    about |= {"alternatives": options.alternatives, "fast": options.fast, "precision": options.precision}
    # A bundled model goes by its name: on another machine its folder is elsewhere.
    name = folder.name if folder.parent == BUNDLED.parent else str(folder.absolute())
    return replace(options, model=name, weights=weights), about
