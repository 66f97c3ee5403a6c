"""Search: from typed words to the actions that fit, in this file and in the libraries that were chosen.

A `Search` goes on step by step, so that a window stays alive; `finish` does it all and blocks. Three things happen at
once: the worker turns the words into vectors, this file's actions are recognised (`thisfile`), and a thread looks which
library files the index does not know. What is found is shown as soon as there are vectors, and again at the end.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from . import blendfiles, finding
from .asking import Question
from .errors import UserError
from .motionindex import Place, file_name, stamp_of
from .ranking import Entries, phrase, search
from .steps import see_through
from .thisfile import census

TITLE = "Search"
MOST = 50
"""Motions that are shown."""
MAX_QUERY = 300  # letters
RECALLED = 64  # queries whose vectors are kept: typed again, changed scope


@dataclass(frozen=True)
class Query:
    """What is looked for, and where.

    Args:
        text: in words. here: in this file. folders: in the .blend files of these folders.
    """

    text: str
    here: bool = True
    folders: tuple[Path, ...] = ()

    def check(self) -> None:
        """Raises UserError: query_empty, query_too_long, nowhere."""
        if not self.text.strip():
            raise UserError("query_empty", "Nothing was typed to look for.", "Say what the character does.")
        if len(self.text) > MAX_QUERY:
            raise UserError("query_too_long", "That is too long to look for.", "Say it in one sentence.")
        if not self.here and not self.folders:
            raise UserError(
                "no_library",
                "No library is chosen, or none is there.",
                "Choose an asset library or a folder, or search this file.",
            )


@dataclass(frozen=True)
class Found:
    """A motion that fits.

    Attributes:
        action, slot: names. uid: of the action in this session, 0 in another file. file: of another file, "" for this.
        sentence, tags: what it shows. score: about 0 to 1. key: its content. others: how often it is elsewhere, too.
    """

    action: str
    slot: str
    uid: int
    file: str
    sentence: str
    tags: tuple[str, ...]
    score: float
    key: str
    others: int = 0


@dataclass
class Answer:
    """What a search found.

    Attributes:
        found: the motions that fit best, best first. searched: among how many.
        undescribed: how many motions are known but not described yet. unseen: the library files that the index does not
            know as they are now. note: about the index itself.
    """

    found: list[Found] = field(default_factory=list)
    searched: int = 0
    undescribed: int = 0
    unseen: list[Path] = field(default_factory=list)
    note: str = ""

    @property
    def line(self) -> str:
        """For people."""
        if not self.searched:
            return "There is no described motion to search yet."
        return f"The best of {self.searched:,} described motion{'s' if self.searched != 1 else ''}."

    @property
    def lacking(self) -> str:
        """What was not searched, "" where everything was."""
        parts = []
        if self.undescribed:
            parts.append(f"{self.undescribed:,} motion{'s' if self.undescribed != 1 else ''}")
        if self.unseen:
            parts.append(f"{len(self.unseen):,} file{'s' if len(self.unseen) != 1 else ''} of the libraries")
        return f"Not searched, because not described yet: {' and '.join(parts)}." if parts else ""


@dataclass(frozen=True)
class _Words:
    """A query as the models read it."""

    vector: np.ndarray
    meaning: np.ndarray
    embedder: str


_recalled: OrderedDict[str, _Words] = OrderedDict()
_libraries: dict[str, Any] = {}  # what was read of the index last: "key" and "entries"


class Search:
    """One search.

    Attributes:
        answer: what is known by now, None until the words were understood.
        ended, error: whether and why it is over. fraction, message: how far it is.

    Raises UserError as `Query.check` does, and where the worker cannot be asked.
    """

    def __init__(self, query: Query) -> None:
        query.check()
        self.query = query
        self.answer: Answer | None = None
        self.error: UserError | None = None
        self.ended = False
        self._unseen: list[Path] | None = None
        self._words = _recalled.get(phrase(query.text))
        self._question: Question | None = None
        if self._words is None:
            self._question = Question(TITLE, "embed_text", {"texts": [phrase(query.text)]})
        stamps = finding.index().stamps() if query.folders else {}
        self._thread = threading.Thread(target=self._look, args=(stamps,), name="mgpt3 libraries", daemon=True)
        self._thread.start()

    @property
    def fraction(self) -> float:
        return 1.0 if self.ended else 0.2 + 0.6 * (self._words is not None)

    @property
    def message(self) -> str:
        if self._words is None:
            return self._question.message if self._question is not None else ""
        return f"Recognising {census.unknown:,} actions" if self.query.here and census.unknown else "Looking"

    def step(self, seconds: float = 0.05) -> bool:
        """Go on for about so long; True when it is over. Never waits for the worker or the disk."""
        if self.ended:
            return True
        try:
            self._hear()
            whole = not self.query.here or census.step(seconds)
            whole = whole and self._unseen is not None
            if self._words is not None and (self.answer is None or whole):
                self.answer = self._rank(self._words)
                self.ended = whole
        except UserError as error:
            self._give_up(error)
        return self.ended

    def finish(
        self, progress: Callable[[float, str], None] | None = None, cancelled: Callable[[], bool] | None = None
    ) -> Answer:
        """Do it all, blocking. Raises UserError."""
        see_through(self, progress, cancelled, pause=0.005)
        assert self.answer is not None
        return self.answer

    def cancel(self) -> None:
        """Stop. What was shown by then stays shown."""
        if not self.ended:
            if self._question is not None:
                self._question.drop()
            self._give_up(UserError("cancelled", "Cancelled."))

    def _give_up(self, error: UserError) -> None:
        self.error, self.ended, self._question = error, True, None

    def _hear(self) -> None:
        """Take in the worker's answer. Raises UserError."""
        question = self._question
        if question is None or not question.heard():
            return
        self._question = None
        self._words = _words(question.answer())
        _recalled[phrase(self.query.text)] = self._words
        while len(_recalled) > RECALLED:
            _recalled.popitem(last=False)

    def _look(self, stamps: dict[str, str]) -> None:
        """In a thread: which library files the index does not know as they are. Never touches Blender's data."""
        unseen = []
        for folder in self.query.folders:
            try:
                files = blendfiles.find([folder])
            except (UserError, OSError):  # unplugged since it was chosen: what the index knows of it is searched still
                continue
            unseen += [path for path in files if stamps.get(file_name(path)) != stamp_of(path)]
        self._unseen = sorted(set(unseen))

    def _rank(self, words: _Words) -> Answer:
        index = finding.index()
        own = file_name(bpy.data.filepath) if bpy.data.filepath else ""
        held = census.held() if self.query.here else []
        here = [Place("", one.action, one.slot, one.key) for one in held]
        parts = [(index.gather(here, embedder=words.embedder), held)] if here else []
        if self.query.folders:
            parts.append((_in_libraries(self.query.folders, own if self.query.here else "", words.embedder), []))
        found: dict[str, Found] = {}  # by content: copies are one
        for entries, _ in parts:
            for hit in search(entries, words.vector, words.meaning, self.query.text, 4 * MOST):
                _note(found, entries, hit.row, hit.score)
        uids = {(one.action, one.slot, one.key): one.uid for one in held}
        best = sorted(found.values(), key=lambda one: -one.score)[:MOST]
        return Answer(
            [_here(one, uids) if not one.file else one for one in best],
            sum(len(entries) for entries, _ in parts),
            sum(entries.missing for entries, _ in parts) + (census.unknown if self.query.here else 0),
            [path for path in self._unseen or () if file_name(path) != own or not self.query.here],
            index.note,
        )


def _note(found: dict[str, Found], entries: Entries, row: int, score: float) -> None:
    """Add a hit; where its content was found already, the better place is kept: this file, then the first."""
    key = entries.keys[row]
    before = found.get(key)
    if before is not None:
        found[key] = replace(before, others=before.others + 1, score=max(score, before.score))
        return
    found[key] = Found(
        action=entries.names[row],
        slot=entries.slots[row],
        uid=0,
        file=entries.files[row],
        sentence=entries.sentences[row],
        tags=entries.tags[row],
        score=score,
        key=key,
    )


def _here(one: Found, uids: dict[tuple[str, str, str], int]) -> Found:
    return replace(one, uid=uids.get((one.action, one.slot, one.key), 0))


def _in_libraries(folders: Sequence[Path], but: str, embedder: str) -> Entries:
    """What the index has of folders, without one file; kept until the index changes."""
    index = finding.index()
    key = (tuple(map(str, folders)), but, embedder, index.version())
    if _libraries.get("key") != key:
        places = [place for place in index.places(folders) if place.file != but]
        _libraries.update(key=key, entries=index.gather(places, embedder=embedder))
    entries: Entries = _libraries["entries"]
    return entries


def _words(reply: Any) -> _Words:
    """The worker's answer. Raises UserError("bad_answer")."""
    try:
        vector = np.asarray(reply["vectors"], np.float32)
        meaning = np.asarray(reply["meanings"], np.float32)
        if vector.ndim != 2 or meaning.ndim != 2 or len(vector) != 1 or len(meaning) != 1:
            raise ValueError("not one vector")
        return _Words(vector[0], meaning[0], str(reply["embedder"]))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError("bad_answer", "The motion model's answer holds no vectors.", "Try again.") from error


def forget() -> None:
    """Let go of what is kept between searches."""
    _recalled.clear()
    _libraries.clear()
