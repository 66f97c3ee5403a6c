"""Run by Blender at its start in the window test: answers questions, and keeps a record of its pauses.

A question is a file `ask-N.py` in the folder named on the command line: one Python expression, evaluated here in
Blender's main thread. Its answer is `answer-N.json`. Questions read; what is done is done by mouse and keyboard.
(Only the pictures of docs/ also prepare a scene, by `run`.)
A timer that should come every TICK seconds notes when it came late: that is how long the window stood still.
"""

import json
import os
import sys
import time
import traceback
from pathlib import Path

import bpy

TICK = 0.02
NOTED = 0.1  # seconds; a pause below it is none that anybody sees

FOLDER = Path(sys.argv[sys.argv.index("--") + 1])
_last = time.monotonic()
pauses: list[tuple[float, float]] = []
watched: list[object] = []
_watching = ""


def window(number: int = 0) -> bpy.types.Window:
    return bpy.context.window_manager.windows[number]


def region(area: str, kind: str, number: int = 0) -> list[int]:
    """x, y, width and height of a region, in the window's pixels from its top left corner."""
    place = window(number)
    for candidate in place.screen.areas:
        if candidate.type == area:
            found = next(r for r in candidate.regions if r.type == kind)
            return [found.x, place.height - found.y - found.height, found.width, found.height]
    raise LookupError(f"no {area}")


def active_tab() -> str:
    """The tab that the first 3D view's sidebar shows; empty where it shows none yet."""
    areas = [area for area in window().screen.areas if area.type == "VIEW_3D"]
    return next(r for r in areas[0].regions if r.type == "UI").active_panel_category


def addon(name: str) -> object:
    """A module of the add-on, as installed."""
    return sys.modules[next(key for key in sys.modules if key.endswith(f"mgpt3_blender.{name}"))]


def run(source: str) -> str:
    """Prepare a scene for a picture."""
    exec(source, _names)
    return ""


def watch(expression: str) -> list[object]:
    """Note each new value of an expression from now on, every TICK; returns those noted before."""
    global _watching
    _watching, noted = expression, list(watched)
    watched.clear()
    return noted


_names = {
    "bpy": bpy,
    "window": window,
    "region": region,
    "addon": addon,
    "pauses": pauses,
    "run": run,
    "time": time,
    "watch": watch,
    "active_tab": active_tab,
}


def answer() -> float:
    global _last
    now = time.monotonic()
    if now - _last > NOTED:
        pauses.append((_last, now - _last))
    _last = now
    if _watching and [value := eval(_watching, _names)] != watched[-1:]:
        watched.append(value)
    for question in FOLDER.glob("ask-*.py"):
        text = question.read_text(encoding="utf-8")
        question.unlink()
        try:
            told = {"value": eval(text, _names)}
            json.dumps(told)
        except Exception:
            told = {"error": traceback.format_exc()}
        part = question.with_suffix(".part")
        part.write_text(json.dumps(told), encoding="utf-8")
        os.replace(part, FOLDER / f"{question.stem.replace('ask', 'answer')}.json")
    return TICK


bpy.app.timers.register(answer, first_interval=0.5, persistent=True)
