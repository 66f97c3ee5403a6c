"""A screen that nobody looks at, and the hands and eyes of a user on it: Xvfb, xdotool, tesseract.

What is clicked is found by the words a user reads there, in a picture of the screen. Nothing here knows where a
button is, and nothing goes past the mouse and the keyboard.
"""

from __future__ import annotations

import contextlib
import ctypes
import difflib
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

SIZE = (1600, 1000)
ENLARGED = 3  # tesseract is made for print at 300 dots an inch; letters of a panel are 9 pixels high
ALIKE = 0.78  # of two words: "Generate" read as "Cenerate" is still it


class ScreenError(Exception):
    """What could not be seen or done on the screen."""


@dataclass(frozen=True)
class Box:
    """A rectangle of the screen in pixels, from its top left corner."""

    x: int
    y: int
    width: int
    height: int

    @property
    def middle(self) -> tuple[int, int]:
        return self.x + self.width // 2, self.y + self.height // 2

    def within(self, other: Box) -> bool:
        """Whether the middle of this one lies in the other."""
        x, y = self.middle
        return other.x <= x < other.x + other.width and other.y <= y < other.y + other.height


@dataclass(frozen=True)
class Line:
    """Words read in one line, from left to right, each with its place."""

    words: tuple[tuple[str, Box], ...]

    @property
    def text(self) -> str:
        return " ".join(word for word, _ in self.words)

    def find(self, wanted: str) -> Box | None:
        """Where these words stand in the line, as a whole; letters that were misread now and then do not matter."""
        target = [plain(word) for word in wanted.split() if plain(word)]
        read = [(plain(word), box) for word, box in self.words if plain(word)]
        for start in range(len(read) - len(target) + 1):
            part = read[start : start + len(target)]
            if all(alike(word, other) for (word, _), other in zip(part, target, strict=True)):
                return union([box for _, box in part])
        return None


def plain(word: str) -> str:
    return re.sub(r"[^0-9a-z]", "", word.lower())


def alike(read: str, wanted: str) -> bool:
    if min(len(read), len(wanted)) < 4 or any(c.isdigit() for c in wanted):
        return read == wanted
    return difflib.SequenceMatcher(None, read, wanted).ratio() >= ALIKE


def union(boxes: list[Box]) -> Box:
    x, y = min(b.x for b in boxes), min(b.y for b in boxes)
    right, bottom = max(b.x + b.width for b in boxes), max(b.y + b.height for b in boxes)
    return Box(x, y, right - x, bottom - y)


class Screen:
    """An X server of its own, on a display number that the server chooses. Leave it by `close`."""

    def __init__(self) -> None:
        read, write = os.pipe()
        command = [
            "Xvfb",
            "-displayfd",
            str(write),
            "-screen",
            "0",
            f"{SIZE[0]}x{SIZE[1]}x24",
            "-nolisten",
            "tcp",
            "-noreset",
        ]
        self._server = subprocess.Popen(command, pass_fds=(write,), stderr=subprocess.DEVNULL)
        os.close(write)
        with os.fdopen(read) as number:
            self.display = f":{number.readline().strip()}"
        if self.display == ":":
            raise ScreenError("Xvfb did not start.")
        with _server(self.display) as (x11, display):  # a window manager's words, which Blender takes up if known
            for word in (b"WM_PROTOCOLS", b"WM_DELETE_WINDOW", b"WM_TAKE_FOCUS"):
                x11.XInternAtom(display, word, 0)
        self.whole = Box(0, 0, *SIZE)
        self._focused = 0
        self.settle: Callable[[], object] = lambda: time.sleep(0.3)  # until the program has taken in what was done

    def close(self) -> None:
        self._server.terminate()
        self._server.wait(10)

    # -- eyes

    def capture(self, target: Path, box: Box | None = None) -> Path:
        """A picture of the screen, or of a part of it, as a PNG file."""
        box = box or self.whole
        crop = f"{box.width}x{box.height}+{box.x}+{box.y}"
        target.parent.mkdir(parents=True, exist_ok=True)
        _call(["import", "-window", "root", "-crop", crop, "+repage", str(target)], self._environment())
        return target

    def read(self, box: Box | None = None, *, turned: bool = False) -> list[Line]:
        """The words on the screen or in a part of it, line by line. turned: those that run from top to bottom."""
        box = box or self.whole
        crop = f"{box.width}x{box.height}+{box.x}+{box.y}"
        picture = _call(["import", "-window", "root", "-crop", crop, "+repage", "png:-"], self._environment())
        turn = ["-rotate", "-90"] if turned else []
        print_like = [*turn, "-colorspace", "Gray", "-negate", "-resize", f"{ENLARGED * 100}%", "-level", "15%,95%"]
        picture = _call(["convert", "png:-", *print_like, "png:-"], self._environment(), picture)
        table = _call(
            ["tesseract", "stdin", "stdout", "--psm", "11", "-c", "thresholding_method=2", "tsv"],
            self._environment(),
            picture,
        )
        rows: dict[tuple[str, ...], list[tuple[str, Box]]] = {}
        for row in table.decode("utf-8").splitlines()[1:]:
            cells = row.split("\t")
            if len(cells) != 12 or not cells[11].strip():
                continue
            left, top, width, height = (int(cell) // ENLARGED for cell in cells[6:10])
            if turned:
                left, top, width, height = box.width - top - height, left, height, width
            found = Box(box.x + left, box.y + top, width, height)
            rows.setdefault(tuple(cells[1:5]), []).append((cells[11], found))
        return sorted((Line(tuple(words)) for words in rows.values()), key=lambda line: line.words[0][1].y)

    def look(self, wanted: str, box: Box | None = None, *, turned: bool = False) -> list[Box]:
        """Every place where these words stand now, from top to bottom; only lines of these words alone, if any."""
        found = [(line, place) for line in self.read(box, turned=turned) if (place := line.find(wanted)) is not None]
        alone = [place for line, place in found if len(plain(line.text)) <= len(plain(wanted)) + 2]
        return alone or [place for _, place in found]

    def see(
        self,
        wanted: str,
        box: Box | None = None,
        *,
        seconds: float = 20.0,
        number: int = 0,
        turned: bool = False,
    ) -> Box:
        """Where these words stand, waited for. number: which of several, from the top; -1 is the last.

        Raises ScreenError with what was read instead.
        """
        end = time.monotonic() + seconds
        while True:
            found = self.look(wanted, box, turned=turned)
            if len(found) > (number if number >= 0 else ~number):
                return found[number]
            if time.monotonic() > end:
                read = "\n".join(f"  {line.text}" for line in self.read(box, turned=turned))
                raise ScreenError(f'"{wanted}" is not to be seen. What is to be seen:\n{read}')
            time.sleep(0.3)

    # -- hands

    def point(self, place: Box | tuple[int, int]) -> None:
        """Move the mouse, in two steps as a hand would: Blender's buttons light up on the first.

        The window under it gets the keyboard, as a window manager would have it: there is none on this screen, and
        Blender takes the first click into a window without the keyboard for nothing but the wish to have it.
        """
        x, y = place.middle if isinstance(place, Box) else place
        self._do("mousemove", x - 3, y - 2, "sleep", "0.08", "mousemove", x, y, "sleep", "0.1")
        self._focus()
        self.settle()

    def _focus(self) -> None:
        """Give the window under the mouse the keyboard."""
        window = self._under_mouse()[1]
        if window != self._focused:
            self._do("windowfocus", window, "sleep", "0.3", "mousemove_relative", "1", "0")
            self._focused = window

    def _under_mouse(self) -> tuple[Box, int]:
        """Where the mouse is, and in which window."""
        shown = _call(["xdotool", "getmouselocation", "--shell"], self._environment()).decode()
        values = dict(row.split("=") for row in shown.split() if "=" in row)
        return Box(int(values["X"]), int(values["Y"]), 1, 1), int(values["WINDOW"])

    def click(self, place: Box | tuple[int, int], *, button: int = 1, times: int = 1) -> None:
        self.point(place)
        self._do("click", "--repeat", times, "--delay", 60, button)
        self.settle()

    def press(self, wanted: str, box: Box | None = None, *, number: int = 0, seconds: float = 20.0) -> Box:
        """Click on these words and take the mouse off again, so that no tooltip covers what comes."""
        place = self.see(wanted, box, number=number, seconds=seconds)
        self.click(place)
        self.rest()
        return place

    def rest(self) -> None:
        """Let the mouse lie at the lower edge of the window that it is in, where it is in nobody's way."""
        self._focus()
        mouse, _ = self._under_mouse()
        window = [box for box in self.windows().values() if mouse.within(box)][-1]
        x, y = window.x + window.width // 2, window.y + window.height - 8
        self._do("mousemove", x - 5, y, "sleep", "0.15", "mousemove", x, y)
        self.settle()

    def key(self, *keys: str, times: int = 1) -> None:
        """Press keys one after the other, each as xdotool names it: "ctrl+z", "Escape"."""
        for name in keys:
            self._do("key", "--delay", 40, *[name] * times)
            self.settle()

    def type(self, text: str) -> None:
        self._do("type", "--delay", 25, "--", text)
        self.settle()

    def scroll(self, place: Box | tuple[int, int], clicks: int) -> None:
        """Turn the mouse wheel: down for positive numbers."""
        self.point(place)
        self._do("click", "--repeat", abs(clicks), "--delay", 60, 5 if clicks > 0 else 4)
        self.settle()

    # -- windows

    def windows(self) -> dict[int, Box]:
        """The windows to be seen, by X's number, in the order in which they were made."""
        found: dict[int, Box] = {}
        numbers = subprocess.run(
            ["xdotool", "search", "--onlyvisible", "--class", "."],
            env=self._environment(),
            capture_output=True,
            text=True,
        )
        for number in sorted(int(word) for word in numbers.stdout.split()):
            shown = _call(["xdotool", "getwindowgeometry", "--shell", str(number)], self._environment()).decode()
            values = dict(row.split("=") for row in shown.split() if "=" in row)
            found[number] = Box(*(int(values[key]) for key in ("X", "Y", "WIDTH", "HEIGHT")))
        return found

    def bring_in(self, window: int) -> None:
        """Move a window that was put partly outside the screen into it, as a window manager does."""
        box = self.windows()[window]
        x = max(0, min(box.x, self.whole.width - box.width))
        y = max(0, min(box.y, self.whole.height - box.height))
        if (x, y) != (box.x, box.y):
            self._do("windowmove", window, x, y)
        self.settle()

    def raise_first(self) -> None:
        """Bring the window that was there first before the others, as a click on it does elsewhere."""
        self._do("windowraise", min(self.windows()))
        self.settle()

    def shut(self, window: int) -> None:
        """Close a window as the cross in its frame does: a message to the program, which may ask back."""
        with _server(self.display) as (x11, display):
            message = _ClientMessage(type=33, window=window, format=32)
            message.message_type = x11.XInternAtom(display, b"WM_PROTOCOLS", 0)
            message.data[0] = x11.XInternAtom(display, b"WM_DELETE_WINDOW", 0)
            x11.XSendEvent(display, window, 0, 0, ctypes.byref(message))
        self.settle()

    def _do(self, *words: object) -> None:
        _call(["xdotool", *(str(word) for word in words)], self._environment())

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "DISPLAY": getattr(self, "display", ""), "OMP_THREAD_LIMIT": "1"}


@contextlib.contextmanager
def _server(name: str) -> Iterator[tuple[ctypes.CDLL, int]]:
    """Xlib, and a connection to the X server."""
    x11 = ctypes.CDLL("libX11.so.6")
    x11.XOpenDisplay.restype = ctypes.c_void_p
    x11.XInternAtom.restype = ctypes.c_ulong
    x11.XInternAtom.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
    x11.XSendEvent.argtypes = [ctypes.c_void_p, ctypes.c_ulong, ctypes.c_int, ctypes.c_long, ctypes.c_void_p]
    x11.XCloseDisplay.argtypes = [ctypes.c_void_p]
    display = x11.XOpenDisplay(name.encode())
    if not display:
        raise ScreenError(f"The X server {name} does not answer.")
    try:
        yield x11, display
    finally:
        x11.XCloseDisplay(display)


class _ClientMessage(ctypes.Structure):
    """XClientMessageEvent, with the room that X keeps for any event."""

    _fields_ = [
        ("type", ctypes.c_int),
        ("serial", ctypes.c_ulong),
        ("send_event", ctypes.c_int),
        ("display", ctypes.c_void_p),
        ("window", ctypes.c_ulong),
        ("message_type", ctypes.c_ulong),
        ("format", ctypes.c_int),
        ("data", ctypes.c_long * 5),
        ("room", ctypes.c_long * 24),
    ]


def _call(command: list[str], environment: dict[str, str], given: bytes | None = None) -> bytes:
    """Run one of the tools; what it printed. Raises ScreenError with its own words."""
    try:
        done = subprocess.run(command, env=environment, input=given, capture_output=True, timeout=60)
    except FileNotFoundError as error:
        raise ScreenError(f"{command[0]} is not installed.") from error
    except subprocess.TimeoutExpired as error:
        raise ScreenError(f"{command[0]} did not end within a minute.") from error
    if done.returncode:
        raise ScreenError(f"{' '.join(command)} failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout
