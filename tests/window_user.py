"""What a user does with the add-on: opens its preferences, its tab, its sub-panels; types; presses."""

from __future__ import annotations

import time

from window_screen import Box, ScreenError
from window_session import Session

TAB = "MotionGPT3"


class User:
    """Somebody at the screen of a session."""

    def __init__(self, session: Session) -> None:
        self.session, self.screen = session, session.screen

    # -- Blender

    @property
    def unit(self) -> float:
        """The height of a button in pixels, at the user's resolution scale."""
        return 20 * self.session.ask("bpy.context.preferences.system.ui_scale")

    @property
    def menus(self) -> Box:
        """The row of menus at the top of the first window."""
        return Box(0, 0, self.screen.whole.width, round(1.5 * self.unit))

    def start_work(self) -> None:
        """Leave the first-time questions and the splash screen behind."""
        whole = self.screen.whole
        middle = Box(whole.width // 4, whole.height // 2, whole.width // 2, whole.height // 3)
        if self.screen.look("Continue", middle):
            self.screen.press("Continue", middle)
        self.screen.key("Escape")

    def choose(self, *path: str) -> None:
        """Choose from a menu of the first window: its name, then the entry."""
        self.screen.click(self.screen.see(path[0], self.menus))
        for entry in path[1:]:
            self.screen.click(self.screen.see(entry, self._below_menu()))
        self.screen.rest()

    def _below_menu(self) -> Box:
        whole = self.screen.whole
        return Box(0, self.menus.height, whole.width // 2, whole.height * 2 // 3)

    def point_at_view(self) -> None:
        """Put the mouse over the 3D view, whose keys are meant then."""
        view = self.session.region(kind="WINDOW")
        self.screen.point((view.x + view.width // 3, view.y + view.height // 2))

    def choose_here(self, *entries: str) -> None:
        """Choose from a menu that has opened over the 3D view."""
        for entry in entries:
            self.screen.click(self.screen.see(entry, self.session.region(kind="WINDOW")))
        self.point_at_view()

    def go_to_frame(self, frame: int) -> None:
        """By the keys of the timeline: to the first frame, then on one by one."""
        self.point_at_view()
        self.screen.key("shift+Left")
        self.screen.key("Right", times=frame - 1)
        self.session.wait(f"bpy.context.scene.frame_current == {frame}", seconds=20)

    def new_file(self) -> None:
        """File > New > General, and no, the changes need not be saved."""
        self.point_at_view()
        self.screen.key("ctrl+n")
        self.choose_here("General")
        self.screen.click(self.screen.see("Don't Save"))
        self.screen.rest()

    # -- the preferences

    def open_preferences(self) -> Box:
        """The add-ons page of Blender's preferences, in a window of its own; where that window is."""
        before = set(self.screen.windows())
        self.choose("Edit", "Preferences")
        window = self.new_window(before)
        self.screen.press("Add-ons", window)
        return window

    def new_window(self, before: set[int]) -> Box:
        """Where the window is that was not there before, waited for. Raises ScreenError."""
        end = time.monotonic() + 15
        while time.monotonic() < end:
            new = [number for number in self.screen.windows() if number not in before]
            if new:
                self.screen.bring_in(new[-1])
                return self.screen.windows()[new[-1]]
            time.sleep(0.2)
        raise ScreenError("No window has opened.")

    def close_window(self) -> None:
        """Close the window that was opened last."""
        before = self.screen.windows()
        self.screen.shut(list(before)[-1])
        end = time.monotonic() + 10
        while len(self.screen.windows()) >= len(before):
            if time.monotonic() > end:
                raise ScreenError("The window does not close.")
            time.sleep(0.1)

    def tick_left_of(self, words: str, box: Box, buttons: float = 0.5) -> None:
        """Click what is left of these words without words of its own, so many button widths away: a check box, an
        arrow."""
        place = self.screen.see(words, box)
        self.screen.click((round(place.x - buttons * self.unit), place.middle[1]))
        self.screen.rest()

    def fill(self, label: Box, text: str, box: Box) -> None:
        """Type into the field in the row of a label, which takes the right part of its panel."""
        self.type_into((box.x + box.width * 3 // 4, label.middle[1]), text)

    def type_into(self, place: Box | tuple[int, int], text: str) -> None:
        """Replace what a field says."""
        self.screen.click(place, times=2)
        self.screen.key("ctrl+a")
        self.screen.type(text)
        self.screen.key("Return")
        self.screen.rest()

    # -- the panel

    @property
    def panel(self) -> Box:
        """The sidebar without its tabs."""
        region = self.session.region()
        return Box(region.x, region.y, region.width - round(1.1 * self.unit), region.height)

    def open_tab(self) -> None:
        """Open the sidebar by its key and the add-on's tab by a click on it."""
        self.point_at_view()
        if self.session.region().width < 10:
            self.screen.key("n")
        elif self.session.ask("active_tab()") == TAB:
            return  # a click on the tab that is shown folds the sidebar
        region = self.session.region()
        tabs = Box(region.x + region.width - round(1.2 * self.unit), region.y, round(1.2 * self.unit), region.height)
        self.screen.click(self.screen.see(TAB, tabs, turned=True))
        self.screen.rest()

    def press(self, words: str, box: Box | None = None, *, number: int = 0, seconds: float = 10.0) -> Box:
        """Press a button of the panel, or of what else is in the box, scrolling to it where it is not to be seen."""
        place = self.find(words, box, number=number, seconds=seconds)
        self.screen.click(place)
        self.screen.rest()
        return place

    def right_of(self, label: str) -> Box:
        """The field in the row of a label."""
        place, panel = self.find(label), self.panel
        return Box(panel.x + panel.width * 6 // 10, place.y, panel.width * 2 // 10, place.height)

    def open_part(self, name: str) -> None:
        """Unfold a sub-panel, or fold it, and bring it up."""
        self.press(name)
        self.bring_up(name)

    def bring_up(self, name: str) -> None:
        """Scroll until a sub-panel's title is at the top, or the panel's end is reached."""
        before = -1
        for _ in range(20):
            found = self.screen.look(name, self.panel)
            if not found or found[0].y == before or found[0].y < self.panel.y + 3 * self.unit:
                break
            before = found[0].y
            self.screen.scroll(self.panel, 1 + round((before - self.panel.y - 2 * self.unit) / (4 * self.unit)))
            self.screen.rest()

    def find(self, words: str, box: Box | None = None, *, number: int = 0, seconds: float = 10.0) -> Box:
        """Where words stand in the panel, or else in the box, after scrolling to them. Raises ScreenError."""
        end = time.monotonic() + seconds
        scrolled = 0
        while True:
            seen = box or self.panel
            found = self.screen.look(words, seen)
            if len(found) > (number if number >= 0 else ~number):
                return found[number]
            if time.monotonic() > end and scrolled >= 11:
                self.session.shot("not_found")
                read = "\n".join(f"  {line.text}" for line in self.screen.read(seen))
                raise ScreenError(f'"{words}" is not there. What is there:\n{read}')
            self.screen.scroll(seen, -60 if scrolled % 6 == 5 else 5)
            self.screen.rest()
            scrolled += 1
