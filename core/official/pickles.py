"""A pickle reader that builds data and calls nothing.

A pickle is a program for a small stack machine, and what makes it dangerous are the steps that look up a Python name
and call it. This machine knows those steps, but not one of them imports or calls anything: a name stays a name, an
object of a harmless package becomes an `Opaque` note of itself, and the few calls that make up a tensor are handed to
a function of ours. A name that is not on the list of core.official.harmless ends the reading.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

from core.official.harmless import UnsafePickle, check_name, words

MAX_STEPS = 5_000_000
"""A checkpoint of 745 tensors with its optimiser takes about 100 000."""


class BrokenPickle(Exception):
    """The bytes are no pickle, or one that does not add up."""


@dataclass(frozen=True, slots=True)
class Named:
    """A Python name that a pickle mentions. Never looked up."""

    name: str


class Opaque:
    """Stands for an object of a harmless package: what it was, and the plain data it carried."""

    __slots__ = ("args", "items", "name", "state")

    def __init__(self, name: str, args: tuple = ()) -> None:
        self.name = name
        self.args = args
        self.state: Any = None
        self.items: dict[Any, Any] = {}


Rebuild = Callable[[str, tuple], Any]
"""What makes a tensor out of a call: (name, arguments) -> the tensor, or NotImplemented for a name it does not know."""
Storage = Callable[[Any], Any]
"""What a persistent id stands for."""

_PLAIN = (str, int, float, bytes, type(None), Named)

_PUSH = words(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE "
    "SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8"
)
_CONSTANT = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_FRESH: dict[str, Callable[[], Any]] = {
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": list,
    "EMPTY_TUPLE": tuple,
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_IGNORED = frozenset({"PROTO", "FRAME"})


def read_pickle(stream: BinaryIO, rebuild: Rebuild, storage: Storage) -> Any:
    """Read one pickle; the stream stands behind it afterwards.

    Args:
        stream: gives no more bytes than the pickle may have.
        rebuild: makes tensors.
        storage: turns persistent ids into what they stand for.
    Returns:
        Dictionaries, lists (also for sets), tuples, text, numbers, tensors as `rebuild` made them, `Named`, `Opaque`.
    Raises:
        UnsafePickle, BrokenPickle.
    """
    try:
        return _Machine(rebuild, storage).run(stream)
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise BrokenPickle(f"{type(error).__name__}: {error}") from error


class _Machine:
    """The stack machine. One use a pickle."""

    def __init__(self, rebuild: Rebuild, storage: Storage) -> None:
        self.rebuild, self.storage = rebuild, storage
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stacks under each mark
        self.memo: dict[int, Any] = {}
        self.spare = (
            MAX_STEPS  # entries that may still be copied: a few bytes can ask to copy a long list, again and again
        )

    def run(self, stream: BinaryIO) -> Any:
        for step, (opcode, arg, _) in enumerate(pickletools.genops(stream)):
            if step > MAX_STEPS:
                raise BrokenPickle("it has too many steps")
            name = opcode.name
            if name == "STOP":
                return self.stack.pop()
            if name in _PUSH:
                self.stack.append(arg)
            elif name in _CONSTANT:
                self.stack.append(_CONSTANT[name])
            elif name in _FRESH:
                self.stack.append(_FRESH[name]())
            elif name in _TUPLES:
                self.stack.append(self.take(_TUPLES[name]))
            elif name not in _IGNORED:
                step_of = getattr(self, f"do_{name.lower()}", None)  # defined below, one method an opcode
                if step_of is None:
                    raise UnsafePickle(f"pickle step {name}")
                step_of(arg)
        raise BrokenPickle("it has no end")

    def take(self, count: int) -> tuple:
        if len(self.stack) < count:
            raise BrokenPickle("its stack is empty")
        taken = tuple(self.stack[-count:])
        del self.stack[-count:]
        return taken

    def marked(self) -> list[Any]:
        """What lies above the last mark."""
        above, self.stack = self.stack, self.below.pop()
        return above

    # -- stack and memo ----------------------------------------------------------------------------------------------

    def do_mark(self, _: Any) -> None:
        self.below.append(self.stack)
        self.stack = []

    def do_pop(self, _: Any) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.marked()

    def do_pop_mark(self, _: Any) -> None:
        self.marked()

    def do_dup(self, _: Any) -> None:
        self.stack.append(self.stack[-1])

    def do_put(self, arg: int) -> None:
        self.memo[arg] = self.stack[-1]

    do_binput = do_long_binput = do_put

    def do_memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def do_get(self, arg: int) -> None:
        self.stack.append(self.memo[arg])

    do_binget = do_long_binget = do_get

    # -- containers --------------------------------------------------------------------------------------------------

    def do_tuple(self, _: Any) -> None:
        self.stack_up(tuple)

    def do_list(self, _: Any) -> None:
        self.stack_up(list)

    def do_frozenset(self, _: Any) -> None:
        self.stack_up(list)  # a list: hashing what a stranger nested can take for ever

    def do_dict(self, _: Any) -> None:
        above = self.marked()
        self.stack.append({})
        self.set_items(above)

    def stack_up(self, kind: Callable[[list], Any]) -> None:
        above = self.marked()
        self.stack.append(kind(above))

    def do_append(self, _: Any) -> None:
        self.extend([self.stack.pop()])

    def do_appends(self, _: Any) -> None:
        self.extend(self.marked())

    do_additems = do_appends

    def extend(self, values: list[Any]) -> None:
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(values)
        elif not isinstance(self.stack[-1], Opaque):  # a list of a class of its own: its entries are of no use
            raise BrokenPickle("it adds to what is no list")

    def do_setitem(self, _: Any) -> None:
        self.set_items(list(self.take(2)))

    def do_setitems(self, _: Any) -> None:
        self.set_items(self.marked())

    def set_items(self, pairs: list[Any]) -> None:
        top = self.stack[-1]
        target = top.items if isinstance(top, Opaque) else top
        if not isinstance(target, dict) or len(pairs) % 2:
            raise BrokenPickle("it fills what is no dictionary")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            target[key if isinstance(key, _PLAIN) else Opaque("key")] = value

    # -- names and calls, where a common pickle reader would import and run ------------------------------------------

    def do_global(self, arg: str) -> None:
        module, _, name = arg.partition(" ")
        self.stack.append(Named(check_name(module, name)))

    def do_stack_global(self, _: Any) -> None:
        module, name = self.take(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise BrokenPickle("a name is no text")
        self.stack.append(Named(check_name(module, name)))

    def do_inst(self, arg: str) -> None:
        module, _, name = arg.partition(" ")
        args = tuple(self.marked())
        self.stack.append(self.call(Named(check_name(module, name)), args))

    def do_obj(self, _: Any) -> None:
        what, *args = self.marked()
        self.stack.append(self.call(what, tuple(args)))

    def do_reduce(self, _: Any) -> None:
        what, args = self.take(2)
        self.stack.append(self.call(what, args))

    do_newobj = do_reduce

    def do_newobj_ex(self, _: Any) -> None:
        what, args, _named = self.take(3)
        self.stack.append(self.call(what, args))

    def do_build(self, _: Any) -> None:
        state = self.stack.pop()
        if isinstance(self.stack[-1], Opaque):
            self.stack[-1].state = state  # kept as data; of a dictionary or a tensor it is of no use

    def do_binpersid(self, _: Any) -> None:
        self.stack.append(self.storage(self.stack.pop()))

    def do_persid(self, arg: str) -> None:
        self.stack.append(self.storage(arg))

    def call(self, what: Any, args: Any) -> Any:
        """What a call would have made, as data."""
        if not isinstance(what, Named):
            raise UnsafePickle(f"a call of {what.name if isinstance(what, Opaque) else type(what).__name__}")
        if not isinstance(args, tuple):
            raise BrokenPickle("a call without arguments")
        name = what.name
        if name == "builtins.type" and args != (None,):  # type(None) is how pickles write NoneType
            raise UnsafePickle(name)
        first = args[0] if args else None
        if name in ("collections.OrderedDict", "builtins.dict", "collections.defaultdict"):
            return self.dictionary(first)
        if name in ("builtins.list", "builtins.set", "builtins.frozenset"):
            return first if isinstance(first, list) else []
        if name in ("builtins.tuple", "torch.Size"):
            return first if isinstance(first, tuple) else self.copy(first)
        if name == "_codecs.encode" and isinstance(first, str) and args[1:] == ("latin1",):
            return bytes(self.copy(first.encode("latin1")))  # how protocol 2 writes bytes
        if name.startswith(("copyreg.", "functools.")) and isinstance(first, Named):
            return Opaque(first.name, args[1:])
        made = self.rebuild(name, args)
        return Opaque(name, args) if made is NotImplemented else made

    def dictionary(self, pairs: Any) -> dict:
        """A dictionary from a list of pairs, the way protocol 0 writes an OrderedDict; else an empty one."""
        good = [p for p in self.copy(pairs) if isinstance(p, list | tuple) and len(p) == 2 and isinstance(p[0], _PLAIN)]
        return {p[0]: p[1] for p in good}

    def copy(self, values: Any) -> tuple:
        """The entries of a list or bytes; none of anything else."""
        if not isinstance(values, list | bytes):
            return ()
        self.spare -= len(values)
        if self.spare < 0:
            raise BrokenPickle("it copies too much")
        return tuple(values)
