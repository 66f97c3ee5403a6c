"""German in a Blender that has languages, which the wheels of PyPI have not.

    blender -b --factory-startup --python tests/german.py

Says what the first panel's words are, and exits 1 where one stayed English or a word of Blender's own has changed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import blenderwords  # noqa: E402
import bpy  # noqa: E402

import mgpt3_blender  # noqa: E402
from mgpt3_blender import i18n  # noqa: E402

SAME = {"Prompt", "MotionGPT3"}
"""Words that are German, too."""


def switch() -> None:
    """Show the interface in German."""
    view = bpy.context.preferences.view
    view.language = next(code for code in ("de", "de_DE") if code in bpy.app.translations.locales)
    view.use_translate_interface = view.use_translate_tooltips = True


def changed() -> dict[str, tuple[str, str]]:
    """Words of Blender's that read otherwise with the add-on."""
    look_up = bpy.app.translations.pgettext_iface
    words = [(word, context) for word in blenderwords.words() if word for context in ("*", "Operator")]
    before = {key: look_up(*key) for key in words}
    mgpt3_blender.register()
    return {word: (before[word, c], look_up(word, c)) for word, c in words if before[word, c] != look_up(word, c)}


def panel() -> dict[str, str]:
    """The first panel's labels and tooltips, in the language of the interface."""
    look_up, tip = bpy.app.translations.pgettext_iface, bpy.app.translations.pgettext_tip
    found = {}
    for prop in bpy.context.scene.mgpt3.bl_rna.properties:
        if prop.identifier not in ("rna_type", "name"):
            found[prop.name] = look_up(prop.name, prop.translation_context)
            found[prop.description] = tip(prop.description)
    for words in ("Generate", "Add Mannequin and Generate"):
        found[words] = i18n.say(words)
    found["{seconds:.1f} s, seed {seed}"] = i18n.say("{seconds:.1f} s, seed {seed}", seconds=2.5, seed=7)
    for message in ("The prompt is empty. Type what the character should do.", "Choose 0 to 5."):
        found[message] = i18n.told(message)
    return found


def main() -> int:
    switch()
    other = changed()
    shown = panel()
    english = [words for words, german in shown.items() if words == german and words not in SAME]
    for words, german in shown.items():
        print(f"{words} -> {german}")
    print(f"{len(shown)} texts; English: {english}; changed in Blender: {other}")
    mgpt3_blender.unregister()
    return 1 if english or other else 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
