#!/usr/bin/env python3.11
"""The one entry for people who build MotionGPT3 for Blender: demo, test, zip, measure, train.

Standard library only. What a command needs is made on demand under .envs/, once: a Python environment for the core
(torch, no bpy) and one for each Blender (bpy, no torch). A stamp in each says which pins it was made from, so that a
second run starts at once and a changed pin is caught up with.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent
sys.path.insert(1, str(ROOT / "tests"))  # testrun: how tests are run
PYTHON = (3, 11)  # what Blender 4.2 to 5.0 carry; their wheels exist for no other
BLENDERS = {"4.5": "4.5.15", "4.2": "4.2.23", "5.0": "5.0.1"}  # the first is the one everything is developed on
ZIP_LIMIT_MB = 40
WEIGHTS = ("compact", "compact-commercial", "matcher", "sentence")  # what may travel; another model is somebody else's
EXAMPLES = """examples:
  python3.11 build.py demo "a person walks forward and waves"
  python3.11 build.py demo "a person kicks with the right leg" --seconds 3 --seed 12 --out out/kick
  python3.11 build.py test                  lint, types, core tests, add-on tests in Blender 4.5 LTS
  python3.11 build.py test --all            the same, also in Blender 4.2 LTS and 5.0
  python3.11 build.py test --window         mouse and keyboard in real windows of Blender 4.3 and 5.2 (Linux, root)
  python3.11 build.py test -k retarget -x   only tests, only those; every pytest argument is passed on
  python3.11 build.py zip                   dist/mgpt3_blender-<version>.zip, for Install from Disk
  python3.11 build.py zip --repository DIR  also a static extension repository, for Get Extensions and its updates
  python3.11 build.py pictures              the pictures of panels in docs/ anew, from a real window
  python3.11 build.py example               docs/example.blend anew, the file to try things with
  python3.11 build.py docs                  docs/troubleshooting.md anew, from the messages in the code
  python3.11 build.py measure speed --json speed.json
  python3.11 build.py measure pauses        how long the window is held up, and what else has a bound in the tests
  python3.11 build.py measure parity DIR    DIR: recorded outputs of the official code
  python3.11 build.py measure sampling BUNDLE.npz   what fewer sampling steps cost
  python3.11 build.py measure model --model compact --data BUNDLE.npz ...   all figures; --help after it for more
  python3.11 build.py measure gaps BUNDLE_DIR   gaps cut into real motion and filled; --help after it for more
  python3.11 build.py measure captions BUNDLE_DIR   captions against people's, on rigs, and their speed
  python3.11 build.py measure rigs DIR --motion FILE.bvh ...   every rig of a folder with a rigs.json, through Blender
  python3.11 build.py train compact --data BUNDLE.npz   autoencoder, compact, stage1..3, matcher or ablation
  python3.11 build.py train stage1 --help   everything after `train` goes to the core
"""


FORWARDED = ("model", "rigs", "gaps", "captions")
"""Measures that read their own arguments, run where the caller is."""


class BuildError(Exception):
    """A step that cannot go on: what happened, and what to do about it, in one or two sentences."""


# --- environments


def pin(package: str) -> str:
    """The line "package==version" of the requirements files."""
    for name in ("core/requirements.txt", "tests/requirements.txt"):
        found = re.search(rf"^{package}==\S+", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)
        if found:
            return found.group()
    raise BuildError(f"No pinned version of {package} in core/requirements.txt or tests/requirements.txt.")


@dataclass(frozen=True)
class Environment:
    """A virtual environment under .envs/: the pip calls that fill it, in order, and the imports that must then work."""

    name: str
    installs: tuple[tuple[str, ...], ...]
    check: str

    @property
    def folder(self) -> Path:
        return ROOT / ".envs" / self.name

    @property
    def python(self) -> Path:
        return self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    def stamp(self) -> str:
        """A digest of everything the environment was made from."""
        parts = [sys.version, self.check]
        for argument in (argument for call in self.installs for argument in call):
            file = ROOT / argument
            parts.append(file.read_text(encoding="utf-8") if file.is_file() else argument)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def ensure(self) -> Path:
        """Make the environment or catch up with changed pins where needed; returns its Python. Raises BuildError."""
        done, making = self.folder / ".stamp", self.folder / ".making"
        if done.is_file() and done.read_text(encoding="utf-8") == self.stamp() and not making.exists():
            return self.python
        started = time.monotonic()
        if self.python.exists() and not making.exists():
            say(f"environment {self.name}: catching up with the pinned versions ...")
        else:
            say(f"environment {self.name}: making it, once; this takes some minutes ...")
            if self.folder.exists():
                shutil.rmtree(self.folder)  # half made: a run before this one was interrupted
            self.folder.mkdir(parents=True)
            making.touch()
            self._call([sys.executable, "-m", "venv", str(self.folder)])
        done.unlink(missing_ok=True)
        for call in self.installs:
            self._call([str(self.python), "-m", "pip", "install", "--no-input", "--disable-pip-version-check", *call])
        self._call([str(self.python), "-c", self.check])
        making.unlink(missing_ok=True)
        done.write_text(self.stamp(), encoding="utf-8")
        say(f"environment {self.name}: ready after {time.monotonic() - started:.0f} s")
        return self.python

    def _call(self, command: list[str]) -> None:
        """Run one step with its output in .envs/NAME.log; a failure becomes a BuildError that names the remedy."""
        log = self.folder.with_suffix(self.folder.suffix + ".log")
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace")
        log.write_text(f"{command}\n{result.stdout}\n{result.stderr}", encoding="utf-8")
        if result.returncode:
            tail = "\n".join(f"    {line}" for line in (result.stdout + result.stderr).strip().splitlines()[-8:])
            raise BuildError(
                f"The environment {self.name} could not be made.\n{tail}\n  {remedy(result.stdout + result.stderr)}\n"
                f"  The whole output is in {log.relative_to(ROOT)}."
            )


def remedy(output: str) -> str:
    """What to do about a failed pip, venv or import, from what it printed."""
    library = re.search(r"(lib\S+\.so[.\d]*): cannot open shared object", output)
    if library:
        table = (ROOT / ".ci/libraries.txt").read_text(encoding="utf-8")
        rows = dict(line.split()[:2] for line in table.splitlines() if line and not line.startswith("#"))
        return (
            f"Blender needs the system library {library.group(1)}. On Debian and Ubuntu: "
            f"sudo apt-get install -y --no-install-recommends {' '.join(rows.values())}"
        )
    if "ensurepip" in output:
        return "Python's venv module is incomplete. On Debian and Ubuntu: sudo apt-get install python3.11-venv"
    if "No space left" in output:
        return "The disk is full: the core takes about 2 GB (more with a GPU's torch), each Blender about 1 GB."
    if re.search(r"Failed to establish|name resolution|Max retries|timed out|ProxyError|from versions: none", output):
        return "The package index could not be reached: check the network or pip's proxy and index settings, run again."
    if "No matching distribution" in output:
        return "The package index lacks a pinned version, or has no build of it for this system."
    return "Run the same command again; if it fails again, delete the environment's folder first."


def core_environment() -> Environment:
    # torch in a call of its own: resolved together with the rest, another build of it can be pulled in.
    # Ray, too, is for the tests' sake: 79 MB to fetch, 240 MB on disk, about ten seconds.
    extras = ("core/requirements-smplx.txt", "core/requirements-ray.txt")
    names = ("core/requirements.txt", *extras, "tests/requirements.txt")
    files = tuple(word for name in names for word in ("-r", name))
    return Environment("core", ((pin("torch"),), files), "import numpy, safetensors, scipy, torch, transformers")


def blender_environment(series: str) -> Environment:
    return Environment(f"bpy-{series}", ((f"bpy=={BLENDERS[series]}", pin("pytest")),), "import bpy, numpy")


def child_environment(core_python: Path) -> dict[str, str]:
    """The process environment of tests, demo and measures: which Python runs the core, UTF-8 whatever the locale."""
    return {**os.environ, "MGPT3_PYTHON": str(core_python), "PYTHONUTF8": "1"}


def say(text: str) -> None:
    print(text, flush=True)


# --- test


def imports_bpy(file: Path) -> bool:
    """Whether a Python file imports bpy, at its top, in a function, or through pytest.importorskip("bpy").

    This one question sorts everything here: a test that imports bpy runs in Blender's environments, every other
    test in the core's (tests/conftest.py asks the same); mypy reads the files that do not import it.
    """
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("importorskip") and node.args:
            names = [ast.unparse(node.args[0]).strip("'\"")]
        if any(name.split(".")[0] in ("bpy", "mathutils") for name in names):
            return True
    return False


def command_test(options: argparse.Namespace) -> int:
    import window_run
    from testrun import Outcome, closing, parts, run_check, run_parts

    core = core_environment().ensure()
    environment = {"OMP_NUM_THREADS": "1", **child_environment(core)}  # two processes at a time, on two cores
    if options.window:
        return window_run.run(options.blender, options.out, core, environment, options.pytest)
    series = BLENDERS if options.all else ["4.5"]
    blenders = {f"Blender {name}": blender_environment(name).ensure() for name in series}
    outcomes: list[Outcome] = []
    if not options.pytest:
        typed = [str(file) for file in sorted((ROOT / "mgpt3_blender").rglob("*.py")) if not imports_bpy(file)]
        outcomes.append(run_check("ruff check", [str(core), "-m", "ruff", "check", "."]))
        outcomes.append(run_check("ruff format", [str(core), "-m", "ruff", "format", "--check", "."]))
        outcomes.append(run_check("mypy", [str(core), "-m", "mypy", "build.py", "core", *typed]))
    files = [file for file in sorted((ROOT / "tests").glob("test_*.py")) if imports_bpy(file)]
    queue = parts(core, blenders, files, options.pytest)
    with tempfile.TemporaryDirectory(prefix="mgpt3-tests-", ignore_cleanup_errors=True) as run:
        # Made once for all processes: what torch is compiled to, and the tests' models (tests/tiny_model.py).
        environment |= {"MGPT3_TEST_RUN": run, "PYTHONPYCACHEPREFIX": str(Path(run) / "bytecode")}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        outcomes += run_parts(queue, environment, first=not {"-x", "--exitfirst"}.isdisjoint(options.pytest))
    return closing(outcomes)


# --- zip


def zip_members() -> dict[str, Path]:
    """Name in the zip -> file, of the extension: the add-on at the root, the core beside it as plain files."""
    members = {"blender_manifest.toml": ROOT / "blender_manifest.toml", "LICENSE": ROOT / "LICENSE"}
    for folder, base in ((ROOT / "mgpt3_blender", ROOT / "mgpt3_blender"), (ROOT / "core", ROOT)):
        for file in sorted(folder.rglob("*")):
            name = file.relative_to(base).as_posix()
            hidden = any(part.startswith(".") or part == "__pycache__" for part in file.relative_to(base).parts)
            foreign = name.startswith("core/weights/") and name.split("/")[2] not in WEIGHTS
            if file.is_file() and not hidden and not foreign and file.suffix != ".pyc":
                members[name] = file
    return members


def build_zip(folder: Path) -> Path:
    """Write the extension's zip into `folder`. The same files give the same bytes, whenever and wherever built."""
    import tomllib  # not before the version of Python is known to have it

    manifest = tomllib.loads((ROOT / "blender_manifest.toml").read_text(encoding="utf-8"))
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{manifest['id']}-{manifest['version']}.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, file in sorted(zip_members().items()):
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # one system's file attributes everywhere, else Windows builds other bytes
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, file.read_bytes(), compresslevel=9)
    return target


def validator(python: Path) -> Path:
    """Blender's own command-line tool for extensions, inside the bpy wheel of the environment `python` belongs to."""
    return next(python.parent.parent.rglob("scripts/addons_core/bl_pkg/cli/blender_ext.py"))


def command_zip(options: argparse.Namespace) -> int:
    python = blender_environment("4.5").ensure()
    target = build_zip(options.out.resolve())
    result = subprocess.run([str(python), str(validator(python)), "validate", str(target)])
    size = target.stat().st_size / 1e6
    say(f"{target}: {size:.1f} MB, {len(zip_members())} files")
    if result.returncode:
        raise BuildError("Blender's validator rejects the zip; its reasons are above.")
    if size >= ZIP_LIMIT_MB:
        raise BuildError(f"The zip is {size:.1f} MB; an extension of this project stays under {ZIP_LIMIT_MB} MB.")
    if options.repository:
        index = build_repository(options.repository.resolve(), target, python)
        say(f"{index}: serve its folder as it is; Blender subscribes to the address of this file")
    return 0


def build_repository(folder: Path, archive: Path, python: Path) -> Path:
    """Put the zip into a folder that Blender can subscribe to, and write its index.json with Blender's own tool.

    Of two versions in a folder Blender takes either: other versions of this extension go. Other extensions stay.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for other in folder.glob(f"{archive.stem.rsplit('-', 1)[0]}-*.zip"):
        if not other.samefile(archive):
            other.unlink()
    if archive.parent != folder:
        shutil.copyfile(archive, folder / archive.name)
    command = [str(python), str(validator(python)), "server-generate", f"--repo-dir={folder}"]
    if subprocess.run(command).returncode:
        raise BuildError("Blender's tool could not write the repository's index; its reasons are above.")
    return folder / "index.json"


def command_example(options: argparse.Namespace) -> int:
    core, python = (
        core_environment().ensure(),
        blender_environment("4.2").ensure(),
    )  # the oldest: every later one opens it
    script = [str(python), "-u", str(ROOT / "docs" / "example.py"), f"--out={options.out.resolve()}"]
    return subprocess.call(script, env=module_environment(core))


def command_docs(options: argparse.Namespace) -> int:
    from docs.troubleshooting import PAGE, write

    say(f"{PAGE.relative_to(ROOT)}: {write()} messages")
    return 0


def command_pictures(options: argparse.Namespace) -> int:
    from docs import pictures

    return pictures.run(core_environment().ensure(), options.blender, tuple(options.only))


# --- demo, measure, train


def module_environment(core_python: Path) -> dict[str, str]:
    """The process environment in which modules of the core and of the add-on run, the core at the add-on's service."""
    environment = {**child_environment(core_python), "PYTHONPATH": str(ROOT)}
    environment.setdefault("BLENDER_USER_RESOURCES", str(ROOT / ".envs" / "blender-user"))
    return environment


def in_blender(module: str, arguments: list[str]) -> int:
    """Run a module of the add-on beside bpy 4.5, the core at its service; relative paths are the caller's."""
    core, python = core_environment().ensure(), blender_environment("4.5").ensure()
    return subprocess.call([str(python), "-u", "-m", module, *arguments], env=module_environment(core))


def command_demo(options: argparse.Namespace) -> int:
    out = options.out.resolve()
    arguments = [f"--seconds={options.seconds}", f"--seed={options.seed}", f"--out={out}"]
    return in_blender("mgpt3_blender.demo", [*arguments, "--", options.prompt])


def in_core(arguments: list[str]) -> int:
    """Run a command of the core in its own environment; relative paths are the caller's."""
    core = core_environment().ensure()
    return subprocess.call([str(core), "-u", "-m", "core", *arguments], env=module_environment(core))


def command_measure(options: argparse.Namespace) -> int:
    if options.what == "model":
        return in_core(["evaluate", *options.arguments])
    if options.what == "rigs":
        return in_blender("mgpt3_blender.measure_rigs", options.arguments)
    if options.what == "gaps":
        return in_core(["gaps", *options.arguments])
    if options.what == "captions":  # its part in Blender is a command that the core starts: it reads the arguments
        blender = [] if {"-h", "--help"} & set(options.arguments) else captions_on_rigs()
        return in_core(["captions", *options.arguments, *blender])
    what, target = options.what, options.json.resolve() if options.json else None
    into = [f"--json={target}"] if target else []
    places = [str(path.resolve()) for path in options.paths]
    if what == "speed":  # what a user waits for in Blender, then what the model itself costs
        code = in_blender("mgpt3_blender.measure", ["speed", *into])
        beside = target.with_name(f"{target.stem}_core.json") if target else None
        return max(code, in_core(["speed", *([f"--json={beside}"] if beside else [])]))
    if what == "pauses":
        return measure_pauses(target)
    if not places:
        needed = "the folder of the recordings: DIR" if what == "parity" else "joint bundles: NAME_joints.npz"
        parser().error(f"measure {what} needs {needed}")
    return in_core([what, *(["--data"] if what == "sampling" else []), *places, *into])


def measure_pauses(target: Path | None) -> int:
    """How long the window is held up, and what else must be quick: the tests with a bound, one after the other.

    Args:
        target: also write the figures to this file, as JSON: what, seconds, bound.
    """
    from testrun import closing, parts, run_parts

    core, blender = core_environment().ensure(), blender_environment("4.5").ensure()
    timed = [
        file for file in sorted((ROOT / "tests").glob("test_*.py")) if "within" in file.read_text(encoding="utf-8")
    ]
    queue = parts(core, {"Blender 4.5": blender}, [file for file in timed if imports_bpy(file)], [])
    with tempfile.TemporaryDirectory(prefix="mgpt3-pauses-") as folder:
        lines = Path(folder) / "figures"
        environment = {"OMP_NUM_THREADS": "1", **child_environment(core), "MGPT3_BOUNDS": str(lines)}
        outcomes = run_parts(queue, environment, lanes=1)
        told = lines.read_text(encoding="utf-8") if lines.exists() else ""
    figures = [json.loads(line) for line in told.splitlines()]
    for row in figures:
        late = "" if row["seconds"] < row["bound"] else "   TOO LONG"
        say(f"{1000 * row['seconds']:10.1f} ms, bound {1000 * row['bound']:6.0f}   {row['what']}{late}")
    if target:
        target.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    return closing(outcomes)


def captions_on_rigs() -> list[str]:
    """The option that names the command for captions of clips put on rigs."""
    python = blender_environment("4.5").ensure()
    return ["--blender", json.dumps([str(python), "-u", "-m", "mgpt3_blender.measure_captions"])]


def command_train(options: argparse.Namespace) -> int:
    return in_core(["train", *options.arguments])


def parser() -> argparse.ArgumentParser:
    import window_run

    raw = argparse.RawDescriptionHelpFormatter
    top = argparse.ArgumentParser(prog="build.py", description=__doc__, epilog=EXAMPLES, formatter_class=raw)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="prompt -> demo.blend, demo.mp4 and contact_sheet.png")
    demo.add_argument("prompt", help="what the character does, in one sentence")
    demo.add_argument("--seconds", type=float, default=4.0, help="length, 1 to 9.8 (default 4)")
    demo.add_argument("--seed", type=int, default=7, help="another seed, another take (default 7)")
    demo.add_argument("--out", type=Path, default=ROOT / "out", help="folder to write to (default out)")
    demo.set_defaults(run=command_demo)

    rest = "Any other argument goes to pytest; then only tests run, no lint and no types."
    test = commands.add_parser("test", help="lint, types and tests", epilog=rest)
    test.add_argument("--all", action="store_true", help="Blender 4.2 LTS and 5.0 as well as 4.5 LTS")
    window_run.add_options(test)
    test.set_defaults(run=command_test)

    make_zip = commands.add_parser("zip", help="the extension, checked by Blender's own validator")
    make_zip.add_argument("--out", type=Path, default=ROOT / "dist", help="folder to write to (default dist)")
    make_zip.add_argument("--repository", type=Path, metavar="DIR", help="also a repository that Blender subscribes to")
    make_zip.set_defaults(run=command_zip)
    docs = commands.add_parser("docs", help="the page of messages and remedies anew, from the code")
    docs.set_defaults(run=command_docs)
    pictures = commands.add_parser("pictures", help="the pictures of docs/ that show the interface, from a real window")
    pictures.add_argument("only", nargs="*", metavar="NAME", help="panel, describe, ... (default: all)")
    pictures.add_argument("--blender", metavar="PROGRAM", help="a Blender of your own (default: Debian's newest)")
    pictures.set_defaults(run=command_pictures)
    example = commands.add_parser("example", help="docs/example.blend anew: two figures to try things with")
    example.add_argument("--out", type=Path, default=ROOT / "docs" / "example.blend", help="the file to write")
    example.set_defaults(run=command_example)

    measure = commands.add_parser("measure", help="figures of what ships; exit code 1 when a bound does not hold")
    kinds = ["speed", "pauses", "parity", "sampling", *FORWARDED]
    measure.add_argument("what", choices=kinds, help="see README; some have options of their own")
    measure.add_argument("paths", type=Path, nargs="*", metavar="PATH", help="parity: a folder; sampling: bundles")
    measure.add_argument("--json", type=Path, help="also write the figures to this file")
    measure.set_defaults(run=command_measure, arguments=[])

    train = commands.add_parser("train", help="train a model: arguments as for `python -m core train`", add_help=False)
    train.add_argument("arguments", nargs=argparse.REMAINDER)
    train.set_defaults(run=command_train)
    return top


def main(arguments: list[str]) -> int:
    if sys.version_info[:2] != PYTHON:
        right = shutil.which("python3.11")
        if right is None:
            found = "{}.{}".format(*sys.version_info[:2])
            say(f"error: this is Python {found} and Blender's wheels need 3.11. Install it, run python3.11 build.py.")
            return 2
        return subprocess.call([right, str(Path(__file__).resolve()), *arguments])
    rest: list[str] = []
    if arguments[:1] == ["train"]:  # every option after it belongs to the core, --help too
        options = argparse.Namespace(run=command_train, command="train", arguments=arguments[1:])
    elif arguments[:1] == ["measure"] and arguments[1:2] and arguments[1] in FORWARDED:  # likewise
        options = argparse.Namespace(run=command_measure, command="measure", what=arguments[1], arguments=arguments[2:])
    else:
        options, rest = parser().parse_known_args(arguments)
    if rest and options.command != "test":
        parser().error(f"unknown arguments: {' '.join(rest)}")
    options.pytest = rest
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ended like by Ctrl C, and so is what it has started
    try:
        return options.run(options)
    except BuildError as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
