"""Prompts in words that the model never met: said so, and replaced by the nearest caption."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from rpc_client import QUICK, Client
from said_differently import LITERAL, NONSENSE, SAID
from tiny_model import make_tiny_model

import core.__main__ as cli
from core.errors import CoreError
from core.language.known import Known, write_known
from core.language.words import named, plain, rephrase, stem
from core.model.checkpoint import BUNDLED, load_model
from core.model.motiongpt3 import MotionGPT3
from core.tasks.generate import generate
from core.tasks.understand import Understood, interpret, understand, unknown_words

CAPTIONS = [
    "a person walks forward",
    "a person walks backward",
    "someone walks forward slowly",
    "a person raises the left hand up",
    "a person raises the right hand up",
    "a person raises both hands up",
    "a person walks and turns left",
    "a person walks and turns right",
    "a person kicks twice in a row",
    "a person kicks",
    "a person falls down to the ground",
    "a person crawls forward",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that says what it was trained on."""
    folder = make_tiny_model(tmp_path_factory.mktemp("model") / "tiny", Path(sys.executable))
    write_known(folder, CAPTIONS)
    return folder


@pytest.fixture(scope="module")
def known_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("known")
    write_known(folder, [*CAPTIONS, "A person walks  forward.", *CAPTIONS])
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> MotionGPT3:
    return load_model(folder, "cpu")


@pytest.fixture(scope="module")
def known(known_folder: Path) -> Known:
    found = Known.load(known_folder)
    assert found is not None
    return found


def test_words() -> None:
    same = [
        "walk walks walked walking", "run runs ran running", "carry carries carried carrying", "hop hops hopping",
        "dance dances danced dancing", "kick kicks kicked kicking", "forward forwards", "push pushes pushed pushing",
        "throw threw thrown throws", "foot feet", "box boxes boxing",
    ]  # fmt: skip
    for forms in same:
        assert len({stem(w) for w in forms.split()}) == 1, forms
    assert len({stem(w) for w in ("walk", "wave", "left", "kick", "kneel", "turn", "run", "bring", "bow", "box")}) == 10
    assert stem("speed") == stem("speeds")
    assert stem("spring") == stem("springs")
    assert plain("The man walks.") == plain("he walks") == plain("Someone who is  walks") == "a person walks"
    assert plain("a zombie walks") == "a zombie walks"
    assert rephrase("he ambles onward", frozenset({"walk"})) == "he walks forward"
    assert rephrase("he walks on all fours", frozenset({"walk"})) == "he walks crawls on hands and knees"


@pytest.mark.parametrize(
    ("text", "side", "way", "count"),
    [
        ("turns counterclockwise", "left", "", ""),
        ("turns clockwise", "right", "", ""),
        ("raises both hands, then the left leg", "both left", "", ""),
        ("puts her hands up", "both", "", ""),
        ("a right-handed person steps back twice", "", "backward", "2"),
        ("walks ahead, then back and forth", "", "forward backward", ""),
        ("bows with a bent back", "", "", ""),
        ("jumps three times and turns around", "", "", "3 180"),
    ],
)
def test_what_a_sentence_names(text: str, side: str, way: str, count: str) -> None:
    got = named(text)
    assert (got["side"], got["way"], got["count"]) == tuple(frozenset(x.split()) for x in (side, way, count))


def test_what_is_written_comes_back(known_folder: Path, known: Known) -> None:
    assert known.captions == sorted(CAPTIONS)  # distinct, tidy
    assert known.vectors.shape == (12, 384)
    assert np.allclose(np.linalg.norm(known.vectors, axis=1), 1, atol=0.01)
    assert json.loads((known_folder / "known.json").read_text())["captions"] == known.captions
    assert (known_folder / "known.safetensors").stat().st_size < 12 * 400 + 300


def test_vectors_of_another_encoder_are_made_anew(known: Known, tmp_path: Path) -> None:
    write_known(tmp_path, CAPTIONS)
    text = (tmp_path / "known.json").read_text()
    (tmp_path / "known.json").write_text(re.sub(r'"encoder": "[^"]*"', '"encoder": "older"', text))
    from safetensors.numpy import load_file, save_file

    stored = load_file(tmp_path / "known.safetensors")
    save_file({k: np.zeros_like(v) for k, v in stored.items()}, tmp_path / "known.safetensors")
    again = Known.load(tmp_path)
    assert again is not None
    assert np.abs(again.vectors - known.vectors).max() < 0.01


@pytest.mark.parametrize("harm", ["json", "captions", "missing", "weights"])
def test_a_broken_list_is_a_clear_error(harm: str, tmp_path: Path) -> None:
    write_known(tmp_path, CAPTIONS)
    if harm == "json":
        (tmp_path / "known.json").write_text("{")
    elif harm == "captions":
        (tmp_path / "known.json").write_text('{"encoder": "x", "captions": ["a"]}')
    elif harm == "missing":
        (tmp_path / "known.safetensors").unlink()
    else:
        (tmp_path / "known.safetensors").write_bytes(b"no")
    with pytest.raises(CoreError) as caught:
        Known.load(tmp_path)
    assert caught.value.code == "known_broken"
    assert caught.value.remedy
    with pytest.raises(CoreError, match="caption"):
        write_known(tmp_path, ["  "])


@pytest.mark.parametrize(
    ("prompt", "used"),
    [
        ("a person walks forward", "a person walks forward"),
        ("A person  walks forward.", "a person walks forward"),
        ("someone is walking backwards", "someone is walking backwards"),
        ("walk and turn left", "walk and turn left"),
        ("he kicked and then crawled forward", "he kicked and then crawled forward"),
    ],
)
def test_known_words_are_taken_as_typed(known: Known, prompt: str, used: str) -> None:
    got = interpret(known, prompt)
    assert (got.prompt_used, got.note, got.kind) == (used, "", "as typed")


@pytest.mark.parametrize(
    ("prompt", "used"),
    [
        ("an officer hoists his left palm", "a person raises the left hand up"),
        ("an officer hoists his right palm", "a person raises the right hand up"),
        ("surrender with both palms in the sky", "a person raises both hands up"),
        ("wandering backwards", "a person walks backward"),
        ("march and veer clockwise", "a person walks and turns right"),
        ("march and veer counterclockwise", "a person walks and turns left"),
        ("boots the ball two times", "a person kicks twice in a row"),
    ],
)
def test_unknown_words_are_understood_with_their_side_way_and_count(known: Known, prompt: str, used: str) -> None:
    got = interpret(known, prompt)
    assert got.prompt_used == used
    assert got.kind in ("understood as", "closest known")
    assert got.note.endswith(": " + used)


def test_far_from_everything_says_so(known: Known) -> None:
    for prompt in NONSENSE:
        got = interpret(known, prompt)
        assert got.kind == "closest known", (prompt, got)
        assert got.note == f"closest thing I know: {got.prompt_used}"
    for prompt in ("the left", "he is doing it"):  # words of captions, which say nothing by themselves
        assert unknown_words(known, prompt) == []
        assert interpret(known, prompt).kind == "closest known"


def test_the_bundled_models_words() -> None:
    """Most prompts of the list mean what they say to the bundled model; thresholds were chosen on this very list."""
    known = Known.load(BUNDLED)
    assert known is not None
    read = [interpret(known, prompt) for prompt, _ in SAID]
    right = [bool(re.search(pattern, r.prompt_used)) for r, (_, pattern) in zip(read, SAID, strict=True)]
    assert np.mean(right) > 0.85, [p for (p, _), ok in zip(SAID, right, strict=True) if not ok]
    understood = [ok for ok, r in zip(right, read, strict=True) if r.kind == "understood as"]
    assert len(understood) > 0.5 * len(SAID)
    assert np.mean(understood) > 0.9
    for prompt in LITERAL:
        assert interpret(known, prompt).kind == "as typed", prompt
    for prompt in NONSENSE:
        assert interpret(known, prompt).kind == "closest known", prompt


def test_generate_applies_it_and_says_so(model: MotionGPT3) -> None:
    told: list[Understood] = []
    make = lambda prompt, **options: generate(model, prompt, 1.0, 7, steps=3, told=told.append, **options)[0]  # noqa: E731
    known, typed, literal = (
        make("a person walks backward"), make("somebody strolled  backwards leisurely"),
        make("somebody strolled  backwards leisurely", literal=True),
    )  # fmt: skip
    assert np.array_equal(known, typed)  # the same words reach the model, bit for bit
    assert not np.array_equal(known, literal)
    assert np.array_equal(known, make("a person walks backward", literal=True))
    assert [t.kind for t in told[:3]] == ["as typed", "understood as", "as typed"]
    assert told[1].prompt_used == "a person walks backward"
    assert told[2].prompt_used == "somebody strolled backwards leisurely"


def test_a_model_that_does_not_say_is_taken_literally(model: MotionGPT3, tmp_path: Path) -> None:
    other = load_model(make_tiny_model(tmp_path / "tiny", Path(sys.executable)), "cpu")
    assert understand(other, "Photosynthesis.") == Understood("Photosynthesis.")
    assert understand(model, "Photosynthesis.").kind == "closest known"
    a, b = (generate(m, "Photosynthesis.", 1.0, 7, steps=2, literal=True)[0] for m in (model, other))
    assert np.array_equal(a, b)


def test_over_the_wire(folder: Path) -> None:
    client = Client(folder)
    try:
        got = client.ask("generate", QUICK | {"prompt": "hoists his left palm", "steps": 2})["result"]
        assert got["prompt"] == "hoists his left palm"
        assert got["prompt_used"] == "a person raises the left hand up"
        assert got["note"] == f"{got['understood']}: a person raises the left hand up".replace(
            "closest known", "closest thing I know"
        )
        got = client.ask("generate", QUICK | {"prompt": "hoists his left palm", "steps": 2, "literal": True})["result"]
        assert (got["prompt_used"], got["understood"], got["note"]) == ("hoists his left palm", "as typed", "")
        assert "error" in client.ask("generate", QUICK | {"literal": "yes"})
    finally:
        client.process.kill()


def test_on_the_command_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*options: str) -> tuple[str, dict]:
        out = tmp_path / "x.json"
        words = ["generate", "wanders backwards", "--model", str(folder), "--steps", "2", "--seconds", "1"]
        assert cli.main([*words, "--seed", "1", "-o", str(out), *options]) == 0
        return capsys.readouterr().out, json.loads(out.read_text())["info"]

    said, info = run()
    assert "understood as: a person walks backward\n" in said
    assert (info["prompt"], info["prompt_used"]) == ("wanders backwards", "a person walks backward")
    said, info = run("--literal")
    assert "understood" not in said
    assert (info["prompt"], info["prompt_used"]) == ("wanders backwards", "wanders backwards")
