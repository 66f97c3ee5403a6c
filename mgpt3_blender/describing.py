"""Many actions of the open file -> descriptions, rows of a report and, where asked for, their metadata.

A `Run` goes on step by step, so that a window stays alive; `finish` does it all and blocks. Reading an action and
asking the worker overlap. Nothing is written before everything is described: a run that is cancelled changes nothing,
and one undo takes all of it back. What was described before, by this or another run, comes from the index
(`motionindex`) as long as the action is as it was, which is also how a run that was stopped goes on.
"""

from __future__ import annotations

import contextlib
import math
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import bpy
import numpy as np

from . import drafts, finding, jobs, metadata, preferences, rows
from .asking import Question
from .described import Options, Part, Subject, conclude, refusal
from .errors import UserError
from .framerate import frame_rate
from .motionindex import Index
from .playedby import roles_of, slot_name
from .reading import Frames, Stage, Unfinished
from .results import Reference
from .steps import see_through
from .wire import encode_array

TITLE = "Describe Library"
BATCH = 32
"""Actions in one request."""
BATCH_FRAMES = 60_000
"""Frames in one request, which make a message of about 21 MB; the worker takes 64."""
MAX_FRAMES = 36_000
"""Half an hour: longer is no action but a recording."""
CRASHES = ("worker_crashed", "worker_silent")
CANCELLED = "Cancelled. Nothing was changed."


class Run:
    """Describing actions of the open file.

    Args:
        actions: which; None for all of the file.
        options: how.
        file: as the rows name the file.
        index: where descriptions are kept between runs, None for nowhere.

    Attributes:
        rows: one for each action and slot, when it is over.
        changed: whether anything of the file was changed.
        places: (action, slot, content key) of what was recognised, for the index.
        fraction, message: how far it is. error: why it ended early. warnings: what else is to be said.
    """

    def __init__(
        self,
        actions: Iterable[bpy.types.Action] | None = None,
        options: Options | None = None,
        *,
        file: str = "",
        index: Index | None = None,
    ) -> None:
        self.options = options or Options()
        self.file = file
        self.rows: list[rows.Row] = []
        self.changed = False
        self.places: list[tuple[str, str, str]] = []
        self.error: UserError | None = None
        self.warnings: list[str] = []
        self.ended = False
        self._index = index
        self._unattended = False  # no window waits for it
        chosen = bpy.data.actions if actions is None else actions
        self._subjects = [Subject(Reference.to(action)) for action in chosen]
        self._todo = list(reversed(self._subjects))
        self._begun: dict[tuple[int, str], tuple[str, Frames]] = {}
        """Of the action that is being read, by slot and character: its content key, and what was seen of it."""
        self._waiting: list[tuple[Part, dict, int]] = []  # part, its motion as the wire has it, frames
        self._alone: list[tuple[Part, dict, int]] = []  # of a batch that crashed the worker: one by one
        self._unsaid: list[Part] = []  # described, their sentences not yet turned into vectors
        self._question: Question | None = None
        self._asked: list[tuple[Part, dict, int]] = []
        model = preferences.model_in_use()
        self._who = f"{model.name} {model.bytes}"  # a model made anew in its place is another one

    @property
    def fraction(self) -> float:
        read = len(self._subjects) - len(self._todo)
        behind = len(self._waiting) + len(self._alone) + len(self._asked)
        return 1.0 if self.ended else max(read - behind, 0) / max(len(self._subjects), 1)

    @property
    def message(self) -> str:
        asked = self._question
        if asked is not None and not asked.begun and not any(s.parts for s in self._subjects[1:]):
            return asked.message  # the model is being loaded
        return f"{round(self.fraction * len(self._subjects))} of {len(self._subjects)} actions"

    def step(self, seconds: float = 0.05, *, may_write: bool = True) -> bool:
        """Go on for about so long; True when it is over. Never waits for the worker.

        Args:
            may_write: False while the file cannot take the result (a mode with an undo of its own). Reading waits, too:
                in Edit Mode the rest pose is not what the action is played on.
        """
        if self.ended:
            return True
        try:
            self._heard()
            if may_write:
                self._read_some(time.monotonic() + seconds)
            self._ask()
            if not (self._todo or self._waiting or self._alone or self._unsaid or self._question) and may_write:
                self._write()
                self.ended = True
        except UserError as error:
            self._give_up(error)
        except BaseException:
            self.cancel()
            raise
        return self.ended

    def finish(
        self, progress: Callable[[float, str], None] | None = None, cancelled: Callable[[], bool] | None = None
    ) -> list[rows.Row]:
        """Do it all, blocking; returns the rows. Raises UserError; nothing is changed then.

        `cancelled` is asked between actions: breaking one off, as for a window, would set the stage for it again.
        """
        self._unattended = True
        see_through(self, progress, cancelled)
        return self.rows

    def cancel(self) -> None:
        """Stop; nothing is changed."""
        if not self.ended:
            if self._question is not None:
                self._question.drop(CANCELLED)
            self._give_up(UserError("cancelled", CANCELLED))

    def _give_up(self, error: UserError) -> None:
        self.error, self.ended, self._question = error, True, None

    # ---- reading

    def _read_some(self, until: float) -> None:
        """Read actions until the time is over or there are enough for a request."""
        there = {action.session_uid: action for action in bpy.data.actions} if self._todo else {}
        with contextlib.ExitStack() as stack:
            stages: dict[str, Stage] = {}
            while self._todo and not self._full() and time.monotonic() < until:
                subject = self._todo.pop()
                action = there.get(subject.action.uid)
                if action is None:  # deleted meanwhile
                    self._subjects.remove(subject)
                    self._begun.clear()
                    continue
                try:
                    self._recognise(subject, action, stages, stack, until)
                except Unfinished:  # the next step begins with it again, and has its frames
                    self._waiting = [e for e in self._waiting if not any(e[0] is part for part in subject.parts)]
                    subject.parts.clear()
                    self._todo.append(subject)
                    return
                except UserError as error:
                    subject.parts.append(Part(action.name, error=error))
                self._begun.clear()

    def _full(self) -> bool:
        return len(self._waiting) >= BATCH or sum(entry[2] for entry in self._waiting) >= BATCH_FRAMES

    def _recognise(
        self,
        subject: Subject,
        action: bpy.types.Action,
        stages: dict[str, Stage],
        stack: contextlib.ExitStack,
        until: float,
    ) -> None:
        """Find out who an action is for, and take it from the index or read it. Raises UserError."""
        metadata.check_own(action)
        for playable, armature, error in roles_of(action, bpy.data.objects):
            part = Part(playable.name, slot_name(playable.slot), error=error)
            subject.parts.append(part)
            if armature is None:
                continue
            try:
                self._read(part, action, playable.slot, armature, stages, stack, until)
            except Unfinished:
                raise
            except UserError as trouble:
                part.error = trouble
            except Exception as error:  # a bug of ours with one action must not cost the others
                traceback.print_exc(file=sys.stderr)
                part.failed = True
                part.error = UserError(
                    "internal_error",
                    f"It could not be read ({type(error).__name__}: {error}).",
                    "Please report this with the text in the system console.",
                )

    def _read(
        self,
        part: Part,
        action: bpy.types.Action,
        slot: Any,
        armature: bpy.types.Object,
        stages: dict[str, Stage],
        stack: contextlib.ExitStack,
        until: float,
    ) -> None:
        scene = scene_of(armature)
        rate = frame_rate(scene)
        who = drafts.handle_of(slot), armature.name_full
        begun = who in self._begun
        key, seen = self._begun.get(who) or (finding.content_key(action, slot, armature, rate), Frames())
        part.key = key
        if self._known(part):
            return
        stage = stages.get(armature.name_full)
        if stage is None:
            stage = stages[armature.name_full] = stack.enter_context(Stage(armature, scene))
        self._begun[who] = key, seen
        seen.until = math.inf if self._unattended else max(until, time.monotonic() + jobs.PIECE)
        reading = stage.read(action, slot, seen=seen)
        if begun and finding.content_key(action, slot, armature, rate) != key:  # changed between two steps
            del self._begun[who]
            raise Unfinished
        part.span, part.frames = (reading.first, reading.last, reading.step), len(reading.joints)
        if len(reading.joints) > MAX_FRAMES:
            raise UserError(
                "range_too_long", f'"{part.name}" lasts more than half an hour.', "Split it into parts, or trim it."
            )
        if not np.isfinite(reading.joints).all():
            raise UserError("motion_not_finite", f'"{part.name}" has values that are no numbers.', "Check its curves.")
        motion = {"joints": encode_array(np.asarray(reading.joints, np.float32))}
        self._waiting.append((part, motion, len(reading.joints)))

    def _known(self, part: Part) -> bool:
        """Take a description from the index, where it has one that will do."""
        stored = self._index.get(part.key, self._who) if self._index is not None else None
        if stored is None:
            return False
        known = stored.description
        if known.get("asked", 0) < self.options.alternatives or "span" not in known:
            return False
        part.description, part.model = known, dict(known.get("model") or {})
        part.span, part.frames = tuple(known["span"]), known.get("frames")
        return True

    # ---- asking

    def _ask(self) -> None:
        """Send the next request, where there is enough for one and the worker is free."""
        if self._question is not None or jobs.busy():
            return
        if self._unsaid:
            texts = [str((part.description or {}).get("sentence", "")) for part in self._unsaid]
            self._question = Question(TITLE, "embed_text", {"texts": texts}, CANCELLED)
        elif self._alone:
            self._send([self._alone.pop()])
        elif self._waiting and (self._full() or not self._todo):
            batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
            self._send(batch)

    def _send(self, batch: list[tuple[Part, dict, int]]) -> None:
        self._asked = batch
        self._question = Question(TITLE, "describe", {
            "motions": [motion for _, motion, _ in batch],
            "alternatives": self.options.alternatives,
            "fast": self.options.fast,
            "embed": self._index is not None,
        }, CANCELLED)  # fmt: skip

    def _heard(self) -> None:
        """Take in the answer to the request under way. Raises UserError where nothing further will come."""
        question = self._question
        if question is None or not question.heard():
            return
        self._question = None
        asked, self._asked = self._asked, []  # nothing: it was about sentences
        try:
            reply = question.answer()
        except UserError as error:
            if error.code not in CRASHES or not asked:
                raise
            if len(asked) > 1:  # one of them did it: the others are not to suffer
                self._alone += asked
            else:
                asked[0][0].error, asked[0][0].failed = error, True
            return
        if asked:
            self._described([part for part, _, _ in asked], reply)
        else:
            self._embedded(reply)

    def _described(self, parts: Sequence[Part], reply: Any) -> None:
        answers = reply.get("descriptions") if isinstance(reply, dict) else None
        if not isinstance(answers, list) or len(answers) != len(parts):
            raise UserError("bad_answer", "The motion model's answer holds no descriptions.", "Try again.")
        model = reply.get("model")
        for part, answer in zip(parts, answers, strict=True):
            error = refusal(answer)
            if error is not None:
                part.error = error
            elif not isinstance(answer, dict):
                raise UserError("bad_answer", "The motion model's answer holds no description.", "Try again.")
            elif not str(answer.get("sentence") or "").strip():
                part.error = UserError("no_words", "The model found no words for it.", "Try another model.")
                part.failed = True
            else:
                about = model if isinstance(model, dict) else {}
                part.model = {name: str(about.get(name) or "") for name in ("name", "licence")}
                part.description = answer
                if self._index is not None:
                    self._unsaid.append(part)

    def _embedded(self, reply: Any) -> None:
        """Keep what was described, with its sentences' vectors."""
        parts, self._unsaid = self._unsaid, []
        meanings = reply.get("meanings") if isinstance(reply, dict) else None
        if not isinstance(meanings, list) or len(meanings) != len(parts):
            raise UserError("bad_answer", "The motion model's answer holds no vectors.", "Try again.")
        assert self._index is not None
        for part, meaning in zip(parts, meanings, strict=True):
            assert part.description is not None
            more = {"asked": self.options.alternatives, "span": part.span, "frames": part.frames, "model": part.model}
            self._index.put(part.key, self._who, {**part.description, **more}, meaning=meaning)

    # ---- writing

    def _write(self) -> None:
        """Say what becomes of each action and, where asked for, see to it."""
        there = {action.session_uid: action for action in bpy.data.actions}
        for subject in self._subjects:
            action = there.get(subject.action.uid)
            if action is not None:
                self.places += [(action.name, part.slot, part.key) for part in subject.parts if part.key]
                told, changed = conclude(action, subject.parts, self.options, self.file)
                self.rows += told
                self.changed |= changed


def scene_of(armature: bpy.types.Object) -> bpy.types.Scene:
    """A scene that the character is in, whose frame rate counts; else the current one."""
    scenes = [bpy.context.scene, *bpy.data.scenes]
    return next((s for s in scenes if s is not None and s.objects.get(armature.name) == armature), scenes[0])
