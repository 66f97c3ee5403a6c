"""`python -m core generate | caption | …` and the files it writes and reads."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from motions import MOTIONS, jump, walk
from tiny_model import ROOT, make_tiny_model

import core.__main__ as cli
from core.bvh import write_bvh
from core.errors import CoreError
from core.features import canonicalise
from core.motionfile import TYPES, read_motion, write_motion
from core.skeleton import JOINTS


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model") / "tiny", Path(sys.executable))


def run(*words: object) -> int:
    return cli.main([str(word) for word in words])


def test_the_same_seed_gives_the_same_file(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    walk_for_two_seconds = ["generate", "a person walks", "--seconds", 2, "--model", model]
    for name, seed in (("a.bvh", 7), ("b.bvh", 7), ("c.bvh", 8)):
        assert run(*walk_for_two_seconds, "--seed", seed, "-o", tmp_path / name) == 0
    assert (tmp_path / "a.bvh").read_bytes() == (tmp_path / "b.bvh").read_bytes()
    assert (tmp_path / "c.bvh").read_bytes() != (tmp_path / "a.bvh").read_bytes()
    said = capsys.readouterr().out
    assert str(tmp_path / "a.bvh") in said
    assert "40 frames" in said
    assert "seed 7" in said


def test_the_kinds_of_file_hold_the_same_motion(model: Path, tmp_path: Path) -> None:
    for kind in TYPES:
        words = ["a person walks", "--seconds", 3, "--seed", 1, "--steps", 4, "--guidance", 1.5, "--model", model]
        assert run("generate", *words, "-o", tmp_path / f"clip{kind}") == 0
    with np.load(tmp_path / "clip.npz") as content:
        joints = content["joints"]
        assert joints.shape == (60, 22, 3)
        assert joints.dtype == np.float32
        assert list(content["names"]) == list(JOINTS)
        assert content["fps"] == 20
        info = json.loads(str(content["info"]))
    assert info["prompt"] == "a person walks"
    assert (info["seed"], info["seconds"], info["steps"], info["guidance"]) == (1, 3.0, 4, 1.5)
    assert info["licence"]
    raw = json.loads((tmp_path / "clip.json").read_text())
    assert raw["info"] == info
    assert np.allclose(raw["joints"], joints, atol=1e-5)
    assert len(read_motion(tmp_path / "clip.bvh")) == 60


def test_variations_are_files_of_their_own(model: Path, tmp_path: Path) -> None:
    out = ["--seconds", 1, "--steps", 3, "--model", model, "-o"]
    assert run("generate", "a person walks", "--seed", 5, "--variations", 2, *out, tmp_path / "clip.json") == 0
    assert run("generate", "a person walks", "--seed", 6, *out, tmp_path / "alone.json") == 0
    first, second = (json.loads((tmp_path / f"clip_{i}.json").read_text()) for i in (1, 2))
    assert (first["info"]["seed"], second["info"]["seed"]) == (5, 6)
    alone = json.loads((tmp_path / "alone.json").read_text())
    assert np.allclose(second["joints"], alone["joints"], atol=1e-4)


def test_several_prompts_in_a_row(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["sequence", "a person walks", "a person waves", "--seconds", 2, 1.5, "--model", model, "--seed", 4]
    assert run(*words, "-o", tmp_path / "both.json") == 0
    raw = json.loads((tmp_path / "both.json").read_text())
    assert len(raw["joints"]) == 70
    assert [(s["seed"], s["frame"]) for s in raw["info"]["segments"]] == [(4, 0), (5, 40)]
    assert "frame 40: a person waves" in capsys.readouterr().out
    way = tmp_path / "way.json"
    way.write_text("[[0, 0], [0, 2], [3, 2]]")
    assert run(*words, "--path", way, "--timed", "--after", tmp_path / "both.json", "-o", tmp_path / "on.npz") == 0
    assert len(read_motion(tmp_path / "on.npz")) == 71
    for wrong, said in (
        (["--seconds", 1, 2, 3], "2 prompts and 3 durations"),
        (["--path", tmp_path / "none.json"], "cannot be read"),
        (["--transition", 9], "transition"),
    ):
        assert run(*words, *wrong, "-o", tmp_path / "no.bvh") == 2
        assert said in capsys.readouterr().err
    way.write_text("[1, 2]")
    assert run(*words, "--path", way, "-o", tmp_path / "no.bvh") == 2
    assert not (tmp_path / "no.bvh").exists()


def test_a_motion_goes_on(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_motion(tmp_path / "clip.npz", walk(2.0))
    words = ["predict", tmp_path / "clip.npz", "--seconds", 1.5, "--model", model, "--seed", 1]
    assert run(*words, "-o", tmp_path / "longer.npz") == 0
    longer = read_motion(tmp_path / "longer.npz")
    assert len(longer) == 40 + 30
    assert np.allclose(np.diff(longer[:40], axis=0)[:, 0], np.diff(walk(2.0), axis=0)[:, 0], atol=0.02)
    assert run(*words, "--only-new", "-o", tmp_path / "new.npz") == 0
    assert len(read_motion(tmp_path / "new.npz")) == 30
    assert run(*words[:2], "--seconds", 99, "--model", model, "-o", tmp_path / "no.npz") == 2
    assert "0.2 to 9.6" in capsys.readouterr().err


def test_a_gap_is_filled(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = canonicalise(walk(3.0))
    write_motion(tmp_path / "clip.npz", clip)
    words = ["inbetween", tmp_path / "clip.npz", "--model", model, "--seed", 1]
    assert run(*words, "--first", 20, "--last", 30, "-o", tmp_path / "filled.npz") == 0
    filled = read_motion(tmp_path / "filled.npz")
    assert len(filled) == len(clip)
    assert np.abs(filled[21:30] - clip[21:30]).max() > 1e-4
    moved = filled - filled[0, 0] - (clip - clip[0, 0])  # the file is put on its own floor
    keep = np.r_[0:21, 30:60]
    assert np.abs(moved[keep]).max() < 1e-4
    for first, last in ((20, 21), (-1, 9), (20, 60)):
        assert run(*words, "--first", first, "--last", last, "-o", tmp_path / "no.npz") == 2
        assert "no gap" in capsys.readouterr().err


@pytest.mark.parametrize("kind", TYPES)
def test_caption(model: Path, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_motion(tmp_path / f"clip{kind}", walk())
    assert run("caption", tmp_path / f"clip{kind}", "--model", model) == 0
    assert len(capsys.readouterr().out.splitlines()) >= 1


@pytest.mark.parametrize("name", MOTIONS)
@pytest.mark.parametrize("kind", TYPES)
def test_files_round_trip(tmp_path: Path, name: str, kind: str) -> None:
    joints = MOTIONS[name]()
    write_motion(tmp_path / f"clip{kind}", joints, {"prompt": "ünïcode"})
    assert np.abs(read_motion(tmp_path / f"clip{kind}") - canonicalise(joints)).max() < 1e-4


def test_another_frame_rate_is_brought_to_20(tmp_path: Path) -> None:
    joints = jump()
    np.savez(tmp_path / "clip.npz", joints=np.repeat(joints, 3, axis=0), fps=60)
    assert len(read_motion(tmp_path / "clip.npz")) == len(joints)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["generate", "walk", "-o", "{tmp}/a.fbx"], ".bvh, .npz, .json"),
        (["generate", "walk", "-o", "{tmp}/none/a.bvh"], "no folder"),
        (["generate", "walk", "-o", "{tmp}/a.bvh", "--model", "{tmp}"], "config.json"),
        (["generate", "walk", "-o", "{tmp}/a.bvh", "--model", "{model}", "--seconds", "30"], "between 1 and 9.8"),
        (["generate", "walk", "-o", "{tmp}/a.bvh", "--model", "{model}", "--seconds", "nan"], "Choose between"),
        (["generate", " ", "-o", "{tmp}/a.bvh", "--model", "{model}"], "prompt is empty"),
        (["generate", "walk", "-o", "{tmp}/a.bvh", "--model", "{model}", "--seed", "-1"], "seed"),
        (["generate", "walk", "-o", "{tmp}/a.bvh", "--model", "{model}", "--variations", "0"], "variations"),
        (["generate", "walk", "-o", "{tmp}/a.bvh", "--model", "{model}", "--device", "toaster"], "toaster"),
        (["caption", "{tmp}/none.bvh"], "cannot be read"), (["caption", "{tmp}/none.npz"], "cannot be read"),
        (["caption", "{tmp}/short.bvh", "--model", "{model}"], "second"),
        (["caption", "{tmp}/words.bvh"], "BVH"), (["caption", "{tmp}/words.npz"], "no motion"),
        (["caption", "{tmp}/words.json"], "no motion"), (["caption", "{tmp}/dog.json"], "(frames, 22, 3)"),
        (["caption", "{tmp}/pickle.npz"], "no motion"),
    ],
)  # fmt: skip
def test_mistakes_get_one_line_with_a_remedy(
    words: list[str], said: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_bvh(tmp_path / "short.bvh", walk(0.4))
    for kind in TYPES:
        (tmp_path / f"words{kind}").write_text("only words")
    (tmp_path / "dog.json").write_text('{"joints": [[1, 2, 3]]}')
    np.savez(tmp_path / "pickle.npz", joints=np.array([{"a": 1}], dtype=object))
    assert run(*[word.format(tmp=tmp_path, model=model) for word in words]) == 2
    heard = capsys.readouterr().err.strip()
    assert heard.count("\n") == 0
    assert heard.startswith("error: ")
    assert said in heard
    assert not (tmp_path / "a.bvh").exists()


def test_verbose_shows_where_it_happened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("caption", tmp_path / "none.bvh", "--verbose") == 2
    assert "Traceback" in capsys.readouterr().err


def test_what_nobody_foresaw_is_one_line_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("the roof fell in")

    monkeypatch.setattr("core.motionfile.read_motion", fail)
    assert run("caption", tmp_path / "clip.bvh") == 2
    heard = capsys.readouterr().err
    assert "the roof fell in" in heard
    assert "Traceback" not in heard


def test_programs_of_their_own(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(cli.PROGRAMS, "evaluate", "core.there_is_no_such_module")
    assert run("evaluate", "--anything") == 2
    assert "cannot evaluate yet" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        run("train", "--help")
    assert caught.value.code == 0
    assert "python -m core train" in capsys.readouterr().out


def test_as_a_process(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "core", "caption", str(tmp_path / "none.bvh")], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_write_refuses_what_it_cannot_write(tmp_path: Path) -> None:
    for path, code in ((tmp_path / "a.txt", "file_type_unknown"), (tmp_path / "no" / "a.npz", "file_not_written")):
        with pytest.raises(CoreError) as caught:
            write_motion(path, walk())
        assert caught.value.code == code
