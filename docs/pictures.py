"""`build.py pictures`: the pictures of docs/ that show the interface, taken anew from a real window.

The same Blender, screen and hands as in the window test (tests/window_*.py). Scenes and preferences are prepared by
Python where making them by hand would show nothing; what a picture shows was pressed. The pictures hold only what a
panel shows, so no path of whoever takes them is in one.

The other pictures are made by the command that makes what they show (ELSEWHERE).
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from window_place import SUITES, Place, PlaceError, places, python_folders  # noqa: E402
from window_screen import Box, ScreenError  # noqa: E402
from window_session import Session, opened  # noqa: E402
from window_user import User  # noqa: E402

import build  # noqa: E402

PARTS = ["Motions", "Fill Between", "Sequence", "Continue and Loop", "Describe", "Library", "Search"]
PARTS += ["Result Check", "On the Character", "Bone Map"]
"""The sub-panels in their order."""
ELSEWHERE = {
    "contact_sheet.png": 'build.py demo "a person walks forward and waves"',
    "rigs.png": "build.py measure rigs DIR --sheets",
    "between.png": "python -m mgpt3_blender.gapsheet BUNDLE_DIR, in an environment with bpy",
}
"""Which command makes which of the other pictures."""

NEWEST = max(SUITES, key=float)
PROMPT = "a person walks forward and waves"
SENTENCES = ("a person walks forward", "a person waves the right hand", "a person jumps up")
BUSY = "addon('jobs').busy() or addon('library').view.run is not None or addon('search').view.run is not None"
PREFERENCES = "bpy.context.preferences.addons['bl_ext.user_default.mgpt3_blender'].preferences"
STAGE = """
for o in list(bpy.data.objects): bpy.data.objects.remove(o)
v = window(0)
area = next(a for a in v.screen.areas if a.type == 'VIEW_3D')
space = area.spaces.active
space.overlay.show_bones = False
"""
FRAMED = """
bpy.context.scene.frame_set(42)
character = bpy.data.objects['Mannequin']
space.region_3d.view_location = character.matrix_world @ character.pose.bones['hips'].head
space.region_3d.view_distance = 5
"""
LIBRARY = """
import os
mannequin = bpy.data.objects['Mannequin']
folder = os.path.join({folder!r}, 'lib')
os.makedirs(folder, exist_ok=True)
made = [a for a in bpy.data.actions if a.get('mgpt3_prompt')]
for number, action in enumerate(made):
    for key in list(action.keys()): del action[key]
    action.name = 'take_%03d' % (number + 1)
    action.use_fake_user = True
    if number == 0:
        action.asset_mark()
        action.asset_data.description = 'Hero kick, approved by Anna'
mannequin.animation_data.action = None
half = len(made) // 2
for name, part in (('moves_a', made[:half]), ('moves_b', made[half:])):
    bpy.data.libraries.write(os.path.join(folder, name + '.blend'), {{mannequin, *mannequin.children, *part}})
bpy.ops.wm.save_as_mainfile(filepath=os.path.join({folder!r}, 'shot.blend'))
bpy.context.scene.mgpt3_library.scope = 'FOLDER'
bpy.context.scene.mgpt3_library.folder = '//lib'
bpy.context.scene.mgpt3_search.folder = '//lib'
"""


class Photographer:
    """Takes the pictures of one session."""

    def __init__(self, session: Session, out: Path) -> None:
        self.session, self.screen, self.user, self.out = session, session.screen, User(session), out

    def prepare(self, source: str) -> None:
        self.session.ask(f"run({source!r})")
        self.screen.settle()

    def done(self, seconds: float = 180.0) -> None:
        time.sleep(0.5)
        self.session.wait(f"not ({BUSY})", seconds=seconds)
        time.sleep(0.7)  # the last redraw
        self.screen.settle()

    def take(self, name: str, box: Box) -> None:
        self.screen.rest()
        self.screen.capture(self.out / f"{name}.png", box)

    def generate(self, prompt: str, seconds: str, variations: str) -> None:
        self.prepare(
            f"s = bpy.context.scene.mgpt3; s.prompt, s.seconds, s.variations = {prompt!r}, {seconds}, {variations}"
        )
        self.user.press("Generate")
        self.done()

    def part(self, name: str, *presses: str, before: str = "") -> Box:
        """Unfold a sub-panel, press buttons in it; where it is on the screen, from its title to the next one."""
        self.user.open_part(name)
        if before:
            self.prepare(before)
        for words in presses:
            self.user.press(words, number=-1)
            self.done()
        self.user.bring_up(name)
        unit, panel = self.user.unit, self.user.panel
        following = PARTS[PARTS.index(name) + 1 :]
        lines = self.screen.read(panel)
        top = min(place.y for line in lines if (place := line.find(name)) is not None) - round(unit * 0.35)
        ends = [
            place.y for line in lines for other in following if (place := line.find(other)) and place.y > top + unit
        ]
        last = max(word.y + word.height for line in lines for _, word in line.words) + round(unit * 0.6)
        bottom = min(ends) - round(unit * 0.7) if ends else min(last, panel.y + panel.height)
        margin = round(unit * 0.45)  # of the view behind it
        return Box(panel.x + margin, top, panel.width - 2 * margin, bottom - top)

    def part_taken(self, picture: str, name: str, *presses: str, before: str = "") -> None:
        self.take(picture, self.part(name, *presses, before=before))
        self.screen.scroll(self.user.panel, -40)
        self.user.press(name)  # folds it again


def panel(p: Photographer) -> None:
    """The tab beside the character, three variations made."""
    p.prepare(STAGE)
    p.user.open_tab()
    p.prepare(f"bpy.context.scene.mgpt3.prompt = {PROMPT!r}; bpy.context.scene.mgpt3.variations = 3")
    p.prepare("bpy.context.scene.mgpt3.seed = 7")
    p.user.press("Add Mannequin and Generate")
    p.done()
    p.prepare(FRAMED)
    view, bar = p.session.region(kind="WINDOW"), p.session.region()
    right = bar.x + bar.width
    p.take("panel", Box(right - 1000, view.y, 1000, 700))
    p.prepare("bpy.context.scene.frame_set(1)")


def sequence(p: Photographer) -> None:
    lines = [f"i = q.segments.add(); i.prompt, i.seconds = {text!r}, 4" for text in SENTENCES]
    source = "\n".join(
        ["q = bpy.context.scene.mgpt3_sequence", "for _ in list(q.segments): q.segments.remove(0)", *lines]
    )
    p.part_taken("sequence", "Sequence", "Make Sequence", before=source)


def describe(p: Photographer) -> None:
    """The motion that the sequence made, in words."""
    p.part_taken("describe", "Describe", "Describe")


def result_check(p: Photographer) -> None:
    p.part_taken("result_check", "Result Check")


def bone_map(p: Photographer) -> None:
    p.part_taken("bone_map", "Bone Map")


def library(p: Photographer) -> None:
    """A folder of files with some motions, before they are described."""
    for prompt in ("a person runs forward", "a person kicks with the right leg"):
        p.generate(prompt, "3", "1")
    p.prepare(LIBRARY.format(folder=str(p.session.folder)))
    p.part_taken("library", "Library", "Preview")


def search(p: Photographer) -> None:
    """The files of that folder are indexed, then a question is typed."""
    p.user.open_part("Search")
    p.user.press("Index", number=-1)
    p.done()
    below = p.user.find("This File")
    p.user.type_into((p.user.panel.middle[0], round(below.y - p.user.unit)), "someone kicking")
    p.done()
    p.user.press("Search")
    p.part_taken("search", "Search")


def models(p: Photographer) -> None:
    """The list of models in the preferences."""
    window = p.user.open_preferences()
    p.user.tick_left_of("MotionGPT3", window, 1.7)
    for _ in range(12):
        found = p.screen.look("Models", window), p.screen.look("Shortcut", window)
        if all(found):
            break
        p.screen.scroll(window, 2)
        p.screen.rest()
    top, bottom = p.screen.see("Models", window), p.screen.see("Shortcut", window)
    left = round(top.x - 2.2 * p.user.unit)
    height = bottom.y - top.y
    p.take("models", Box(left, top.y - 8, window.x + window.width - left - 20, height - 4))
    p.user.close_window()


def setup(p: Photographer) -> None:
    """The set-up before it is pressed, in the preferences; `models` has unfolded the add-on's."""
    window = p.user.open_preferences()
    p.prepare(f"{PREFERENCES}.source = 'PRIVATE'")
    for _ in range(12):
        if p.screen.look("Python for", window) and p.screen.look("Copy Report", window):
            break
        p.screen.scroll(window, 2)
        p.screen.rest()
    top, bottom = p.screen.see("Python for", window), p.screen.see("Copy Report", window)
    left = round(top.x - 2.2 * p.user.unit)
    height = bottom.y - top.y
    p.take("setup", Box(left, top.y - 8, window.x + window.width - left - 20, round(height + 1.6 * p.user.unit)))
    p.prepare(f"{PREFERENCES}.source = 'EXISTING'")
    p.user.close_window()


STEPS: tuple[Callable[[Photographer], None], ...] = (
    panel,
    sequence,
    describe,
    result_check,
    bone_map,
    library,
    search,
    models,
    setup,
)


def take(place: Place, core: Path, out: Path = DOCS, only: tuple[str, ...] = ()) -> list[Path]:
    """Take the pictures in a Blender; which ones were written.

    Args:
        core: the Python that runs the core.
        only: names of pictures; the others are made to get there, and not kept.

    Raises ScreenError where something is not where it was.
    """
    with opened(place, python_folders(core), out) as session:
        kept = session.folder / "pictures"
        archive = build.build_zip(session.folder)
        session.command("--command", "extension", "install-file", "-r", "user_default", "-e", str(archive))
        session.start()
        photographer = Photographer(session, kept)
        photographer.user.start_work()
        photographer.prepare(f"p = {PREFERENCES}; p.source = 'EXISTING'; p.existing_python = {str(core)!r}")
        for step in STEPS:
            step(photographer)
        wanted = only or tuple(step.__name__ for step in STEPS)
        written = [picture for picture in sorted(kept.glob("*.png")) if picture.stem in wanted]
        return [Path(shutil.copyfile(picture, out / picture.name)) for picture in written]


def run(core: Path, blender: str | None = None, only: tuple[str, ...] = ()) -> int:
    """Take the pictures anew; the exit code.

    Args:
        core: the Python that runs the core.
        blender: a Blender of the user's own, or a series of Debian's; None: the newest of those.
        only: names of pictures (panel, describe, ...); none: all of them.
    """
    try:
        unknown = set(only) - {step.__name__ for step in STEPS}
        if unknown:
            raise PlaceError(f"There is no picture {', '.join(sorted(unknown))}.")
        for picture in take(places([blender or NEWEST])[0], core, DOCS, only):
            print(picture.relative_to(ROOT))
    except (PlaceError, ScreenError) as error:
        print(f"error: {error}")
        return 1
    print("made by other commands:", *(f"  {name}: {command}" for name, command in ELSEWHERE.items()), sep="\n")
    return 0
