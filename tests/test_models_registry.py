"""The list of models: what is in it, what cannot be used and why, what is remembered, and what removing deletes."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_model import make_tiny_model

from core.model.checkpoint import BUNDLED, WEIGHTS, load_model
from mgpt3_blender import setupbuild
from mgpt3_blender.errors import UserError
from mgpt3_blender.modelfolder import FILES, Model, licence_key, read_model, short_licence
from mgpt3_blender.models import Registry
from mgpt3_blender.modelwork import meant


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model") / "tiny", Path(sys.executable))


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "user é" / "models", WEIGHTS)


def copy(tiny: Path, folder: Path, **config: str) -> Path:
    """The tiny model in a folder of its own, with other words in its config."""
    shutil.copytree(tiny, folder)
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **config}), encoding="utf-8")
    return folder


def code(call: object, *arguments: object) -> str:
    with pytest.raises(UserError) as caught:
        call(*arguments)  # type: ignore[operator]
    assert caught.value.remedy
    return caught.value.code


def test_the_bundled_model_is_first_in_use_and_cannot_be_removed(registry: Registry) -> None:
    bundled = registry.models()[0]
    config = json.loads((BUNDLED / "config.json").read_text(encoding="utf-8"))
    assert (bundled.name, bundled.licence) == (config["name"], config["licence"])
    assert bundled.bundled
    assert not bundled.own
    assert not bundled.problem
    assert bundled.bytes == sum(file.stat().st_size for file in BUNDLED.iterdir())
    assert bundled.origin
    assert registry.in_use() == bundled
    assert bundled.use == "non-commercial"
    assert not bundled.asks
    assert code(registry.remove, bundled) == "model_bundled"
    assert not registry.home.exists()  # looking writes nothing


def test_a_second_bundled_model_is_listed_chosen_and_remembered_by_its_name(tiny: Path, tmp_path: Path) -> None:
    weights = tmp_path / "version 1" / "weights"
    free = copy(tiny, weights / "compact-commercial", name="Compact commercial", licence="CC BY 4.0", data="cmu, accad")
    copy(tiny, weights / "compact", name="Compact", licence="CC BY-NC 4.0")
    (weights / "matcher").mkdir()
    (weights / "matcher" / "config.json").write_text('{"name": "no motion model"}')
    registry = Registry(tmp_path / "models", weights)
    assert [model.name for model in registry.models()] == ["Compact", "Compact commercial"]
    assert [model.use for model in registry.models()] == ["non-commercial", "commercial use allowed"]
    assert all(model.bundled and not model.asks and not model.problem for model in registry.models())
    assert registry.in_use().name == "Compact"
    chosen = registry.find("compact-commercial")
    assert chosen == registry.find("COMPACT commercial") == registry.at(Path("compact-commercial"))
    assert (chosen.folder, chosen.data) == (free, "cmu, accad")
    registry.use(chosen)
    assert registry.in_use() == chosen
    assert code(registry.remove, chosen) == "model_bundled"
    moved = (tmp_path / "version 1").rename(tmp_path / "version 2") / "weights"  # as an update does
    again = Registry(registry.home, moved)
    assert again.in_use().folder == moved / "compact-commercial"
    shutil.rmtree(moved / "compact-commercial")  # a build without it
    gone = again.in_use()
    assert gone.problem  # another licence does not take its place silently
    assert [model.bundled for model in again.models()] == [True, False]
    again.remove(gone)
    assert [model.name for model in again.models()] == ["Compact"]
    assert again.in_use().name == "Compact"
    shutil.rmtree(moved)
    assert "not there" in again.in_use().problem


@pytest.mark.parametrize(
    ("licence", "use"),
    [
        ("CC BY-NC 4.0", "non-commercial"),
        ("CC BY-NC-SA 4.0", "non-commercial"),
        ("Research use only. AMASS", "non-commercial"),
        ("For non commercial purposes", "non-commercial"),
        ("CC BY 4.0", "commercial use allowed"),
        ("CC-BY-4.0", "commercial use allowed"),
        ("CMU's terms (commercial use allowed; the data may not be resold)", "commercial use allowed"),
        ("MIT", "commercial use allowed"),
        ("my own", ""),
        ("", ""),
    ],
)
def test_what_a_licence_allows_is_said_in_words(licence: str, use: str) -> None:
    assert Model("a model", Path("folder"), licence=licence).use == use


def test_own_and_outside_models_are_listed_and_one_is_used(registry: Registry, tiny: Path, tmp_path: Path) -> None:
    own = copy(tiny, registry.home / "official", name="MotionGPT3 (official)", licence="research", origin="a.ckpt")
    outside = copy(tiny, tmp_path / "Bücher und Filme", name="Mine", licence="", origin="")
    added = registry.add(outside)
    assert [model.name for model in registry.models()] == ["MotionGPT3 compact", "MotionGPT3 (official)", "Mine"]
    official = registry.find("motiongpt3 (OFFICIAL)")
    assert (official.folder, official.own, official.licence, official.origin) == (own, True, "research", "a.ckpt")
    assert (added.own, added.bundled, added.problem) == (False, False, "")
    assert added.bytes == sum((outside / name).stat().st_size for name in FILES)
    assert registry.add(outside) == added  # twice is once
    assert len(registry.models()) == 3
    registry.use(added)
    again = Registry(registry.home, WEIGHTS)  # another Blender, later
    assert again.in_use() == added == again.find(str(outside))
    again.use(official)
    assert registry.in_use().name == official.name
    registry.use(registry.models()[0])
    assert registry.in_use().bundled
    assert code(registry.find, "Nobody") == "model_unknown"
    assert load_model(official.folder).info["name"] == official.name  # what is listed as sound loads


def test_names_are_unique(registry: Registry, tiny: Path, tmp_path: Path) -> None:
    for parent in ("a", "b"):
        (tmp_path / parent).mkdir()
        registry.add(copy(tiny, tmp_path / parent / "same"))
    names = [model.name for model in registry.models()]
    assert len(set(names)) == len(names) == 3
    for model in registry.models():
        assert registry.find(model.name) == model


def test_removing_deletes_own_folders_and_forgets_the_others(registry: Registry, tiny: Path, tmp_path: Path) -> None:
    own = copy(tiny, registry.home / "own", name="Own")
    outside = copy(tiny, tmp_path / "outside", name="Outside")
    registry.use(registry.add(outside))
    assert str(outside) in registry.remove(registry.find("Outside"))
    assert sorted(file.name for file in outside.iterdir()) == sorted(FILES)
    assert registry.in_use().bundled
    registry.use(registry.find("Own"))
    assert "deleted" in registry.remove(registry.find("Own"))
    assert not own.exists()
    assert registry.in_use().bundled
    assert len(registry.models()) == 1


def test_nothing_outside_the_users_folder_is_ever_deleted(registry: Registry, tiny: Path, tmp_path: Path) -> None:
    outside = copy(tiny, tmp_path / "outside", name="Linked")
    registry.home.mkdir(parents=True)
    (registry.home / "link").symlink_to(outside, target_is_directory=True)
    registry.remove(registry.find("Linked"))
    assert sorted(file.name for file in outside.iterdir()) == sorted(FILES)
    assert not (registry.home / "link").exists()
    pretended = replace(read_model(outside), own=True)
    registry.remove(pretended)
    above = replace(pretended, folder=registry.home / ".." / "..")
    registry.remove(above)
    assert sorted(file.name for file in outside.iterdir()) == sorted(FILES)
    assert registry.home.is_dir()


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda f: (f / "config.json").unlink(), "no config.json"),
        (lambda f: (f / "config.json").write_bytes(b"\xff{"), "no JSON"),
        (lambda f: (f / "config.json").write_text("[" * 100_000), "no JSON"),
        (lambda f: (f / "config.json").write_text("[1]"), "no config"),
        (lambda f: (f / "config.json").write_text(" " * 2_000_000), "too large"),
        (lambda f: (f / "config.json").write_text('{"name": 7, "vae": []}'), "not a MotionGPT3"),
        (lambda f: (f / "tokenizer.json").unlink(), "no tokenizer.json"),
        (lambda f: (f / "model.safetensors").unlink(), "no model.safetensors"),
        (lambda f: cut(f / "model.safetensors", -1), "not whole"),
        (lambda f: cut(f / "model.safetensors", 100), "not a safetensors"),
        (lambda f: cut(f / "model.safetensors", 0), "not a safetensors"),
        (lambda f: (f / "model.safetensors").write_bytes(b"PK\x03\x04 archive/data.pkl"), "not a safetensors"),
        (lambda f: (f / "model.safetensors").write_bytes((4).to_bytes(8, "little") + b"[[]]"), "not a safetensors"),
        (lambda f: shutil.rmtree(f), "not there"),
    ],
)
def test_a_broken_model_is_shown_with_its_reason(
    registry: Registry, tiny: Path, tmp_path: Path, harm: object, words: str
) -> None:
    folder = copy(tiny, tmp_path / "model", name="Mine")
    registry.use(registry.add(folder))
    harm(folder)  # type: ignore[operator]
    broken = registry.models()[-1]
    assert words in broken.problem
    assert registry.in_use() == broken  # it is not silently another one
    assert code(registry.use, broken) == "model_broken"
    assert code(registry.add, folder) == "model_broken"
    registry.remove(broken)
    assert registry.in_use().bundled


def cut(file: Path, end: int) -> None:
    file.write_bytes(file.read_bytes()[:end])


def test_a_half_download_is_shown_and_can_be_removed(registry: Registry) -> None:
    part = registry.home / "official.part"
    (part / "cache").mkdir(parents=True)
    (part / "cache" / "piece").write_bytes(bytes(5000))
    half = registry.models()[1]
    assert "Not finished" in half.problem
    assert (half.bytes, half.own) == (5000, True)
    assert registry.free_folder("Official").name == "official-2"  # a conversion must not undo it
    registry.remove(half)
    assert not part.exists()
    assert registry.free_folder("Official").name == "official"
    assert registry.free_folder("../../über é.x").parent == registry.home
    assert registry.free_folder("…").name == "model"


def test_licences_are_accepted_by_their_text(registry: Registry, tiny: Path, tmp_path: Path) -> None:
    first = registry.add(copy(tiny, tmp_path / "1", name="1", licence="Research only.\n AMASS"))
    same = registry.add(copy(tiny, tmp_path / "2", name="2", licence="Research only. AMASS"))
    other = registry.add(copy(tiny, tmp_path / "3", name="3", licence="Research only. KIT"))
    free = registry.add(copy(tiny, tmp_path / "4", name="4", licence=""))
    assert [registry.accepted(model) for model in (first, same, other, free)] == [False, False, False, True]
    assert registry.accepted(registry.models()[0])
    registry.accept(first)
    again = Registry(registry.home, WEIGHTS)
    assert [again.accepted(model) for model in (first, same, other, free)] == [True, True, False, True]
    saved = json.loads((registry.home / "models.json").read_text(encoding="utf-8"))
    assert saved["licences"] == [licence_key("Research only. AMASS")]


def test_a_torn_memory_is_an_empty_one_and_is_replaced_whole(registry: Registry, tiny: Path, tmp_path: Path) -> None:
    registry.add(copy(tiny, tmp_path / "mine", name="Mine"))
    file = registry.home / "models.json"
    for content in (b"", b'{"chosen": "/x', b"[]", b"\xff", b'{"chosen": 7, "outside": 3, "licences": {"a": 1}}'):
        file.write_bytes(content)
        assert [model.name for model in registry.models()] == ["MotionGPT3 compact"], content
    registry.add(tmp_path / "mine")
    assert registry.models()[-1].name == "Mine"
    assert [entry.name for entry in registry.home.iterdir()] == ["models.json"]  # no scratch file stays


def test_a_folder_that_cannot_be_written_is_a_clear_error(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    registry = Registry(tmp_path / "file" / "models", WEIGHTS)
    assert registry.in_use().bundled
    assert code(registry.add, tiny) == "folder_unwritable"


def test_the_users_folder_may_move(registry: Registry, tiny: Path, tmp_path: Path) -> None:
    copy(tiny, registry.home / "own", name="Own")
    registry.use(registry.find("Own"))
    moved = registry.home.rename(tmp_path / "next version")
    assert Registry(moved, WEIGHTS).in_use().folder == moved / "own"


def test_a_folder_of_an_earlier_version_is_taken_over_once(registry: Registry, tiny: Path, tmp_path: Path) -> None:
    old = copy(tiny, tmp_path / "old", name="Old")
    registry.take_over(old)
    assert registry.in_use().folder == old
    registry.use(registry.models()[0])
    registry.take_over(old)  # the next start: what was chosen since stays
    assert registry.in_use().bundled
    registry.remove(registry.find("Old"))
    registry.take_over(old)
    assert len(registry.models()) == 1


def test_what_a_user_means_by_a_path(tiny: Path, tmp_path: Path) -> None:
    assert {meant(path) for path in (tiny, *(tiny / name for name in FILES))} == {tiny}
    assert meant(tmp_path / "config.json") == tmp_path  # which then says what is missing
    for name in ("motiongpt3.ckpt", "motiongpt3.safetensors", "model.safetensors"):
        assert meant(tmp_path / name) == tmp_path / name
    (tmp_path / "a.ckpt").touch()
    assert meant(tmp_path) == tmp_path / "a.ckpt"
    (tmp_path / "b.ckpt").touch()
    assert meant(tmp_path) == tmp_path


def test_lines_for_people() -> None:
    model = read_model(BUNDLED)
    assert model.size == setupbuild.gigabytes(model.bytes) == f"{model.bytes / 1e6:.1f} MB"  # one unit on one page
    assert replace(model, bytes=1_030_000_000).size == "1.0 GB"
    assert replace(model, bytes=30_000).size == "0.1 MB"
    assert short_licence("Research use only; AMASS, HumanML3D terms") == "Research use only"
    assert short_licence("CC BY-NC 4.0") == "CC BY-NC 4.0"
    assert len(short_licence("x" * 500)) == 60
