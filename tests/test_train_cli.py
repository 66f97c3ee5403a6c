"""The training command: configs that say what is wrong, and two processes that make one process's loss curve."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from test_train import CAPTIONS, CLIPS, write_bundle
from tiny_model import ROOT, make_tiny_model

from core.errors import CoreError
from core.train.cli import COMMANDS, parser, resolved
from core.train.configfile import FOLDER, read_config, text_of
from core.train.stages import model_config, options_from

STAGES = [c for c in COMMANDS if c not in ("matcher", "ablation", "between")]


def config_of(*words: str) -> dict:
    return resolved(*parser().parse_known_args([*words, "--data", "x"]))


# -- configs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", STAGES)
def test_every_entry_of_a_config_is_one_that_the_training_reads(command):
    config = read_config(command)
    assert tomllib.loads(text_of(config)) == config
    given = {k: v for k, v in config.items() if k not in ("seed", "device", "precision")}
    options = options_from(given)
    model_config(options)
    assert {"seed", "device", "precision"} <= set(config)


@pytest.mark.parametrize("command", ["matcher", "ablation"])
def test_every_entry_of_a_config_is_an_argument_of_the_training(command):
    module = pytest.importorskip(f"core.train.{command}")
    known = set(inspect.signature(module.run).parameters)
    assert set(read_config(command)) - {"precision"} <= known


@pytest.mark.parametrize("variant", sorted(p.stem for p in FOLDER.glob("*_*.toml")))
def test_the_official_sizes_change_the_commands_own_entries(variant):
    command = variant.partition("_")[0]
    config = read_config(command, Path(variant))
    assert config["size"] == "official"
    assert config[command]["matrix_lr"] == 0  # AdamW alone
    assert model_config(options_from({k: config[k] for k in ("size", "name", "model")})).backbone.width == 768


def test_options_change_entries():
    config = config_of("stage2", "--steps", "7", "--lr=1e-4", "--check-seeds", "2", "--licence", "none", "--seed", "3",
                       "--composed", "0", "--set", "model.vae.width=64", "--set", "stage2.mixture.t2m=1")  # fmt: skip
    stage = config["stage2"]
    assert (stage["steps"], stage["lr"], stage["check_seeds"]) == (7, 1e-4, 2)
    assert (config["licence"], config["seed"], config["data"]["composed"]) == ("none", 3, 0)
    assert config["model"] == {"vae": {"width": 64}}
    assert stage["mixture"]["t2m"] == 1.0
    whole = config_of("compact", "--steps", "5", "--autoencoder-steps", "4", "--polish-minutes", "2")
    assert [whole[t]["steps"] for t in ("text", "stage1", "stage2", "stage3")] == [5] * 4
    assert (whole["autoencoder"]["steps"], whole["polish"]["minutes"]) == (4, 2.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed = 1\n[stage1]\nstepz = 3", r"own\.toml, line 3: there is no entry 'stage1\.stepz'.*mean steps.*Allowed"),
        ("[stage1]\n\nsteps = 3.5", r"own\.toml, line 3: stage1\.steps = 3\.5 .*a whole number, 0 or more"),
        ("[stage1]\nsteps = -1", r"line 2: stage1\.steps = -1 "),
        ("[stage1]\nofficial = 1", r"stage1\.official = 1 .*true or false"),
        ("[stage1]\nlr = nan", r"stage1\.lr = NaN .*a number"),
        ('precision = "fp16"', r'line 1: precision = "fp16" .*"bf16", "fp32"'),
        ("stage1 = 3", r"line 1: stage1 = 3 .*a table"),
        ("[model.vae]\nwide = 3", r"no entry 'model\.vae\.wide'"),
        ("[stage1]\nlr == 3", r"own\.toml' is not TOML.*line 2"),
        ("[stage1.mixture]\ntm = 3", r"Allowed in \[stage1\.mixture\]: t2m, m2t"),
    ],
)
def test_what_is_wrong_in_a_config_is_named(tmp_path, text, said):
    file = tmp_path / "own.toml"
    file.write_text(text)
    with pytest.raises(CoreError, match=said):
        read_config("stage1", file)


def test_what_is_wrong_on_the_command_line_is_named(tmp_path):
    for words, said in (
        (["--stepz", "3"], "no option '--stepz'.*stage1.steps"),
        (["--set", "steps"], "no change of a config"),
        (["--steps", "many"], 'command line: stage1.steps = "many"'),
        (["--config", "nowhere"], "no config 'nowhere'.*stage1_humanml"),
        (["--config", str(tmp_path)], "no config"),
        (["stray"], "no option 'stray'"),
    ):
        with pytest.raises(CoreError, match=said):
            config_of("stage1", *words)


# -- runs ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a bundle and a random model without dropout, which each process would draw for itself."""
    folder = tmp_path_factory.mktemp("place")
    twice = [{k + n: v for n in "12" for k, v in some.items()} for some in (CLIPS, CAPTIONS)]
    write_bundle(folder, *twice)
    captions = folder / "made_captions.jsonl"
    lines = captions.read_text().splitlines()
    captions.write_text("\n".join(lines[:3] + [line.replace('"train"', '"val"') for line in lines[3:]]))
    make_tiny_model(folder / "model", sys.executable)
    config = folder / "model" / "config.json"
    config.write_text(config.read_text().replace('"dropout": 0.1', '"dropout": 0.0'))
    return folder


def train(place, runs, *more: str) -> subprocess.CompletedProcess:
    words = ["stage2", "--data", "made_joints.npz", "--start", "model", "--runs", runs, "--device", "cpu",
             "--precision", "fp32", "--stored", "float32", "--composed", "0", "--durations", "0", "--steps", "6",
             "--batch", "10", "--every", "2", "--check-seeds", "1"]  # fmt: skip
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "core", "train", *words, *more]
    return subprocess.run(command, cwd=place, env=env, capture_output=True, text=True, timeout=500)


def curve(runs) -> list[dict]:
    return [json.loads(line) for line in (runs / "stage2" / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def one(place):
    done = train(place, "one")
    assert done.returncode == 0, done.stdout + done.stderr
    return curve(place / "one")


def test_a_run_says_what_it_was_made_with(place, one):
    written = tomllib.loads((place / "one" / "config.toml").read_text())
    assert written["stage2"]["steps"] == 6
    assert written["device"] == "cpu"
    again = read_config("stage2", place / "one" / "config.toml")
    assert again == written
    assert [row["step"] for row in one] == [2, 4, 6]
    assert list((place / "one" / "stage2").glob("events.*"))


def test_two_processes_make_the_loss_curve_of_one(place, one):
    """`--processes 2` is `accelerate launch --multi_gpu --num_processes 2 -m core train …`: gloo, on the CPU."""
    done = train(place, "two", "--processes", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    two = curve(place / "two")
    assert len(two) == len(one)  # one process writes
    for key in ("loss", "diffusion", "text", "norm", "val_diffusion", "val_text"):
        difference = max(abs(a[key] - b[key]) for a, b in zip(one, two, strict=True))
        assert difference < 1e-4, (key, difference)
    assert done.stdout.count("training clips") == 1
