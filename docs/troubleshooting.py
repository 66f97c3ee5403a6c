"""Makes the second half of troubleshooting.md: every message of the add-on and the core, read off their source.

`python3.11 build.py docs` runs it. Nothing is imported or run: calls of the error classes are found in the syntax tree,
and their sentences are put together as far as the source alone says them; what only a run knows (a name, a number, a
file) is shown as "…". tests/test_docs.py says when the page is older than the code.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import itertools
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = Path(__file__).with_name("troubleshooting.md")
PACKAGES = ("mgpt3_blender", "core")
MARK = "<!-- From here on made by `python3.11 build.py docs`: edit the messages in the code, not here. -->"
UNKNOWN = "…"
MOST = 6
"""Wordings of one call that are listed; one with more ways than that is shown with gaps."""

ERRORS = {"UserError": 0, "RigError": 0, "WorkerError": 0, "CoreError": 0, "ProtocolError": 1}
"""Error class -> which argument is the code; message and remedy follow it."""

GROUPS = {
    "Setting up, and the model's program": "worker child failure runtime pythons upkeep setupbuild setupcheck "
    "setuperrors setupfetch setupstep wire command jobs preferences core/machine core/fullmemory operators/setup "
    "operators/report bugreport",
    "Models and licences": "models modelfolder modelwork hub cli_models operators/models core/convert core/download "
    "core/official core/model core/language",
    "Characters and rigs": "rig bonemap mannequin targets transfer operators/rig rigwatch",
    "Generating": "generate results operators/generate segments handlers keymap menus core/prompts core/tasks/generate "
    "core/tasks/cli",
    "Between poses, sequences, continuing, loops": "between filling draftaction gaps compose extend looping curvepath "
    "markers action action_splice keyshape core/tasks",
    "Describe, library, search": "asking describe described describing drafts segmentmarkers reading playedby metadata "
    "library libraryrun librarypool librarychild blendfiles openfiles rows search searching finding motionindex "
    "ranking taking thisfile core/captions core/tasks/caption operators",
    "Motion files and SMPL-X": "core/bvh core/bvh_format core/bvh_names core/motionfile core/features core/skeleton "
    "core/restpose core/body core/joints",
    "Command line": "cli cli_describe cli_fill cli_motion core/__main__ core/reporting",
    "Measuring and training": "measure measure_captions measure_motions measure_rigs rigcompare rigfiles rigsheet "
    "gapsheet gapfigures demo core/train core/evaluate core/parity core/speed",
    "Between the add-on and the core": "core/serve core/protocol core/methods core/methods_captions",
}
"""Heading -> files and folders without .py, the add-on's without its folder. The longest name that fits counts."""

_COUNT: dict[type[ast.operator], Callable] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.RShift: operator.rshift,
    ast.LShift: operator.lshift,
    ast.Pow: operator.pow,
}


@dataclass(frozen=True, order=True)
class Entry:
    """One message: where it is filed, its code, what it says and what to do; UNKNOWN stands for what a run puts in."""

    group: str
    code: str
    message: str
    remedy: str


@dataclass(frozen=True)
class Scope:
    """What a name can mean at a place: its file, the functions around it, innermost last, and who called that one."""

    file: Path
    functions: tuple[ast.FunctionDef, ...] = ()
    caller: tuple[ast.Call, Scope] | None = None

    def meanings(self, name: str, line: int) -> list[tuple[ast.expr, Scope]]:
        """The expressions that a name can stand for at a line; none where only a run knows.

        In a function all assignments before the line count.
        """
        for depth in range(len(self.functions), 0, -1):
            function = self.functions[depth - 1]
            inside = Scope(self.file, self.functions[:depth], self.caller if depth == len(self.functions) else None)
            found = [value for at, value in _assigned(function, name) if at < line]
            if found:
                return [(value, inside) for value in found]
            if name in _parameters(function):
                return inside.handed_over(name)
        constants = _constants(self.file)
        if name in constants:
            return [(constants[name], Scope(self.file))]
        source = _imported(self.file).get(name)
        if source is not None and source[1] in _constants(source[0]):
            return [(_constants(source[0])[source[1]], Scope(source[0]))]
        return []

    def handed_over(self, name: str) -> list[tuple[ast.expr, Scope]]:
        """What the caller gives for a parameter of the innermost function, or the parameter's default."""
        function, place = self.functions[-1], _parameters(self.functions[-1]).index(name)
        if self.caller is not None:
            call, outside = self.caller
            named = [word.value for word in call.keywords if word.arg == name]
            given = named or call.args[place : place + 1]
            if given and not isinstance(given[0], ast.Starred):
                return [(given[0], outside)]
        positional = [*function.args.posonlyargs, *function.args.args]
        defaults = [*[None] * (len(positional) - len(function.args.defaults)), *function.args.defaults]
        default = [*defaults, *function.args.kw_defaults][place]
        return [] if default is None else [(default, Scope(self.file))]

    def callers(self) -> list[Scope]:
        """This place once for each call in this file of the function that it is in; itself where there is none."""
        calls = _callers(self.file).get(self.functions[-1].name, []) if len(self.functions) == 1 else []
        return [Scope(self.file, self.functions, one) for one in calls] or [self]


def _parameters(function: ast.FunctionDef) -> list[str]:
    named = function.args
    return [argument.arg for argument in [*named.posonlyargs, *named.args, *named.kwonlyargs]]


@functools.cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _pairs(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """The names that a statement assigns to, with what each gets; tuples are taken apart."""
    if isinstance(node, ast.Assign):
        targets, value = node.targets, node.value
    elif isinstance(node, ast.AnnAssign) and node.value is not None:
        targets, value = [node.target], node.value
    else:
        return
    for target in targets:
        if isinstance(target, ast.Name):
            yield target.id, value
        elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
            for one, what in zip(target.elts, value.elts, strict=True):
                if isinstance(one, ast.Name):
                    yield one.id, what


def _assigned(function: ast.AST, name: str) -> list[tuple[int, ast.expr]]:
    return _assignments(function).get(name, [])


@functools.cache
def _assignments(function: ast.AST) -> dict[str, list[tuple[int, ast.expr]]]:
    """Name -> line and expression of each assignment in a function."""
    found: dict[str, list[tuple[int, ast.expr]]] = {}
    for node in ast.walk(function):
        for name, value in _pairs(node):
            found.setdefault(name, []).append((value.lineno, value))
    return found


@functools.cache
def _constants(file: Path) -> dict[str, ast.expr]:
    return {name: value for node in _tree(file).body for name, value in _pairs(node)}


@functools.cache
def _functions(file: Path) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in _tree(file).body if isinstance(node, ast.FunctionDef)}


@functools.cache
def _imported(file: Path) -> dict[str, tuple[Path, str]]:
    """Name -> file and name there, of what is imported from this project; the name is empty for a whole module."""
    found = {}
    for node in ast.walk(_tree(file)):
        if not isinstance(node, ast.ImportFrom):
            continue
        base = file.parents[node.level - 1] if node.level else ROOT
        folder = base.joinpath(*(node.module or "").split("."))
        for alias in node.names:
            for target, name in (
                (folder / f"{alias.name}.py", ""),
                (folder.with_suffix(".py"), alias.name),
                (folder / "__init__.py", alias.name),
            ):
                if target.is_file() and target.is_relative_to(ROOT):
                    found[alias.asname or alias.name] = (target, name)
                    break
    return found


@functools.cache
def _calls(file: Path) -> list[tuple[ast.Call, Scope]]:
    """Every call of a file with the functions around it."""
    found: list[tuple[ast.Call, Scope]] = []

    def visit(node: ast.AST, scope: Scope) -> None:
        if isinstance(node, ast.FunctionDef):
            scope = Scope(file, (*scope.functions, node))
        if isinstance(node, ast.Call):
            found.append((node, scope))
        for child in ast.iter_child_nodes(node):
            visit(child, scope)

    visit(_tree(file), Scope(file))
    return found


def _number(node: ast.expr, scope: Scope) -> float | None:
    """The value of a constant number, also one computed from others or kept in another module."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return node.value
    if isinstance(node, ast.BinOp) and type(node.op) in _COUNT:
        left, right = _number(node.left, scope), _number(node.right, scope)
        return None if left is None or right is None else _COUNT[type(node.op)](left, right)
    found: list[tuple[ast.expr, Scope]] = []
    if isinstance(node, ast.Name) and node.id.isupper():  # of others the next run may think otherwise
        found = scope.meanings(node.id, node.lineno)
    elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        module = _imported(scope.file).get(node.value.id)
        if module is not None and not module[1] and node.attr in _constants(module[0]):
            found = [(_constants(module[0])[node.attr], Scope(module[0]))]
    return _number(*found[0]) if len(found) == 1 else None


def wordings(node: ast.expr, scope: Scope, depth: int = 0) -> list[str]:
    """The texts that an expression can be, at most MOST, with UNKNOWN for what the source does not say."""
    found: list[str] = []
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if depth > 6:
        return [UNKNOWN]
    if isinstance(node, ast.JoinedStr):
        return _joined([_part(part, scope, depth + 1) for part in node.values])
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _joined([wordings(side, scope, depth + 1) for side in (node.left, node.right)])
    if isinstance(node, ast.IfExp):
        found = wordings(node.body, scope, depth + 1) + wordings(node.orelse, scope, depth + 1)
        found = [text for text in found if text] or [""]  # with an addition or without one: with it
    elif isinstance(node, ast.BoolOp):
        found = [text for value in node.values for text in wordings(value, scope, depth + 1) if text != UNKNOWN]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("strip", "rstrip"):
        found = wordings(node.func.value, scope, depth + 1)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _functions(scope.file):
        function = _functions(scope.file)[node.func.id]
        at = Scope(scope.file, (function,), (node, scope))
        said = [part.value for part in ast.walk(function) if isinstance(part, ast.Return) and part.value is not None]
        found = [text for value in said for text in wordings(value, at, depth + 1)]
    elif isinstance(node, ast.Name):
        found = [text for value, at in scope.meanings(node.id, node.lineno) for text in wordings(value, at, depth + 1)]
    found = list(dict.fromkeys(found))
    return found if 0 < len(found) <= MOST else [UNKNOWN]


def _part(part: ast.expr, scope: Scope, depth: int) -> list[str]:
    if not isinstance(part, ast.FormattedValue):
        return wordings(part, scope, depth)
    number = _number(part.value, scope)
    if number is None:
        return wordings(part.value, scope, depth)
    shape = wordings(part.format_spec, scope, depth)[0] if part.format_spec is not None else ""
    return [format(number, shape)]


def _joined(parts: list[list[str]]) -> list[str]:
    """All ways to put the parts together; where they are too many, only those parts that are sure."""
    ways = 1
    for part in parts:
        ways *= len(part)
    if ways > MOST:
        parts = [part if len(part) == 1 else [UNKNOWN] for part in parts]
    return ["".join(way) for way in itertools.product(*parts)]


def heading(file: Path) -> str:
    """Under which heading a file's messages are. Raises LookupError for a file that none names."""
    name = file.relative_to(ROOT).with_suffix("").as_posix().removeprefix("mgpt3_blender/")
    fits = [(len(word), title) for title, words in GROUPS.items() for word in words.split()
            if name == word or name.startswith(f"{word}/")]  # fmt: skip
    if not fits:
        raise LookupError(f"{file.name} has messages, and no heading of docs/troubleshooting.py is for it.")
    return max(fits)[1]


def entries_of(file: Path) -> list[Entry]:
    """The messages of one file. A message whose words are all unknown is one that it only hands on: left out."""
    found = [Entry(heading(file), *words) for words in _written_out(file)]
    for call, scope in _calls(file):
        place = ERRORS.get(ast.unparse(call.func).split(".")[-1])
        if place is None or len(call.args) < place + 2 or any(isinstance(a, ast.Starred) for a in call.args):
            continue
        for at in scope.callers():
            given = [wordings(argument, at) for argument in call.args[place : place + 3]]
            given += [[""]] * (3 - len(given))
            # As many remedies as messages: both come from one condition, and the first belongs to the first.
            alike = len(given[1]) == len(given[2])
            paired = zip(*given[1:], strict=True) if alike else itertools.product(*given[1:])
            for code, (message, remedy) in itertools.product(given[0], paired):
                if UNKNOWN not in code and any(letter.isalpha() for letter in message):
                    found.append(Entry(heading(file), code, _tidy(message), _tidy(remedy)))
    return found


@functools.cache
def _callers(file: Path) -> dict[str, list[tuple[ast.Call, Scope]]]:
    """Function name -> the calls of it by that bare name."""
    found: dict[str, list[tuple[ast.Call, Scope]]] = {}
    for call, scope in _calls(file):
        if isinstance(call.func, ast.Name):
            found.setdefault(call.func.id, []).append((call, scope))
    return found


def _written_out(file: Path) -> Iterator[tuple[str, str, str]]:
    """Errors in the form they have on the seam: {"message": …, "data": {"code": …, "remedy": …}}, all constants."""
    for node in ast.walk(_tree(file)):
        if isinstance(node, ast.Dict) and [ast.unparse(key) for key in node.keys if key] == ["'message'", "'data'"]:
            with contextlib.suppress(ValueError, KeyError):  # no constants, or another dictionary
                said = ast.literal_eval(node)
                yield said["data"]["code"], said["message"], said["data"]["remedy"]


def _tidy(text: str) -> str:
    """One line, one gap where several follow each other."""
    text = " ".join(text.split())
    for twice in (f"{UNKNOWN} {UNKNOWN}", f"{UNKNOWN}, {UNKNOWN}", UNKNOWN + UNKNOWN):
        while twice in text:
            text = text.replace(twice, UNKNOWN)
    return text


@functools.cache
def entries() -> tuple[Entry, ...]:
    """Every message of the project, by heading, code and text."""
    files = [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]
    titles = list(GROUPS)
    found = {entry for file in files for entry in entries_of(file)}
    return tuple(sorted(found, key=lambda entry: (titles.index(entry.group), entry)))


def _cell(text: str) -> str:
    for sign in "|*<_":
        text = text.replace(sign, f"\\{sign}")
    return text


def made() -> str:
    """The page's second half, MARK included."""
    lines = [MARK]
    for title, rows in itertools.groupby(entries(), lambda entry: entry.group):
        lines += ["", f"### {title}", "", "| code | it says | what to do |", "|---|---|---|"]
        before = ""
        for row in rows:
            shown = f"`{row.code}`" if row.code != before else ""
            lines.append(f"| {shown} | {_cell(row.message)} | {_cell(row.remedy)} |")
            before = row.code
    return "\n".join(lines) + "\n"


def page() -> str:
    """The whole page as it is to be: what people wrote, and the messages as the code has them now."""
    return PAGE.read_text(encoding="utf-8").split(MARK)[0] + made()


def write() -> int:
    """Write the page; how many messages it has."""
    PAGE.write_text(page(), encoding="utf-8", newline="\n")
    return len(entries())
