"""What is pasted into a bug report says what is wrong, and nothing of who and where somebody is."""

from __future__ import annotations

from pathlib import Path

import pytest

from mgpt3_blender import bugreport

HOME = Path("/home/ann lee")
ADDON = HOME / ".config/blender/4.5/extensions/user_default/mgpt3_blender"
PRIVACY = bugreport.Privacy(
    HOME,
    own={"core": ADDON / "core", "mgpt3_blender": ADDON},
    names=("ann lee", "annlee", "workshop-pc", "Secret Film"),
    secrets=("swordfish99",),
)
WINDOWS = bugreport.Privacy(Path("C:\\Users\\Ann Lee"), names=("Ann Lee",))

PRIVATE = (
    *("ann", "lee", "annlee", "workshop", "secret film", "secret_film", "shot", "hero", "swordfish", "hunter2"),
    *("abcdefgh", "example", "192.168"),
)  # fmt: skip

LINES = [
    "2026-11-21 core.serve: loaded /home/ann lee/My Models/hero in 3.1 s",
    "failed to read /home/ann lee/Secret Film/shot 12.blend",
    "failed to read '/mnt/hero/Secret Film/shot 12.blend': no such file",
    'No such file or directory: "/mnt/hero/shot.bvh"',
    "/home/ann lee",
    "~/Secret Film/shot.blend",
    "reading ../hero/shot.npz and hero/shot.npz",
    "wrote shot_12.blend1 and hero.bvh",
    r"C:\Users\Ann Lee\Secret Film\shot.blend is locked",
    r"D:/Secret Film/shot.blend: locked",
    r"\\workshop-pc\hero\shot.blend",
    "token hf_abcdefghijklmnop refused",
    "Authorization: Bearer abcdefgh",
    "HF_TOKEN=abcdefgh password: hunter2",
    "proxy http://annlee:hunter2@192.168.0.7:8080/ failed",
    "https://example.org/hero?token=abcdefgh",
    "ann.lee@example.org at 192.168.0.7 on workshop-pc",
    "env swordfish99x",
    "user annlee: ANNLEE, Secret Film",
]


@pytest.mark.parametrize("line", LINES)
def test_nothing_private_is_left(line: str) -> None:
    cleaned = bugreport.clean(line, PRIVACY).lower()
    assert not [word for word in PRIVATE if word in cleaned], cleaned


def test_the_windows_home_folder_in_every_spelling() -> None:
    for text in (r"C:\Users\Ann Lee\x y\z.blend", "c:/users/ann lee/x", r"'C:\\Users\\Ann Lee\\x'"):
        cleaned = bugreport.clean(f"lost {text}", WINDOWS)
        assert "ann" not in cleaned.lower()
        assert cleaned.startswith("lost ")
        assert "~/<path>" in cleaned


def test_what_helps_is_kept() -> None:
    for line in (
        "ValueError: 3 of 8 values are not finite",
        "sampling step 12/20, 3.5 it/s",
        "torch 2.9.1+cpu on Linux-6.1.0-18-amd64-x86_64, Python 3.11.2",
        "worker_crashed",
        "RuntimeError: CUDA out of memory. Tried to allocate 20.00 MiB",
        "MotionGPT3 compact on cpu",
    ):
        assert bugreport.clean(line, PRIVACY) == line
    assert bugreport.clean("/home/ann lee", PRIVACY) == "~"
    assert bugreport.clean("loaded /home/ann lee/m in 3 s", PRIVACY).startswith("loaded ~/<path>")


def test_tracebacks_name_our_files_and_those_of_packages_only() -> None:
    frames = [
        (f"{ADDON}/core/serve.py", "core/serve.py"),
        (f"{ADDON}/worker.py", "mgpt3_blender/worker.py"),
        (f"{HOME}/venv/lib/python3.11/site-packages/torch/nn/modules/module.py", "torch/nn/modules/module.py"),
        (f"{HOME}/scripts/hero.py", "path"),
        ("/mnt/core/hero.py", "path"),
    ]
    for file, shown in frames:
        text = f'  File "{file}", line 12, in run'
        assert bugreport.clean(text, PRIVACY) == f"  File <{shown}>, line 12, in run"


def test_a_report_has_its_facts_and_the_logs_end_cleaned(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    log.write_text("".join(f"line {n} of /home/ann lee/Secret Film/a.blend\n" for n in range(9000)), encoding="utf-8")
    end = bugreport.tail(log)
    assert end.splitlines()[-1].startswith("line 8999 ")
    assert len(end.splitlines()) == bugreport.LINES
    text = bugreport.compose({"Blender": "4.5.15", "Last error": "worker_crashed"}, {"Log": end}, PRIVACY)
    assert "Blender: 4.5.15\nLast error: worker_crashed\n" in text
    assert "line 8999 of ~/<path>" in text
    assert "Secret" not in text
    assert bugreport.tail(tmp_path / "none.log") == "(there is none)"


def test_secrets_come_from_the_environment_by_name() -> None:
    found = bugreport.secrets_of({"HF_TOKEN": "abcdef1", "PATH": "/usr/bin", "MY_PASSWORD": "hunter2", "A_TOKEN": "x"})
    assert found == ("abcdef1", "hunter2")
