"""The configs of the trainings: small TOML files. What a command's own file names is what may be changed.

core/train/configs/COMMAND.toml has every entry of a command with its default; another file (--config) or a line
(--set key=value) changes some of them. An entry that is not there, or a value of another kind, is an error that names
it and says what is allowed.
"""

from __future__ import annotations

import copy
import difflib
import json
import math
import re
import tomllib
from pathlib import Path
from typing import Any

from core.errors import CoreError
from core.model.config import ModelConfig

FOLDER = Path(__file__).parent / "configs"
Table = dict[str, Any]
CHOICES = {
    "precision": ("bf16", "fp32"),
    "stored": ("int8", "float16", "float32"),
    "size": ("compact", "official", "tiny"),
}
"""Entries that take one of some words."""
KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text in quotes", list: "a list [...]",
         dict: "a table [...] of entries"}  # fmt: skip


def read_config(command: str, file: Path | None = None, changes: list[str] | None = None) -> Table:
    """A command's config.

    Args:
        file: a TOML file with what is to differ from the defaults, or the name of one in core/train/configs.
        changes: "key=value" each, value as in TOML; tables by dots: "stage1.steps=100".
    Raises:
        CoreError: config_missing; config_wrong, which names the file, its line and the entry, and what is allowed.
    """
    own = FOLDER / f"{command}.toml"
    config = _parsed(own)
    if file is not None:
        given = _find(file)
        _merge(config, _parsed(given), given, _schema(config))
    for change in changes or []:
        key, equals, value = change.partition("=")
        if not equals or not key.strip():
            raise CoreError("config_wrong", f"'--set {change}' is no change of a config.", "Write --set key=value.")
        path = key.strip().split(".")
        nested: Table = {path[-1]: _value(value.strip())}
        for part in reversed(path[:-1]):
            nested = {part: nested}
        _merge(config, nested, None, _schema(config))
    return config


def write_config(config: Table, file: Path, comments: list[str]) -> None:
    """Write a config that `read_config` reads, with lines of comments before it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"# {line}\n" for line in comments) + text_of(config), encoding="utf-8")


def text_of(config: Table, name: str = "") -> str:
    """A config as TOML: plain entries first, then the tables."""
    lines = [f"{k} = {_toml(v)}\n" for k, v in config.items() if not isinstance(v, dict)]
    for key, value in config.items():
        if isinstance(value, dict):
            inner = f"{name}.{key}" if name else key
            body = text_of(value, inner)
            plain = any(not isinstance(v, dict) for v in value.values())
            lines.append(f"\n[{inner}]\n{body}" if plain or not value else body)
    return "".join(lines)


def keys(config: Table, prefix: str = "") -> list[str]:
    """Every entry, tables by dots."""
    out = []
    for k, v in config.items():
        out += keys(v, f"{prefix}{k}.") if isinstance(v, dict) else [prefix + k]
    return out


# -- reading ---------------------------------------------------------------------------------------------------------


def _find(file: Path) -> Path:
    """The file itself, or the one of that name that comes with the code."""
    shipped = FOLDER / f"{file.name.removesuffix('.toml')}.toml"
    if file.is_file():
        return file
    if file.parent == Path() and shipped.is_file():
        return shipped
    names = ", ".join(sorted(p.stem for p in FOLDER.glob("*.toml")))
    raise CoreError("config_missing", f"There is no config '{file}'.", f"Name a TOML file, or one of ours: {names}.")


def _parsed(file: Path) -> Table:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise CoreError("config_missing", f"The config '{file}' cannot be read ({error}).", "Check the path.") from None
    except tomllib.TOMLDecodeError as error:
        raise CoreError("config_wrong", f"The config '{file}' is not TOML: {error}.", "Put that line right.") from None


def _value(text: str) -> Any:
    """A value on the command line: as TOML has it, or else plain words."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _schema(config: Table) -> Table:
    """What may stand where: the config itself, and for [model] every size that a model has."""
    schema = copy.deepcopy(config)
    if isinstance(config.get("model"), dict):
        schema["model"] = ModelConfig().to_dict()
    return schema


def _merge(config: Table, changes: Table, file: Path | None, schema: Table, at: str = "") -> None:
    """Put checked changes into a config, in place."""
    for key, value in changes.items():
        if key not in schema:
            close = difflib.get_close_matches(key, schema, 1)
            hint = f" Did you mean {close[0]}?" if close else ""
            where = f"in [{at[:-1]}]" if at else "here"
            raise CoreError("config_wrong", f"{_place(file, key)}: there is no entry '{at}{key}'.{hint}",
                            f"Allowed {where}: {', '.join(schema)}.")  # fmt: skip
        allowed = schema[key]
        if isinstance(allowed, dict):
            if not isinstance(value, dict):
                raise _wrong(file, at + key, value, allowed)
            _merge(config.setdefault(key, {}), value, file, allowed, f"{at}{key}.")
        else:
            config[key] = _checked(file, at + key, value, allowed)


def _checked(file: Path | None, name: str, value: Any, allowed: Any) -> Any:
    """The value, where it is of the kind of the one it replaces."""
    key = name.rpartition(".")[2]
    if isinstance(allowed, float) and type(value) is int:
        value = float(value)
    fits = type(value) is type(allowed)
    if fits and isinstance(value, list) and allowed:
        value = [float(v) if isinstance(allowed[0], float) and type(v) is int else v for v in value]
        fits = all(type(v) is type(allowed[0]) for v in value)
    if fits and isinstance(value, int | float) and not isinstance(value, bool):
        fits = math.isfinite(value) and value >= 0
    if not fits or (key in CHOICES and value not in CHOICES[key]):
        raise _wrong(file, name, value, allowed)
    return value


def _wrong(file: Path | None, name: str, value: Any, allowed: Any) -> CoreError:
    key = name.rpartition(".")[2]
    if key in CHOICES:
        wanted = "one of " + ", ".join(f'"{word}"' for word in CHOICES[key])
    else:
        wanted = KINDS[type(allowed)]
        if type(allowed) in (int, float):
            wanted += ", 0 or more"
    shown = json.dumps(value, default=str)
    return CoreError("config_wrong", f"{_place(file, key)}: {name} = {shown} does not fit.", f"Allowed: {wanted}.")


def _place(file: Path | None, key: str) -> str:
    """Where an entry stands, for people: the file and, where it can be told, the line."""
    if file is None:
        return "The command line"
    lines = file.read_text(encoding="utf-8").splitlines()
    found = [n for n, line in enumerate(lines, 1) if re.match(rf"\s*\[?(\w+\.)*\"?{re.escape(key)}\"?\s*[\]=.]", line)]
    return f"The config {file}" + (f", line {found[0]}" if len(found) == 1 else "")


def _toml(value: Any) -> str:
    """A value as TOML writes it; JSON's texts, numbers, lists, true and false are the same."""
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False)
