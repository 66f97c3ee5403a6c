"""The add-on's words in the user's language, through Blender's own translations.

Labels, tooltips and titles are translated by Blender when it draws them. What is put together in code goes through
`say`: the sentence is looked up first and filled in afterwards, so that a language may order its words as it likes.
What no catalogue holds stays English.

Errors and results are English sentences with names and numbers in them by the time they are shown. `told` finds them by
their pattern: the catalogue's entry 'Choose 0 to {0}.' is that of "Choose 0 to 5.".

A catalogue is a file of `translations`, called as its language and in two parts: "*" holds what only the add-on says,
"MotionGPT3" the words that Blender uses, too. These are looked up in a context of their own, so that nothing outside
the add-on reads otherwise than without it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import bpy

FOLDER = Path(__file__).parent / "translations"
CONTEXT = "MotionGPT3"
"""Of the words that Blender has, too."""
_CONTEXTS = {"*": ("*", "Operator"), CONTEXT: (CONTEXT,)}  # buttons are looked up in "Operator"
_NAME = __package__ or "mgpt3_blender"


def _found(look_up: Callable[..., str], words: str) -> str:
    own = look_up(words, CONTEXT)
    return own if own != words else look_up(words)


def say(words: str, /, **values: object) -> str:
    """A sentence in the language of Blender's interface, with its {names} filled in."""
    found = _found(bpy.app.translations.pgettext_iface, words)
    return found.format(**values) if values else found


def tip(words: str, /, **values: object) -> str:
    """As `say`, for a tooltip, which the user may keep in English while the rest is not."""
    found = _found(bpy.app.translations.pgettext_tip, words)
    return found.format(**values) if values else found


def told(message: str) -> str:
    """A message that is English and filled in already, in the language of the interface, as far as it is known."""
    whole = say(message) if message else message
    if whole != message:
        return whole
    if (found := _pattern_of(message)) is not None:
        template, values = found
        return say(template).format(*values)
    sentences = _SENTENCES.split(message)
    return " ".join(told(sentence) for sentence in sentences) if len(sentences) > 1 else message


_FIELD = re.compile(r"\{(\d+)\}")
_SENTENCES = re.compile(r"(?<=[.!?]) (?=[A-Z\"])")


@lru_cache(maxsize=512)  # panels ask again each time they are drawn
def _pattern_of(message: str) -> tuple[str, tuple[str, ...]] | None:
    for pattern, template in _patterns():
        if (found := pattern.fullmatch(message)) is not None:
            return template, found.groups()
    return None


@lru_cache(maxsize=1)
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    """Of all entries with numbered fields, those with the most text of their own first."""
    entries = {english for parts in catalogues().values() for words in parts.values() for english in words}
    entries = {english for english in entries if _FIELD.search(english)}
    found = []
    for english in sorted(entries, key=lambda text: (-len(_FIELD.sub("", text)), text)):
        texts = _FIELD.split(english)[::2]
        own = (re.escape(text.replace("{{", "{").replace("}}", "}")) for text in texts)
        found.append((re.compile("(.*?)".join(own), re.DOTALL), english))
    return found


@lru_cache(maxsize=1)
def catalogues() -> dict[str, dict[str, dict[str, str]]]:
    """Language -> part -> {English: translated}. Raises OSError, ValueError where a file is broken."""
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(FOLDER.glob("*.json"))}


def register() -> None:
    known = {
        language: {
            (context, english): translated
            for part, words in parts.items()
            for english, translated in words.items()
            for context in _CONTEXTS[part]
        }
        for language, parts in catalogues().items()
    }
    bpy.app.translations.register(_NAME, known)


def unregister() -> None:
    bpy.app.translations.unregister(_NAME)
