"""The add-on's words can be translated, and its catalogues hold what they should and touch nothing else."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator

import blenderwords
import bpy
import msgids
import pytest
from recorder import Recorder

import mgpt3_blender
from mgpt3_blender import i18n, panels, results, upkeep
from mgpt3_blender.mannequin import create_mannequin

SAME = {"MotionGPT3", "CUDA", "CPU"}


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    mgpt3_blender.register()
    yield
    mgpt3_blender.unregister()


@pytest.fixture(scope="module", params=sorted(i18n.catalogues()))
def catalogue(request: pytest.FixtureRequest) -> dict[str, dict[str, str]]:
    return i18n.catalogues()[request.param]


def fields(text: str) -> list[str]:
    return sorted(f"{name}:{form}" for _, name, form, _ in string.Formatter().parse(text) if name is not None)


def test_a_catalogue_holds_texts_of_the_add_on(catalogue: dict[str, dict[str, str]]) -> None:
    known = msgids.collect().known
    assert len(known) > 700
    assert set(catalogue) == {"*", i18n.CONTEXT}
    for words in catalogue.values():
        for english, translated in words.items():
            assert english in known, f"no longer shown: {english}"
            assert translated.strip(), english
            assert fields(english) == fields(translated), english
            own = re.sub(r"\{\d+\}", "", english)  # what a pattern is known by
            assert own == english or sum(letter.isalpha() for letter in own) >= 6, english
            assert english.endswith(".") == translated.endswith("."), english


def test_words_of_blenders_own_are_left_to_it(catalogue: dict[str, dict[str, str]]) -> None:
    """They would read otherwise all over Blender; where ours must differ, they stand in a context of their own."""
    own = blenderwords.words()
    assert {"Remove", "Duration", "Search"} <= own
    assert not set(catalogue["*"]) & own
    assert not set(catalogue["*"]) & set(catalogue[i18n.CONTEXT])


def test_what_is_drawn_can_be_translated() -> None:
    """No text of a panel, a button or its message is put together where a catalogue cannot reach it."""
    composed = [(where, code) for where, code, error in msgids.collect().composed if not error]
    names = [f"mgpt3_blender/{name}" for name in msgids.INSIDE]
    assert [(where, code) for where, code in composed if where.startswith(tuple(names))] == []


def test_the_first_panel_is_complete_in_german() -> None:
    """Each text that it draws, and each tooltip, is in the catalogue or is a word of Blender's."""
    held = {word for part in i18n.catalogues()["de"].values() for word in part} | blenderwords.words() | SAME
    texts = msgids.Texts()
    msgids.of_classes(texts, ("panels", "properties", "generatepresets", "operators.generate"))
    assert len(texts.known) > 40
    assert set(texts.known) - held == set()
    drawn = Recorder()
    panel = type("Panel", (), {"layout": drawn, "_draw_action": panels.MGPT3_PT_generate._draw_action})()
    panels.MGPT3_PT_generate.draw(panel, bpy.context)
    character = create_mannequin(bpy.context)
    character.animation_data_create().action = action = bpy.data.actions.new("walk")
    for name, value in ((results.PROMPT, "a person walks"), (results.SEED, 3)):
        action[name] = value
    results.remember(character, [action])
    panels.MGPT3_PT_results.draw(type("Panel", (), {"layout": drawn})(), bpy.context)
    constant = {text for text in drawn.texts if any(letter.isalpha() for letter in text)} - {'"a person walks"'}
    assert "0.0 s, seed 3" in constant
    model = {upkeep.view.model.name, upkeep.view.model.use.capitalize()} if upkeep.view.model else set()
    assert constant - held - model == {"0.0 s, seed 3"}


def test_a_sentence_is_filled_in_after_it_was_looked_up() -> None:
    assert i18n.say("{seconds:.1f} s, seed {seed}", seconds=2.54, seed=7) == "2.5 s, seed 7"
    assert i18n.say("It says {words}", words="{not a field}") == "It says {not a field}"
    assert i18n.tip("Delete {folder}", folder="x") == "Delete x"


MESSAGES = {
    "Choose 0 to 2147483647.": "Wählen Sie 0 bis 2147483647.",
    'The character "Mr. {X}" was deleted while its motion was being made.': None,
    "Motion on Rain: frames 1 to 97, bones within 0.4° on average. The scene plays frames 1 to 50 only.": None,
}


def test_a_message_is_found_by_its_pattern(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wheels know one language only, so Blender's part is played here by a look-up in the catalogue."""
    for message in (*MESSAGES, "", "nothing that is known", "{0} {1", "100 %"):
        assert i18n.told(message) == message  # in English all stays as it was made
    held = {key: value for part in i18n.catalogues()["de"].values() for key, value in part.items()}
    monkeypatch.setattr(i18n, "_found", lambda look_up, words: held.get(words, words))
    for message, expected in MESSAGES.items():
        german = i18n.told(message)
        assert german != message
        assert expected is None or german == expected
        for value in ("Mr. {X}", "Rain", "0.4", "97", "50"):
            assert (value in message) == (value in german)
    assert i18n.told("nothing that is known") == "nothing that is known"


def test_german_in_a_blender_with_languages() -> None:
    if not bpy.app.build_options.international:
        pytest.skip("this Blender has no languages: run `blender -b --factory-startup --python tests/german.py`")
    import german

    mgpt3_blender.unregister()
    german.switch()
    assert not german.changed()  # registers
    assert all(words != shown for words, shown in german.panel().items() if words not in german.SAME)
