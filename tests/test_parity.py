"""The parity runner: every group of recorded outputs holds, on the official recordings and on made ones of other sizes;
a wrong value fails its own group and no other; what is missing is absent, what is broken is said in one line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from official_form import Sizes  # noqa: E402 - after the check that torch is there
from parity_folder import make  # noqa: E402

import build  # noqa: E402
import core.__main__  # noqa: E402
from core.model.config import BackboneConfig, DiffusionConfig, ModelConfig, VAEConfig  # noqa: E402
from core.model.names import (  # noqa: E402
    TIED,
    from_official,
    to_official,
)
from core.parity.cli import FULL, GROUPS, MAIN  # noqa: E402
from core.parity.fixtures import NumberedTokenizer  # noqa: E402
from core.parity.full import UNUSED, make_rule_model, rule_weight  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]


def parity(folder: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Run the command; its exit code and figures."""
    file = folder / "figures.json"
    file.unlink(missing_ok=True)
    code = core.__main__.main(["parity", str(folder), "--json", str(file), *arguments])
    return code, json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def having(figures: dict[str, Any], status: str) -> set[str]:
    return {row["group"] for row in figures["groups"] if row["status"] == status}


# -- the official recordings -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recorded(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The command on the official recordings, in a process of its own: at full size it needs more than a gigabyte."""
    file = tmp_path_factory.mktemp("parity") / "figures.json"
    command = [sys.executable, "-m", "core", "parity", str(shared / "reference" / "parity"), "--json", str(file)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONUTF8": "1"}, timeout=300)
    figures = json.loads(file.read_text(encoding="utf-8"))
    assert done.returncode == int(bool(having(figures, "FAILED")))
    return figures


@pytest.mark.parametrize("group", GROUPS)
def test_official_recordings(recorded: dict[str, Any], group: str) -> None:
    row = next(row for row in recorded["groups"] if row["group"] == group)
    wrong = [(v["name"], v["error"], v["bound"]) for v in row["values"] if not v["holds"]]
    assert row["status"] == "ok", wrong or row["broke"] or row["absent"]
    assert row["values"]


def test_all_of_the_official_recordings_are_compared(recorded: dict[str, Any]) -> None:
    assert recorded["not_compared"] == []
    assert len(next(r for r in recorded["groups"] if r["group"] == "train_gradients")["values"]) == 108


# -- recordings of other sizes ---------------------------------------------------------------------------------------

SMALL = Sizes(layers=2, latent=12, vae_ff=20, frames=70, steps=6, guidance=2.5, scale=0.7281)
OTHER = Sizes(
    width=48, layers=5, heads=3, positions=90, base_vocab=340, latent=24, vae_layers=5, vae_heads=3, vae_ff=40,
    frames=90, head_width=24, head_depth=3, cond_heads=4, cond_ff=30, steps=13, guidance=6.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small") / "fixtures"
    return make(folder, SMALL, seed=3, lengths=[26, 20], mode="last1", shared=[False, True], new_tokens=8)


@pytest.fixture
def copy(small: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small, tmp_path / "copy"))


def test_small_recordings(small: Path, capsys: pytest.CaptureFixture) -> None:
    code, figures = parity(small)
    out = capsys.readouterr().out
    assert code == 0, out
    assert having(figures, "ok") == set(GROUPS) - set(FULL)
    assert having(figures, "absent") == set(FULL)  # no full_check.npz in this folder
    assert figures["summary"] == {"ok": len(GROUPS) - len(FULL), "failed": 0, "absent": len(FULL)}
    assert f"{len(GROUPS) - len(FULL)} ok, 0 failed, {len(FULL)} absent" in out
    assert figures["not_compared"] == []
    assert figures["seed"] == 3
    assert figures["machine"]["cores"] >= 1


@pytest.mark.parametrize(
    ("mode", "shared", "lengths"),
    [("odd", [True, False] * 2 + [True], [50]), ("first2", [True] * 2 + [False] * 3, [20, 33, 26, 41])],
)
def test_other_sizes(mode: str, shared: list[bool], lengths: list[int], tmp_path: Path) -> None:
    folder = make(tmp_path / "other", OTHER, seed=11, lengths=lengths, prompt=72, mode=mode, shared=shared,
                  steps_as_text=False)  # fmt: skip
    code, figures = parity(folder)
    assert code == 0, [row for row in figures["groups"] if row["status"] == "FAILED"]
    assert having(figures, "ok") == set(GROUPS) - set(FULL)


DAMAGES = [
    ("vae/enc_tokens_extrapad", "vae_encode"), ("vae/decode_mu", "vae_decode"), ("vaeloss/kl_raw", "vae_loss"),
    ("motion_in/und_head", "und_head"), ("backbone/hidden_text_1", "backbone"), ("backbone/text_logits", "backbone"),
    ("cma/hidden_motion_last", "cma"), ("diff/gen_timestep_map", "schedule"), ("diff/gen_betas", "schedule"),
    ("diff/eps_cfg", "diffusion"), ("sample_cfg/trace_pred_x0", "sample_cfg"),
    ("sample_nocfg/latents_unscaled", "sample_nocfg"), ("sample_ddim/x_final_scaled", "sample_ddim"),
    ("t2m_demo/feats_renorm_eval", "t2m_demo"), ("t2m_eval/joints", "t2m_eval"), ("pred/feats_norm", "pred"),
    ("inbetween/und_embeds_at_input_holders", "inbetween"), ("m2t/step_logits_raw", "m2t"),
    ("t2t/generated_ids", "t2t"), ("t2m_leftpad_quirk/cond", "t2m_leftpad_quirk"), ("train/labels", "train"),
    ("train/gpt_loss", "train"), ("joints/joints", "joints"),
]  # fmt: skip


@pytest.mark.parametrize("start", range(4))
def test_a_wrong_value_fails_its_group_and_no_other(start: int, copy: Path) -> None:
    """Several arrays at a time, of different groups; each by a thousandth of its largest value, or by one."""
    with np.load(copy / "fixtures.npz") as stored:
        arrays = {key: stored[key] for key in stored.files}
    chosen = DAMAGES[start::4]
    for key, _ in chosen:
        array = arrays[key] = arrays[key].copy()
        place = np.unravel_index(np.abs(array).argmax(), array.shape)  # surely a place that counts
        array[place] += 1 if array.dtype.kind == "i" else 1e-3 * array[place]
    np.savez(copy / "fixtures.npz", **arrays)
    code, figures = parity(copy)
    assert code == 1
    assert having(figures, "FAILED") == {group for _, group in chosen}


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    values = json.loads(path.read_text(encoding="utf-8"))
    change(values)
    path.write_text(json.dumps(values), encoding="utf-8")


def test_wrong_texts_ids_gradients_and_shapes(copy: Path) -> None:
    edit(copy / "strings.json", lambda s: s["t2m_eval"].__setitem__(0, s["t2m_eval"][0].replace(" ", "  ", 1)))
    edit(copy / "strings.json", lambda s: s["t2t_out"].__setitem__(1, "something else"))
    edit(copy / "config.json", lambda c: c.update(holder_in_id=c["holder_in_id"] + 1))
    edit(copy / "train_grad_norms.json", lambda g: g.update({"lm.fake_latent": g["lm.fake_latent"] * 1.002}))
    with np.load(copy / "fixtures.npz") as stored:
        arrays = {key: stored[key] for key in stored.files}
    arrays["pred/cond"] = arrays["pred/cond"][:, :3]
    arrays["joints/joints"][0, 0, 0, 0] = np.nan
    np.savez(copy / "fixtures.npz", **arrays)
    with np.load(copy / "features_clip.npz") as stored:
        clip = {key: stored[key] for key in stored.files}
    clip["moved_extract"][3, 260] = 1 - clip["moved_extract"][3, 260]  # one foot contact
    np.savez(copy / "features_clip.npz", **clip)
    code, figures = parity(copy)
    assert code == 1
    expected = {"t2m_eval", "t2t", "tokenizer", "train_gradients", "pred", "joints", "features_clip"}
    assert having(figures, "FAILED") == expected


def test_what_is_missing_is_absent(copy: Path, capsys: pytest.CaptureFixture) -> None:
    with np.load(copy / "fixtures.npz") as stored:
        arrays = {key: stored[key] for key in stored.files}
    gone = ("t2m_eval/", "train/", "sample_ddim/", "sample_cfg/trace", "stats/mean_eval", "cma/")
    np.savez(copy / "fixtures.npz", **{k: v for k, v in arrays.items() if not k.startswith(gone)})
    for name in ("strings.json", "features_clip.npz", "train_grad_norms.json"):
        (copy / name).unlink()
    shutil.rmtree(copy / "tokenizer")
    code, figures = parity(copy)
    assert code == 0, capsys.readouterr().out
    absent = {"tokenizer", "cma", "sample_ddim", "t2m_eval", "train", "train_gradients", "features_clip"}
    assert having(figures, "absent") == absent | set(FULL)
    assert having(figures, "FAILED") == set()
    rows = {row["group"]: row for row in figures["groups"]}
    assert rows["sample_cfg"]["absent"] == ["sample_cfg/trace_step_index"]  # ok as far as it goes, and says how far
    assert len(rows["sample_cfg"]["values"]) == 1
    (copy / "fixtures.npz").unlink()
    shutil.copy(ROOT / "pyproject.toml", copy / "full_check.npz")  # not an archive
    assert parity(copy)[0] == 2


def test_without_guidance_there_is_no_unconditional_weight(copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(copy / "state_dict.safetensors")
    del state["lm.fake_latent"]
    save_file(state, copy / "state_dict.safetensors")
    assert parity(copy)[0] == 2
    edit(copy / "config.json", lambda c: c.update(cfg_scale=1.0))
    chosen = ("sample_nocfg", "backbone", "m2t")
    code, figures = parity(copy, "--group", *chosen)
    assert code == 0
    assert having(figures, "ok") == set(chosen)
    assert len(figures["groups"]) == len(chosen)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


BREAKS: dict[str, Callable[[Path], object]] = {
    "no fixtures in it": lambda f: [path.unlink() for path in f.glob("*.npz")],
    "half an archive": lambda f: cut(f / "fixtures.npz"),
    "half the weights": lambda f: cut(f / "state_dict.safetensors"),
    "no weights": lambda f: (f / "state_dict.safetensors").unlink(),
    "no config": lambda f: (f / "config.json").unlink(),
    "half a config": lambda f: cut(f / "config.json"),
    "config of another file": lambda f: (f / "config.json").write_text("[1, 2]"),
    "no layer count": lambda f: edit(f / "config.json", lambda c: c["gpt2"].pop("n_layer")),
    "other layer count": lambda f: edit(f / "config.json", lambda c: c["gpt2"].update(n_layer=7)),
    "another architecture": lambda f: edit(f / "config.json", lambda c: c.update(mot_factor=0.5)),
    "steps in sections": lambda f: edit(f / "config.json", lambda c: c["diffusion"].update(num_sampling_steps="10,5")),
    "half a vocabulary": lambda f: cut(f / "tokenizer" / "vocab.json"),
}


@pytest.mark.parametrize("what", BREAKS)
def test_a_broken_folder_is_said_in_one_line(what: str, copy: Path, capsys: pytest.CaptureFixture) -> None:
    BREAKS[what](copy)
    assert parity(copy)[0] == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert len(err.strip().splitlines()) == 1
    assert "Traceback" not in err


def test_an_unknown_group_is_named(copy: Path, capsys: pytest.CaptureFixture) -> None:
    assert parity(copy, "--group", "vae_encode", "vae_enc")[0] == 2
    assert "'vae_enc'" in capsys.readouterr().err
    assert parity(copy / "nowhere")[0] == 2


def test_every_group_has_one_place() -> None:
    assert len(set(GROUPS)) == len(GROUPS)
    assert set(MAIN).isdisjoint(FULL)


# -- weights by rule -------------------------------------------------------------------------------------------------


def test_weights_by_rule() -> None:
    cfg = ModelConfig(
        vae=VAEConfig(width=8, layers=3, heads=2, ff=12, max_frames=20),
        backbone=BackboneConfig(width=16, layers=2, heads=2, ff=32, positions=30, text_vocab=42),
        diffusion=DiffusionConfig(width=24, depth=1, cond_heads=2, cond_ff=20, cond_positions=6),
    )
    made = make_rule_model(cfg, NumberedTokenizer(40), "salt", torch.device("cpu"))
    total = 4.0 * np.abs(rule_weight(TIED, (42, 16), "salt")).sum(dtype=np.float64)
    total += np.abs(rule_weight(UNUSED, (6, 16), "salt")).sum(dtype=np.float64)
    for name, tensor in made.model.state_dict().items():
        if name not in ("vae.mean", "vae.std"):
            theirs = to_official(name)
            assert from_official(theirs) == name
            assert np.array_equal(tensor.numpy(), rule_weight(theirs, tuple(tensor.shape), "salt"))
            total += np.abs(tensor.numpy()).sum(dtype=np.float64) * (theirs != TIED)
    assert abs(made.magnitude / total - 1) < 1e-12
    conv = rule_weight("lm.language_model.transformer.h.0.mlp.fn.0.c_proj.weight", (400, 100))
    assert abs(conv.std() * 20 - 1) < 0.02  # fan 400: stored [in, out]
    assert abs(rule_weight("vae.final_layer.weight", (400, 100)).std() * 10 - 1) < 0.02  # fan 100: [out, in]
    assert abs(rule_weight("vae.encoder.norm.weight", (4000,)).mean() - 1) < 0.01


def test_build_measures_parity(copy: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture) -> None:
    """`build.py measure parity DIR` passes on the folder, the file and the exit code."""
    monkeypatch.setattr(build.Environment, "ensure", lambda self: Path(sys.executable))  # it stands: it runs this test
    (copy / "fixtures.npz").unlink()  # the features alone: quick
    command = ["measure", "parity", str(copy), "--json", str(copy / "there" / "figures.json")]
    assert build.main(command) == 0
    assert json.loads((copy / "there" / "figures.json").read_text(encoding="utf-8"))["summary"]["ok"] == 1
    cut(copy / "features_clip.npz")
    assert build.main(command) == 2
    with pytest.raises(SystemExit) as ended:
        build.main(["measure", "parity"])
    assert ended.value.code == 2
    assert "DIR" in capfd.readouterr().err
