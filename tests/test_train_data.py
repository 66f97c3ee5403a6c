"""HumanML3D and KIT-ML as training data, and the mirror: read as meant, every damage named with its file and line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from motions import run, turn, walk, wave

from core.errors import CoreError
from core.features import canonicalise, features_to_joints, joints_to_features, parts
from core.model.config import VAEConfig
from core.model.kinematics import features_to_joints as torch_features_to_joints
from core.model.vae import MotionVAE
from core.skeleton import mirror
from core.train.data import (
    Clip,
    canonical_bones,
    featured,
    load_data_source,
    mirror_text,
    mirrored,
    prepare,
    with_mirrored,
)  # fmt: skip
from core.train.official import vae_losses
from core.train.sources import kit
from core.train.sources.humanml import load_statistics
from core.train.sources.mirroring import mirror_features, mirror_tokens

# -- HumanML3D and KIT-ML ------------------------------------------------------------------------------------------

MOTIONS = {"000001": walk(4.0), "000002": run(3.0), "000003": wave(3.0), "000004": turn(5.0), "000005": wave(2.0)}
TEXTS = {
    "000001": "a person walks#a/DET person/NOUN walk/VERB#0.0#0.0\n"
    "he walks # on#he/PRON walk/VERB on/ADV#nan#nan\nthe left foot steps#the/DET left/ADJ foot/NOUN#1.0#2.55\n",
    "000002": "someone runs#someone/PRON run/VERB#0.0#0.0\n",
    "000003": "a wave#a/DET wave/NOUN#0.0#0.0\n",
    "000004": "turning left#turn/VERB left/ADV#2.0#4.0\n",
    "000005": "a wave#a/DET wave/NOUN#0.0#0.0\n",
}


@pytest.fixture
def humanml(tmp_path: Path) -> Path:
    """HumanML3D's folder, with mirrored ids and one id that has no files."""
    folder = tmp_path / "HumanML3D"
    features = {i: joints_to_features(j) for i, j in MOTIONS.items()}
    features |= {"M" + i: joints_to_features(mirror(canonicalise(j))) for i, j in MOTIONS.items()}
    texts = TEXTS | {"M" + i: t.replace("left", "right") for i, t in TEXTS.items()}
    return write_dataset(folder, features, texts)


def write_dataset(folder: Path, features: dict[str, np.ndarray], texts: dict[str, str]) -> Path:
    for name in ("new_joint_vecs", "new_joints", "texts"):
        (folder / name).mkdir(parents=True)
    for i, f in features.items():
        np.save(folder / "new_joint_vecs" / f"{i}.npy", f)
        np.save(folder / "new_joints" / f"{i}.npy", features_to_joints(f))
        (folder / "texts" / f"{i}.txt").write_text(texts[i], encoding="utf-8")
    names = list(features)
    val, test = names[1::5], names[2::5]
    train = [n for n in names if n not in val + test]
    for split, ids in (("train", [*train, "999999"]), ("val", val), ("test", test)):
        (folder / f"{split}.txt").write_text("\n".join(ids) + "\n")
    rows = np.concatenate(list(features.values()))
    np.save(folder / "Mean.npy", rows.mean(0))
    np.save(folder / "Std.npy", rows.std(0) + 0.01)
    return folder


def test_humanml_clips_spans_and_tokens(humanml: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clips = {c.id: c for c in load_data_source(humanml)}
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "1 ids without a file (the first: 999999)" in said
    assert set(clips) == {
        "000001", "000001@1-2.55", "000002", "000003", "000004@2-4", "000005",
        "M000001", "M000001@1-2.55", "M000002", "M000003", "M000004@2-4", "M000005",
    }  # fmt: skip
    whole, part = clips["000001"], clips["000001@1-2.55"]
    assert whole.features is not None
    assert part.features is not None
    assert np.array_equal(whole.features, joints_to_features(MOTIONS["000001"]))
    assert np.abs(whole.joints - canonicalise(MOTIONS["000001"])).max() < 1e-4  # the last frame too
    assert whole.captions == ["a person walks", "he walks # on"]
    assert whole.tokens == [["a/DET", "person/NOUN", "walk/VERB"], ["he/PRON", "walk/VERB", "on/ADV"]]
    assert np.array_equal(part.features, whole.features[20:51])
    assert part.frames == 31
    assert part.captions == ["the left foot steps"]
    assert (whole.split, clips["000002"].split, clips["000003"].split) == ("train", "val", "test")
    assert {c.split for c in load_data_source(humanml, split="val")} == {"val"}
    assert all(c.fps == 20 and c.unit == 1 and c.source == "humanml3d" for c in clips.values())


def test_humanml_goes_into_both_kinds_of_model(humanml: Path) -> None:
    clips = load_data_source(humanml)
    for clip, ready in zip(clips, prepare(clips, canonical_bones(clips)), strict=True):
        assert ready.features is not None
        assert ready.features.shape == (clip.frames, 263)
        # A part begins where its smoothed heading looks, not where the body does.
        assert np.abs(ready.joints - clip.joints).max() < (0.15 if "@" in clip.id else 0.02)
    assert [c.features is d.features for c, d in zip(clips, featured(clips), strict=True)] == [True] * len(clips)
    assert len(with_mirrored(clips)) == len(clips)  # the dataset brings its own
    assert [c.id for c in with_mirrored([c for c in clips if c.id[0] != "M"])][-1] == "000003~m"
    statistics = load_statistics(humanml)
    assert statistics is not None
    assert [s.shape for s in statistics] == [(263,), (263,)]


def test_without_split_files_the_mirrored_clip_goes_with_its_own(humanml: Path) -> None:
    ids = sorted(p.stem for p in (humanml / "new_joint_vecs").iterdir())
    for name in ("train", "val", "test"):
        (humanml / f"{name}.txt").unlink()
    (humanml / "all.txt").write_text("\n".join(ids))
    splits = {c.id: c.split for c in load_data_source(humanml)}
    assert all(splits["M" + i] == s for i, s in splits.items() if i[0] != "M")


def edit(name: str, change: Callable[[str], str]) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(change((folder / name).read_text()))


def array(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    return lambda folder: np.save(folder / name, change(np.load(folder / name)))


def put(value: float, row: int = 7) -> Callable[[np.ndarray], np.ndarray]:
    def change(a: np.ndarray) -> np.ndarray:
        a = a.copy()
        a[row] = value
        return a

    return change


VECS, TEXT = "new_joint_vecs/000002.npy", "texts/000001.txt"
METRES = [*range(1, 67), *range(193, 259)]
DAMAGE = {
    "not an array": (lambda f: (f / VECS).write_bytes(b"\x93NUMPY\x01\x00no"), r"000002\.npy: it is not a NumPy array"),
    "a pickle": (lambda f: np.save(f / VECS, np.array([{}], object)), r"000002\.npy: it is not a NumPy array"),
    "words": (lambda f: np.save(f / VECS, np.array(["a"])), r"000002\.npy: it is not a NumPy array"),
    "another width": (array(VECS, lambda a: a[:, :262]), r"000002\.npy: it is \(59, 262\)"),
    "KIT among them": (array(VECS, lambda a: a[:, :251]), r"000002\.npy: it has 251 numbers a frame"),
    "one dimension": (array(VECS, lambda a: a[0]), r"000002\.npy: it is \(263,\)"),
    "nan": (array(VECS, put(np.nan)), r"000002\.npy: frame 7 has values that are not finite"),
    "centimetres": (array(VECS, lambda a: np.where(np.isin(range(263), METRES), 100 * a, a)),
                    r"000002\.npy: spine and leg are 1\d\d m .*look like centimetres"),
    "normalised": (array(VECS, lambda a: (a - a.mean(0)) / (a.std(0) + 1e-3)), r"000002\.npy: .*not be normalised"),
    "other joints": (array("new_joints/000002.npy", lambda a: a + 0.1), r"new_joints/000002\.npy: its motion"),
    "24 joints": (array("new_joints/000002.npy", lambda a: np.zeros((59, 24, 3))), r"new_joints/000002\.npy: it is"),
    "too few joints": (array("new_joints/000002.npy", lambda a: a[:9]), r"new_joints/000002\.npy: its motion"),
    "no times": (edit(TEXT, lambda t: t.replace("#0.0#0.0", "")), r"000001\.txt, line 1: it is not caption#"),
    "no number": (edit(TEXT, lambda t: t.replace("2.55", "late")), r"000001\.txt, line 3: 'late' is not a time"),
    "negative": (edit(TEXT, lambda t: t.replace("1.0", "-1.0")), r"000001\.txt, line 3: '-1.0' is not a time"),
    "infinite": (edit(TEXT, lambda t: t.replace("2.55", "inf")), r"000001\.txt, line 3: 'inf' is not a time"),
    "backwards": (edit(TEXT, lambda t: t.replace("2.55", "0.5")), r"000001\.txt, line 3: the time span from 1 to 0.5"),
    "no caption": (edit(TEXT, lambda t: "#a/DET#0.0#0.0\n" + t), r"000001\.txt, line 1: the caption is empty"),
    "no tag": (edit(TEXT, lambda t: t.replace("foot/NOUN", "foot")), r"000001\.txt, line 3: the word 'foot' has no"),
    "no tokens": (edit(TEXT, lambda t: "x##0#0\n" + t), r"000001\.txt, line 1: the word '' has no part of speech"),
    "empty text": (edit(TEXT, lambda t: "\n"), r"000001\.txt: there is no caption"),
    "not UTF-8": (lambda f: (f / TEXT).write_bytes(b"ok#ok/X#0#0\n\xff\xfe\n"), r"000001\.txt, line 2: it is not UTF"),
    "in two splits": (edit("test.txt", lambda t: t + "000001\n"), r"test\.txt, line 3: the clip 000001 is in train"),
    "a path as id": (edit("val.txt", lambda t: "000002\n../x\n"), r"val\.txt, line 2: '\.\./x' is not a clip's id"),
    "no splits": (lambda f: [(f / f"{n}.txt").unlink() for n in ("train", "val", "test")], "none of train.txt"),
    "no texts": (lambda f: (f / "texts").rename(f / "words"), "no folder 'texts'"),
    "nothing there": (lambda f: [p.unlink() for p in (f / "new_joint_vecs").iterdir()], "none of the 11 ids"),
    "one statistic": (lambda f: (f / "Std.npy").unlink(), r"Std\.npy: it is not a NumPy array"),
    "a zero spread": (array("Std.npy", put(0.0)), r"Std\.npy: .*not positive"),
    "mean of others": (array("Mean.npy", lambda a: a[:251]), r"Std\.npy: it does not fit"),
    "nan mean": (array("Mean.npy", put(np.nan)), r"Mean\.npy: it is not 263 or 251 finite"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_to_humanml_is_named(humanml: Path, name: str) -> None:
    damage, said = DAMAGE[name]
    damage(humanml)
    with pytest.raises(CoreError, match=said) as error:
        load_data_source(humanml)
    assert error.value.code == "data_broken"


def test_what_guos_loaders_leave_out_is_counted(humanml: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long = joints_to_features(walk(10.1))  # 201 frames
    np.save(humanml / "new_joint_vecs/000002.npy", long)
    np.save(humanml / "new_joint_vecs/000003.npy", long[:198])
    for name in ("000002", "000003"):
        (humanml / f"new_joints/{name}.npy").unlink()
    edit("texts/000004.txt", lambda t: t.replace("2.0#4.0", "4.9#9.0"))(humanml)
    clips = {c.id: c for c in load_data_source(humanml)}
    said = capsys.readouterr().err
    assert "000002" not in clips
    assert "clips not of 20 to 199 frames (the first: 000002)" in said
    assert clips["000003"].frames == 196
    assert "parts of clips shorter than a second or outside them (the first: 000004@4.9-9)" in said


FROM_SMPL = [0, 3, 6, 9, 15, 17, 19, 21, 16, 18, 20, 2, 5, 8, 11, 11, 1, 4, 7, 10, 10]


def kit_features(joints: np.ndarray, yaw: np.ndarray, unit: float) -> np.ndarray:
    """(T, 22, 3) metres and a heading (T,), radians, 0 first -> (T - 1, 251) in `unit` metres, by the definition."""
    j = canonicalise(joints)[:, FROM_SMPL].astype(np.float64) / unit
    j[:, [15, 20], 2] += 0.08 / unit
    cos, sin = np.cos(yaw), np.sin(yaw)

    def turned(v: np.ndarray, by: slice) -> np.ndarray:
        c, s = cos[by], sin[by]
        R = np.array([[c, 0 * c, s], [0 * c, c * 0 + 1, 0 * c], [-s, 0 * c, c]])  # (3, 3, T)
        return np.einsum("abt,t...b->t...a", R, v)

    step = j[1:] - j[:-1]
    local = turned(j - j[:, :1] * [1, 0, 1], slice(None))[:-1, 1:]
    out = np.zeros((len(step), 251), np.float32)
    place = parts(251)
    out[:, 0] = np.diff(yaw) / 2
    out[:, 1:3] = turned(step[:, 0], slice(1, None))[:, [0, 2]]
    out[:, 3] = j[:-1, 0, 1]
    out[:, place["positions"]] = local.reshape(len(step), -1)
    out[:, place["rotations"]] = np.tile([1, 0, 0, 0, 1, 0], 20)
    out[:, place["velocities"]] = turned(step, slice(None, -1)).reshape(len(step), -1)
    out[:, place["contacts"]] = [1, 0, 0, 1]
    return out


@pytest.fixture
def kit_ml(tmp_path: Path) -> Path:
    features = {}
    for n, joints in enumerate(MOTIONS.values(), 1):
        yaw = np.linspace(0, 1.5, len(joints)) ** 2
        features[f"{n:05d}"] = kit_features(joints, yaw, kit.UNIT)
    texts = dict.fromkeys(features, "a person#a/DET person/NOUN#0.0#0.0\na step#a/DET step/NOUN#1.0#3.2\n")
    return write_dataset(tmp_path / "KIT-ML", features, texts)


def test_kit_has_21_joints_in_its_own_unit_at_its_own_rate(kit_ml: Path) -> None:
    clips = {c.id: c for c in load_data_source(kit_ml)}
    clip, part = clips["00001"], clips["00001@1-3.2"]
    assert clip.features is not None
    assert clip.features.shape == (79, 251)
    assert np.array_equal(clip.features, np.load(kit_ml / "new_joint_vecs/00001.npy"))
    wanted = canonicalise(MOTIONS["00000" + "1"])[:, FROM_SMPL]
    wanted[:, [15, 20], 2] += 0.08
    assert clip.joints.shape == (80, 21, 3)
    assert np.abs(clip.joints - wanted).max() < 1e-3  # metres, through a turning heading, the last frame too
    assert (clip.fps, clip.source) == (12.5, "kit-ml")
    assert part.frames == int(3.2 * 12.5) - 12
    again = torch_features_to_joints(torch.from_numpy(clip.features)).numpy()
    assert np.abs(again - features_to_joints(clip.features)).max() < 0.05  # of its units: 0.1 mm
    with pytest.raises(CoreError, match="KIT-ML has a skeleton of 21 joints, and the compact recipe needs the 22"):
        prepare(list(clips.values()), np.ones(22))
    with pytest.raises(CoreError, match="21 joints"):
        canonical_bones([clip])
    with pytest.raises(CoreError, match="trained on together"):
        featured([clip, Clip("a", "made", "train", walk(3.0), ["a"])])


def test_kit_in_metres_is_seen(kit_ml: Path) -> None:
    for path in (kit_ml / "new_joint_vecs").iterdir():
        np.save(path, kit_features(walk(3.0), np.zeros(60), 1.0))
        (kit_ml / "new_joints" / path.name).unlink()
    assert {c.unit for c in load_data_source(kit_ml)} == {1.0}


def test_an_official_autoencoder_learns_kit(kit_ml: Path) -> None:
    torch.manual_seed(0)
    clips = featured(with_mirrored(load_data_source(kit_ml, split="train")))
    rows = [c.features for c in clips if c.features is not None]
    assert all(np.abs(features_to_joints(f) - c.joints[:-1]).max() < 1e-3 for f, c in zip(rows, clips, strict=True))
    vae = MotionVAE(VAEConfig(features=251, width=32, layers=3, heads=2, ff=32))
    vae.mean.copy_(torch.from_numpy(np.concatenate(rows).mean(0)))
    vae.std.copy_(torch.from_numpy(np.concatenate(rows).std(0) + 0.01))
    x = torch.stack([(torch.from_numpy(f[:20]) - vae.mean) / vae.std for f in rows])
    lengths = torch.full((len(rows),), 20)
    seen = []
    for _ in range(30):
        found = vae_losses(vae, x, lengths, torch.randn(len(rows), 32))
        loss = found["features"] + 0.5 * found["positions"] + 1e-5 * found["kl"]
        steps = torch.autograd.grad(loss, list(vae.parameters()), allow_unused=True)
        with torch.no_grad():
            for weight, step in zip(vae.parameters(), steps, strict=True):
                if step is not None:
                    weight -= 1e-3 * step.sign()
        seen.append(float(loss.detach()))
    assert np.mean(seen[-5:]) < 0.7 * np.mean(seen[:3])
    assert vae.decode_joints(torch.zeros(2, 32), lengths[:2]).shape == (2, 20, 21, 3)


# -- the mirror ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["000001", "000003", "000004"])
def test_mirrored_features_are_those_of_the_mirrored_motion(name: str) -> None:
    joints = canonicalise(MOTIONS[name])
    features = mirror_features(joints_to_features(joints))
    difference = np.abs(features - joints_to_features(mirror(joints)))
    assert difference.max() < 1e-3
    assert np.abs(mirror_features(features) - joints_to_features(joints)).max() < 1e-6


def test_kit_is_mirrored_with_its_own_partners(kit_ml: Path) -> None:
    clip = load_data_source(kit_ml)[0]
    other = mirrored(clip)
    assert other.features is not None
    assert np.abs(features_to_joints(other.features) * kit.UNIT - other.joints[:-1]).max() < 1e-3
    assert np.allclose(other.joints[:, 16], clip.joints[:, 11] * [-1, 1, 1])
    assert other.features[0, -4:].tolist() == [0, 1, 1, 0]
    assert np.array_equal(mirrored(other).joints, clip.joints)


MIRRORED = {
    "the left hand and the right foot": "the right hand and the left foot",
    "Left, LEFT, lEft-handed": "Right, RIGHT, right-handed",
    "leftward, leftwards, the leftmost": "rightward, rightwards, the rightmost",
    "lefts and rights": "rights and lefts",
    "left_hand lefthanded": "right_hand righthanded",
    "turns clockwise": "turns counterclockwise",
    "Turns Counter-Clockwise": "Turns Clockwise",
    "counter clockwise, COUNTERCLOCKWISE": "clockwise, CLOCKWISE",
    "an anticlockwise circle, An anti-clockwise one": "a clockwise circle, A clockwise one",
    "anti clock-wise": "clockwise",
    "upright, bright, leftover, all right, right away": "upright, bright, leftover, all right, right away",
    "turns right away from the wall at a right angle": "turns left away from the wall at a right angle",
    "rights himself on the right": "rights himself on the left",
}


@pytest.mark.parametrize("text", MIRRORED)
def test_mirrored_words(text: str) -> None:
    other = mirror_text(text)
    assert other.lower() == MIRRORED[text].lower()
    assert other == MIRRORED[text] or "lEft" in text
    assert mirror_text(other) == text


def test_mirrored_tokens_and_clips() -> None:
    tokens = ["turn/VERB", "left/ADV", "counter/NOUN", "clockwise/NOUN"]
    assert mirror_tokens(tokens) == ["turn/VERB", "right/ADV", "clockwise/NOUN"]
    clip = Clip("a", "made", "train", wave(2.0), ["waves the left hand anticlockwise"], tokens=[["left/ADJ"]])
    other = mirrored(clip)
    assert other.captions == ["waves the right hand clockwise"]
    assert other.tokens == [["right/ADJ"]]
    again = mirrored(other)
    assert again.captions == clip.captions
    assert np.array_equal(again.joints, clip.joints)
