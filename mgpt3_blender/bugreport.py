"""The text that is pasted into a bug report: versions, device, model, the last error's code and the end of the log.

It is read by strangers, so whatever says who or where somebody is comes out of it: user and computer names, the home
folder, names of files and folders, tokens, addresses. Where that cannot be told from harmless text, the text goes.
Knows nothing of Blender.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

LINES = 40
"""How many lines of the log's end are shown."""

_BYTES = 64 * 1024  # of the log's end that are read: more than LINES of them have
_MIN_NAME = 2  # letters: a user called "a" would take every article out of the text

_SECRET = re.compile(
    r"""hf_\w{6,}                                            # Hugging Face
    | \bgh[a-z]_\w{10,} | \bsk-[\w-]{10,} | \bAKIA\w{12,}    # other services
    | \beyJ[\w-]+\.[\w-]+\.[\w-]+                            # JSON web tokens
    | \b[A-Za-z0-9+_=-]{32,}                                 # whatever else is long and no word""",
    re.VERBOSE,
)
_NAMED_SECRET = re.compile(
    r"(?i)((?:authorization|[\w-]*(?:token|password|passwd|secret|api[_-]?key))['\"]?\s*[:=]\s*['\"]?"
    r"(?:(?:bearer|basic|token)\s+)?|\bbearer\s+)[^\s'\",;&]+"
)
_MAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_NUMBERS = re.compile(
    r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.])|(?<![\w:])(?:[0-9a-fA-F]{1,4}:){3,7}[0-9a-fA-F]{1,4}"
)
_WEB = re.compile(r"(?i)\b(https?|ftp|file|socks5h?)://[^\s'\"<>)]+")
_FRAME = re.compile(r'File "([^"\n]+)", line')
_QUOTED = re.compile(r"""(["'`])((?:(?!\1)[^\n])*[/\\](?:(?!\1)[^\n])*)\1""")
# A path without quotes may have spaces in it: it ends where a sentence would go on, or with the line.
_END = r"(?=\n|$|[\"'`<>|*)\]}]|[:;,](?:\s|$)|\s(?:->|=>|\(|-\s))"
_PATH = re.compile(rf"(?:(?<![\w.<])[A-Za-z]:[\\/]|\\\\|(?<![\w.<>])(?:~|\.{{1,2}})?[/\\])[^\n]*?{_END}")
_RELATIVE = re.compile(r"[^\s\0\"'<>(),;:]*[/\\][^\s\0\"'<>(),;:]*")
_RATE = re.compile(r"[\d.,]*\s?[A-Za-z%]{0,3}/[\d.,]*[A-Za-z]{0,5}")  # "3/8", "12.5it/s", "m/s"
_FILE = re.compile(
    r"(?i)[^\s\0\"'<>(),;:=]+\.(?:blend\d*|bvh|fbx|glb|gltf|npz|npy|csv|json|jsonl|txt|log|png|jpe?g|mp4|mov|zip|whl|ckpt"
    r"|pth?|safetensors|abc|usd[acz]?|obj|toml|ya?ml|exe|dll|so)\b"
)


@dataclass(frozen=True)
class Privacy:
    """What is known of the person whose report it is.

    Args:
        home: the home folder.
        own: folders of the add-on's code by the name they are shown under: their files may be named in tracebacks.
        names: words that must not be seen: user, computer, names of open files.
        secrets: texts that must not be seen wherever they stand, also inside words.
    """

    home: Path
    own: Mapping[str, Path] = field(default_factory=dict)
    names: Sequence[str] = ()
    secrets: Sequence[str] = ()


def secrets_of(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The values of environment variables that by their name hold a secret."""
    telling = re.compile(r"(?i)token|secret|passw|api_?key|credential")
    return tuple(value for name, value in environment.items() if telling.search(name) and len(value) >= 6)


def clean(text: str, privacy: Privacy) -> str:
    """The text without what says who or where somebody is. What is in angle brackets stands for what was there."""
    done: list[str] = []

    def put(replacement: str) -> str:  # what is settled is not looked at again
        done.append(replacement)
        return f"\0{len(done) - 1}\0"

    text = text.replace("\0", "")
    for secret in sorted(filter(None, privacy.secrets), key=len, reverse=True):
        text = text.replace(secret, put("<secret>"))
    text = _FRAME.sub(lambda match: put(f"File <{_frame(match[1], privacy)}>, line"), text)
    text = _NAMED_SECRET.sub(lambda match: match[1] + put("<secret>"), text)
    text = _WEB.sub(lambda match: put("<web address>"), text)
    text = _MAIL.sub(lambda match: put("<address>"), text)
    text = _NUMBERS.sub(lambda match: put("<address>"), text)
    text = _QUOTED.sub(lambda match: put(f"{match[1]}{_place(match[2], privacy.home)}{match[1]}"), text)
    for form in _forms(privacy.home):
        text = re.sub(re.escape(form) + r"(?!\w)", "~", text, flags=re.IGNORECASE)
    text = _PATH.sub(lambda match: put(_place(match[0], privacy.home)), text)
    text = _RELATIVE.sub(lambda match: match[0] if _RATE.fullmatch(match[0]) else put("<path>"), text)
    text = _FILE.sub(lambda match: put("<file>"), text)
    text = _SECRET.sub(lambda match: put("<secret>"), text)
    for name in sorted({name for name in privacy.names if len(name) >= _MIN_NAME}, key=len, reverse=True):
        word = rf"(?<![^\W_])(?<!\0){re.escape(name)}(?![^\W_])"
        text = re.sub(word, lambda match: put("<name>"), text, flags=re.IGNORECASE)
    while "\0" in text:  # one may stand inside another
        text = re.sub(r"\0(\d+)\0", lambda match: done[int(match[1])], text)
    return text


def tail(log: Path, lines: int = LINES) -> str:
    """The last lines of a log; a sentence where there is none."""
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            start = max(file.tell() - _BYTES, 0)
            file.seek(start)
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return "(there is none)"
    found = text.splitlines()[1 if start else 0 :]  # the first may be half a line, half a name
    return "\n".join(line[:400] for line in found[-lines:]) or "(it is empty)"


def compose(facts: Mapping[str, str], logs: Mapping[str, str], privacy: Privacy) -> str:
    """The whole report.

    Args:
        facts: what the add-on says of itself and the machine, by name, in the order shown.
        logs: the ends of logs by their title.
        privacy: what has to come out of all of it.
    """
    parts = ["MotionGPT3 for Blender: report for a bug", ""]
    parts += [f"{name}: {clean(value, privacy)}" for name, value in facts.items()]
    for title, text in logs.items():
        parts += ["", f"{title}, its end:", *(f"    {line}" for line in clean(text, privacy).splitlines())]
    return "\n".join(parts) + "\n"


def _forms(folder: Path) -> Iterable[str]:
    """A folder as it may be written in a log, the longest first."""
    text = str(folder).rstrip("/\\")
    forms = {text, text.replace("\\", "/"), text.replace("\\", "\\\\"), str(folder.resolve()).rstrip("/\\")}
    return sorted((form for form in forms if len(form) > 1), key=len, reverse=True)


def _place(path: str, home: Path) -> str:
    """What is said of a path: only whether it lies in the home folder."""
    inside = path.startswith("~") or any(path.lower().startswith(form.lower()) for form in _forms(home))
    if inside and (path == "~" or path in _forms(home)):
        return "~"
    return "~/<path>" if inside else "<path>"


def _frame(path: str, privacy: Privacy) -> str:
    """A file of a traceback: the add-on's own and installed packages' are named, whatever else is not."""
    plain = path.replace("\\", "/")
    for name, folder in privacy.own.items():
        for form in _forms(folder):
            start = form.replace("\\", "/") + "/"
            if plain.startswith(start) and re.fullmatch(r"[\w./-]+\.py", plain[len(start) :]):
                return f"{name}/{plain[len(start) :]}"
    found = re.search(r"/site-packages/([\w./-]+\.py)$", plain)
    return found.group(1) if found else "path"
