"""English words as far as prompts need them: inflections, subjects, and what a sentence says of sides and numbers."""

from __future__ import annotations

import json
import re
from pathlib import Path

_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?|\d+")
_SUBJECT = re.compile(
    r"^(?:(?:a|an|the|this|some|one|our|my) )?"
    r"(?:person|man|woman|human|figure|character|guy|someone|somebody|people|he|she|it|they|i|you|we)"
    r"(?: who)?(?: (?:is|are|am|was|were|can|will|should|must))?\b ?"
)
LITTLE = frozenset(
    """
    a an the this that these those some any one his hers her their its your my our he she it they him them i you me
    we us someone somebody person man woman human is are am be been being was were do does did doing can will would
    should has have had having and or then while when as so but also who which by with of to in on at from into onto
    for off out over up down there here very just really please again now next after before first finally both own
    self himself herself itself themselves
    """.split()  # noqa: SIM905 - two hundred quotation marks help nobody
)
"""Words that carry no motion by themselves: it does not matter whether the captions have them."""

_IRREGULAR = {
    "ran": "run", "stood": "stand", "threw": "throw", "thrown": "throw", "sat": "sit", "lay": "lie", "lying": "lie",
    "went": "go", "gone": "go", "took": "take", "taken": "take", "fell": "fall", "fallen": "fall", "swung": "swing",
    "held": "hold", "bent": "bend", "spun": "spin", "got": "get", "rode": "ride", "rose": "rise", "made": "make",
    "crept": "creep", "leapt": "leap", "strode": "stride", "slid": "slide", "swam": "swim", "hung": "hang",
    "feet": "foot", "men": "man", "women": "woman", "forwards": "forward", "backwards": "backward", "knelt": "kneel",
}  # fmt: skip

_ENDING = re.compile(r"(?:(?<!e)ed|ing)$")
_VOWEL = re.compile(r"[aeiouy]")


def tidy(text: str) -> str:
    """Lower case, single spaces, no mark at the end: how captions are written."""
    return " ".join(text.lower().split()).rstrip(" .!?;,")


def word_list(text: str) -> list[str]:
    """The words and numbers of a text, lower case, in order."""
    return _WORD.findall(text.lower().replace("\u2019", "'"))


def stem(word: str) -> str:
    """ "walks", "walked", "walking" -> "walk"; "running" -> "run"; "dances" -> "danc".

    Rough, but the same for all forms of a word; a stem need not be a word."""
    word = _IRREGULAR.get(word, word).removesuffix("'s")
    if len(word) > 4 and word.endswith(("ies", "ied")):
        word = word[:-3] + "y"
    elif len(word) > 4 and word.endswith(("ches", "shes", "sses", "xes", "zes")):
        word = word[:-2]
    elif len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    elif (ending := _ENDING.search(word)) and _VOWEL.search(word[: ending.start()]):
        word = word[: ending.start()]
        if len(word) > 2 and word[-1] == word[-2] and word[-1] not in "lsz":
            word = word[:-1]  # hopp, runn
    return word.removesuffix("e") if len(word) > 3 else word


def plain(text: str) -> str:
    """A sentence with "a person" as its subject, whatever subject said no more than that; for comparing sentences."""
    text = tidy(text)
    rest = _SUBJECT.sub("", text, count=1)
    rest = re.sub(r"^please ", "", rest)
    if re.match(r"(?:a|an|the|two) ", rest) and rest == text:  # another subject: a fighter, the zombie
        return text
    return f"a person {rest}" if rest else text


# -- other words for what captions say --------------------------------------------------------------------------------

_SYNONYMS = json.loads((Path(__file__).parent / "synonyms.json").read_text(encoding="utf-8"))
_BY_STEM = {stem(w): said for said, others in _SYNONYMS["words"].items() for w in others.split()}
_BY_PHRASE = {phrase: said for said, others in _SYNONYMS["phrases"].items() for phrase in others}
_PHRASE = re.compile(r"\b(?:" + "|".join(sorted(map(re.escape, _BY_PHRASE), key=len, reverse=True)) + r")\b")


def rephrase(text: str, known: frozenset[str]) -> str:
    """A tidy sentence with words that are not known (by stem) replaced by known ones of about the same meaning."""
    text = _PHRASE.sub(lambda m: _BY_PHRASE[m[0]], text)
    return _WORD.sub(lambda m: m[0] if (s := stem(m[0])) in known or m[0] in LITTLE else _BY_STEM.get(s, m[0]), text)


# -- what a sentence names --------------------------------------------------------------------------------------------

_NAMED = {
    "side": {
        "left": r"left|counter-?clockwise|anti-?clockwise",  # seen from above, who turns counterclockwise turns left
        "right": r"right|clockwise",
        "both": (
            r"(?:both|two) (?:hands|arms|legs|feet)|(?:the|his|her|their|your|with|up) (?:hands|arms)|(?:hands|arms) up"
        ),
    },
    "way": {
        "forward": r"forwards?|ahead|straight on|back and forth",
        "backward": (
            r"backwards?|in reverse|back and forth|retreats?|"
            r"(?:step|walk|mov|run|go|crawl|jump|hop|jog|back)\w* (?:back|away)"
        ),
    },
    "count": {
        "1": r"once|one time|a single",
        "2": r"twice|two times|double|two (?!hands|arms|legs|feet)",
        "3": r"thrice|three|triple|3",
        "many": r"several|repeatedly|a series|again and again|over and over",
        "45": r"45|slightly",
        "90": r"90|ninety|quarter",
        "135": r"135|sharp(?:ly)?",
        "180": r"180|half turn|turns? around|turns? round|about face",
        "360": r"360|full turn|all the way around",
    },
}
_PATTERNS = {
    kind: {name: re.compile(rf"(?<![\w-])(?:{pattern})(?![\w-])") for name, pattern in names.items()}
    for kind, names in _NAMED.items()
}


def named(text: str) -> dict[str, frozenset[str]]:
    """What a sentence says of the side ("left", "right", "both"), the way ("forward", "backward") and the count."""
    text = tidy(text)
    return {
        kind: frozenset(name for name, pattern in patterns.items() if pattern.search(text))
        for kind, patterns in _PATTERNS.items()
    }
