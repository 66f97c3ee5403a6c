"""Every text that the add-on shows, as translators need it: what can be looked up, and what cannot.

    .envs/bpy-4.5/bin/python tests/msgids.py            what cannot be translated, with its line
    .envs/bpy-4.5/bin/python tests/msgids.py de         and what German lacks

A text that is put together with an f-string is another one each time. In what draws that must not be: `i18n.say` looks
the sentence up first and fills it in afterwards. Errors and results are put together where they arise; `i18n.told`
finds those by their pattern, whose fields are numbered here: 'Choose 0 to {0}.'.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import bpy

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "mgpt3_blender"
SHOWN = ("text", "heading", "placeholder", "title", "message", "confirm_text")
"""Arguments of layouts and dialogs that are shown."""
FIRST = {"say": 0, "tip": 0, "poll_message_set": 0, "report": 1, "draw_text": 1, "tell": 0}
"""Which argument of a call is shown."""
STEPS = ("say", "tell", "progress")
"""Calls that say how far a task is: a fraction, and what is being done."""
ERRORS = ("UserError", "RigError", "WorkerError", "MappingError")
INSIDE = ("panels", "drawing", "menus", "keymap", "operators", "preferences", "generatepresets")
"""Files that draw, whose texts must all be translatable, by how their path in the package begins."""


@dataclass
class Texts:
    """Text -> where it stands; `composed`: what is put together and thus cannot be looked up, (place, code, error?)."""

    known: dict[str, str] = field(default_factory=dict)
    composed: list[tuple[str, str, bool]] = field(default_factory=list)

    def add(self, text: str, where: str) -> None:
        if any(letter.isalpha() for letter in text):
            self.known.setdefault(text, where)


def _assigned(function: ast.AST, name: str) -> list[ast.expr]:
    """What a variable is set to within a function."""
    found = []
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name) and target.id == name:
                    found.append(node.value)
                elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    pairs = zip(target.elts, node.value.elts, strict=True)
                    found += [value for one, value in pairs if isinstance(one, ast.Name) and one.id == name]
    return found


def _parts(expression: ast.expr, function: ast.AST, tree: ast.AST, depth: int = 3) -> Iterator[ast.expr]:
    """The texts that an expression may turn out to be."""
    if isinstance(expression, ast.IfExp):
        yield from _parts(expression.body, function, tree, depth)
        yield from _parts(expression.orelse, function, tree, depth)
    elif isinstance(expression, ast.BoolOp):
        for value in expression.values:
            yield from _parts(value, function, tree, depth)
    elif isinstance(expression, ast.Call) and isinstance(expression.func, ast.Name) and depth:
        for one in ast.walk(tree):
            if isinstance(one, ast.FunctionDef) and one.name == expression.func.id:
                for node in ast.walk(one):
                    if isinstance(node, ast.Return) and node.value is not None:
                        yield from _parts(node.value, one, tree, depth - 1)
    elif isinstance(expression, ast.Name) and depth:
        for value in _assigned(function, expression.id):
            yield from _parts(value, function, tree, depth - 1)
    else:
        yield expression


def _name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _shown(call: ast.Call) -> list[ast.expr]:
    """The arguments of a call that a user reads."""
    name = _name(call)
    if any(k.arg == "translate" and isinstance(k.value, ast.Constant) and not k.value.value for k in call.keywords):
        return []  # a user's own words, or looked up by then
    found = [keyword.value for keyword in call.keywords if keyword.arg in SHOWN]
    if name in ERRORS:
        return found + call.args[1:3]
    if name in STEPS and len(call.args) == 2:
        found.append(call.args[1])
    if name in FIRST and len(call.args) > FIRST[name]:
        found.append(call.args[FIRST[name]])
    return found


def pattern(composed: ast.JoinedStr) -> str:
    """An f-string as a catalogue holds it: its fields numbered."""
    parts, number = [], 0
    for part in composed.values:
        if isinstance(part, ast.Constant):
            parts.append(part.value.replace("{", "{{").replace("}", "}}"))
        else:
            parts.append(f"{{{number}}}")
            number += 1
    return "".join(parts).strip()


def _names(node: ast.Assign | ast.AugAssign) -> set[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return {getattr(target, "attr", getattr(target, "id", "")) for target in targets}


def _strings(value: ast.expr) -> Iterator[str]:
    """The texts of an expression, those within another one left out."""
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        yield value.value.strip()
    elif isinstance(value, ast.JoinedStr):
        if _has_words(value):
            yield pattern(value)
    else:
        for child in ast.iter_child_nodes(value):
            if isinstance(child, ast.expr):
                yield from _strings(child)


def _has_words(composed: ast.JoinedStr) -> bool:
    """Whether there is more than punctuation around what is filled in."""
    texts = [part.value for part in composed.values if isinstance(part, ast.Constant)]
    return any(letter.isalpha() for text in texts for letter in text)


def of_source(file: Path, texts: Texts) -> None:
    """The texts of a file's code."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    calls = {call: function for function in functions for call in ast.walk(function) if isinstance(call, ast.Call)}
    calls = {**{call: tree for call in ast.walk(tree) if isinstance(call, ast.Call)}, **calls}
    if str(file.relative_to(PACKAGE)).startswith(INSIDE):  # tables of what is drawn
        for node in (
            value for top in tree.body if isinstance(top, ast.Assign | ast.AnnAssign) for value in ast.walk(top)
        ):
            if isinstance(node, ast.Constant) and re.match(r"[A-Z][a-z]", str(node.value)):
                texts.add(str(node.value), f"{file.relative_to(ROOT)}:{node.lineno}")
    for call, function in calls.items():
        for argument in _shown(call):
            for part in _parts(argument, function, tree):
                where = f"{file.relative_to(ROOT)}:{part.lineno}"
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    texts.add(part.value, where)
                elif isinstance(part, ast.JoinedStr) and _has_words(part):
                    texts.composed.append((where, ast.unparse(part), _name(call) in ERRORS))
                    texts.add(pattern(part), where)
    for node in ast.walk(tree):  # what is said of a result
        if isinstance(node, ast.Assign | ast.AugAssign) and _names(node) & {"line", "note"}:
            for text in _strings(node.value):
                texts.add(text, f"{file.relative_to(ROOT)}:{node.lineno}")


def of_classes(texts: Texts, names: tuple[str, ...] = ()) -> None:
    """Labels and tooltips of everything that is registered, or of what the named modules register."""
    import mgpt3_blender

    for module in mgpt3_blender._modules():
        name = module.__name__.rpartition(".")[2]
        if names and module.__name__.removeprefix("mgpt3_blender.") not in names:
            continue
        for cls in getattr(module, "classes", ()):
            struct = cls.bl_rna
            if issubclass(cls, bpy.types.Operator):
                struct = getattr(bpy.ops.mgpt3, cls.bl_idname.removeprefix("mgpt3.")).get_rna_type()
                texts.add(struct.name, name)
                texts.add(struct.description, name)
            elif hasattr(cls, "bl_label"):
                texts.add(cls.bl_label, name)
            if issubclass(cls, bpy.types.Panel | bpy.types.Menu):
                continue
            own = cls.__annotations__ if issubclass(cls, bpy.types.UIList) else struct.properties.keys()
            for prop in (struct.properties[name] for name in own):
                if prop.identifier not in ("rna_type", "name", "bl_idname") and not prop.is_hidden:
                    of_property(prop, name, texts)
    for owner in () if names else (bpy.types.Action, bpy.types.WindowManager):
        for prop in owner.bl_rna.properties:
            if prop.identifier.startswith("mgpt3") and prop.type != "POINTER":
                of_property(prop, owner.__name__, texts)


def of_property(prop: bpy.types.Property, where: str, texts: Texts) -> None:
    texts.add(prop.name, where)
    texts.add(prop.description, where)
    for item in prop.enum_items if prop.type == "ENUM" else ():
        texts.add(item.name, where)
        texts.add(item.description, where)


def collect() -> Texts:
    """All texts of the add-on, which must be registered."""
    texts = Texts()
    of_classes(texts)
    for file in sorted(PACKAGE.rglob("*.py")):
        of_source(file, texts)
    for file in sorted((PACKAGE / "presets").rglob("*.py")):
        texts.add(bpy.path.display_name(file.name, title_case=False), str(file.relative_to(ROOT)))
    return texts


def main(languages: list[str]) -> int:
    sys.path.insert(0, str(ROOT))
    import mgpt3_blender
    from mgpt3_blender import i18n

    mgpt3_blender.register()
    texts = collect()
    drawn = tuple(f"mgpt3_blender/{name}" for name in INSIDE)
    bad = [(where, text) for where, text, error in texts.composed if not error and where.startswith(drawn)]
    for where, text in bad:
        print(f"{where}: cannot be translated: {text}")
    for language in languages:
        held = {word for part in i18n.catalogues()[language].values() for word in part}
        for text, where in texts.known.items():
            if text not in held:
                print(f"{where}: not in {language}: {text}")
        print(f"{language}: {len(held)} of {len(texts.known)} texts")
    print(f"{len(texts.known)} texts, {len(bad)} put together so that they cannot be translated")
    mgpt3_blender.unregister()
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    import os

    os._exit(code)  # Blender's own end may hang
