"""Where a Blender with windows comes from: a chroot of a Debian suite, made here once, or one of the user's own.

Debian 12's Blender is too old to be of use. `debootstrap` makes a folder with a whole Debian of a newer suite in it,
from the mirror that this machine's apt is configured with. What is mounted into it (devices, the test's folder, the
Python that runs the model, read-only) is mounted in a mount namespace of the one process that needs it: it is gone
when the process ends, whatever way it ends, and no deletion of the folder can ever reach through it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SUITES = {"4.3": "trixie", "5.2": "sid"}
"""Which Blender which suite of Debian has, at the time of writing; sid moves on."""
TOOLS = {"Xvfb": "xvfb", "xdotool": "xdotool", "import": "imagemagick", "tesseract": "tesseract-ocr"}
PACKAGES = ["blender", "libgl1-mesa-dri", "libegl-mesa0", "libgl1", "libegl1", "libglx-mesa0", "ca-certificates"]
PACKAGES += ["python3-numpy", "python3-requests", "python3-zstandard", "python3-cattr"]  # what Blender's scripts import
PACKAGES += ["libexpat1", "libffi8", "libsqlite3-0", "libbz2-1.0", "liblzma5"]  # what the core's Python is linked with


class PlaceError(Exception):
    """Why there is no Blender with windows: what happened, and what to do about it."""


@dataclass(frozen=True)
class Place:
    """A Blender that can be started: `root` is the chroot it is in, None where it is this machine's."""

    name: str
    program: str = "blender"
    root: Path | None = None

    def command(self, arguments: list[str], folder: Path, display: str, seen: tuple[Path, ...] = ()) -> list[str]:
        """The command that runs this Blender with a home of its own in `folder` and a bare environment.

        Args:
            seen: folders that it may read at their own paths. `folder` it may also write to.
        """
        home = folder / "home"
        home.mkdir(parents=True, exist_ok=True)
        values = {"HOME": str(home), "LANG": "C.UTF-8", "PATH": "/usr/bin:/bin", "DISPLAY": display}
        values |= {"OMP_NUM_THREADS": "1", "LIBGL_ALWAYS_SOFTWARE": "1", "TMPDIR": str(folder)}
        program = ["env", "-i", *(f"{key}={value}" for key, value in values.items()), self.program, *arguments]
        if self.root is None:
            return program
        steps = [*_devices(self.root), *_bind(folder, self.root)]
        for path in seen:
            steps += _bind(path, self.root, read_only=True)
        return _apart(steps, ["chroot", str(self.root), *program])


def _apart(steps: list[str], command: list[str]) -> list[str]:
    """A command after mounts that only it sees."""
    script = "\n".join(["set -e", *steps, f"exec {shlex.join(command)}"])
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]


def _devices(root: Path) -> list[str]:
    inside = shlex.quote(str(root))
    return [f"mount --rbind /{kind} {inside}/{kind}" for kind in ("proc", "sys", "dev")]


def _bind(path: Path, root: Path, *, read_only: bool = False) -> list[str]:
    source, target = shlex.quote(str(path)), shlex.quote(f"{root}{path}")
    ready = [f"mkdir -p {target}"]
    if path.is_file():
        ready = [f"mkdir -p {shlex.quote(str(Path(f'{root}{path}').parent))}", f"touch {target}"]
    steps = [*ready, f"mount --bind {source} {target}"]
    return [*steps, f"mount -o remount,bind,ro {target}"] if read_only else steps


def own(program: str) -> Place:
    """A Blender of the user's own. Raises PlaceError where there is none at that path."""
    found = shutil.which(program)
    if found is None:
        raise PlaceError(f"There is no program {program}. Give the path of Blender's program.")
    return Place(Path(found).resolve().parent.name, str(Path(found).resolve()))


def mirror() -> str:
    """The Debian mirror that this machine's apt is configured with. Raises PlaceError where it has none."""
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(SITE) $(REPO_URI)", "Created-By: Packages"],
        capture_output=True,
        text=True,
    )
    for line in listed.stdout.splitlines():
        uri = line.split()[-1]
        if re.search(r"/debian/?$", uri):
            return uri
    raise PlaceError("apt has no Debian mirror. Run `apt-get update` on a Debian system, or give --blender PROGRAM.")


def need_tools(*, debootstrap: bool) -> None:
    """Install the programs that see and click, as .ci/run installs libraries. Raises PlaceError where that fails."""
    wanted = TOOLS | ({"debootstrap": "debootstrap"} if debootstrap else {})
    missing = [package for tool, package in wanted.items() if shutil.which(tool, path=_path()) is None]
    if not missing:
        return
    install = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise PlaceError(f"The window test needs {', '.join(missing)}. On Debian and Ubuntu: sudo {' '.join(install)}")
    print(f"installing {' '.join(missing)}", flush=True)
    for command in (["apt-get", "update", "-qq"], install):
        done = subprocess.run(command, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, capture_output=True)
        if done.returncode:
            raise PlaceError(f"{' '.join(command)} failed: {done.stderr.decode(errors='replace').strip()[-400:]}")


def ensure(series: str) -> Place:
    """The chroot with this Blender, made where there is none yet: a minute or two, and 2 GB. Raises PlaceError."""
    suite = SUITES[series]
    root = ROOT / ".envs" / f"window-{suite}"
    place, done = Place(f"{series} ({suite})", root=root), root / ".stamp"
    stamp = hashlib.sha256(json.dumps([suite, PACKAGES]).encode()).hexdigest()
    if os.geteuid() != 0:
        raise PlaceError("A chroot is made and entered by root only. Run as root, or give --blender PROGRAM.")
    if done.is_file() and done.read_text(encoding="utf-8") == stamp:
        return place
    print(f"chroot {suite}: making it, once; this takes some minutes ...", flush=True)
    if root.exists():
        remove(root)
    root.mkdir(parents=True)
    log = root.with_suffix(".log")
    inside = ["chroot", str(root), "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive"]
    apt = [*inside, "apt-get", "-o", "Acquire::Check-Valid-Until=false"]
    _step(["debootstrap", "--variant=minbase", suite, str(root), mirror()], log)
    for name in ("resolv.conf", "hosts"):
        shutil.copyfile(f"/etc/{name}", root / "etc" / name)
    table = root / "etc/mtab"
    if not table.is_symlink():
        table.symlink_to("/proc/self/mounts")
    _step(_apart(_devices(root), [*apt, "update"]), log)
    _step(_apart(_devices(root), [*apt, "install", "-y", "--no-install-recommends", *PACKAGES]), log)
    _step(_apart(_devices(root), [*inside, "apt-get", "clean"]), log)
    done.write_text(stamp, encoding="utf-8")
    return place


def places(wanted: list[str] | None) -> list[Place]:
    """The Blenders to drive, made where they are not there yet. None: those of the suites. Raises PlaceError."""
    names = wanted or list(SUITES)
    need_tools(debootstrap=any(name in SUITES for name in names))
    return [ensure(name) if name in SUITES else own(name) for name in names]


def python_folders(python: Path) -> tuple[Path, ...]:
    """What a Blender in a chroot has to see so that this Python runs there: its environment and what it was made of."""
    asked = "import sys; print(sys.prefix, sys.base_prefix, 'python%d.%d' % sys.version_info[:2], sep='\\n')"
    prefix, base, name = subprocess.check_output([str(python), "-c", asked], text=True).splitlines()
    if base != "/usr":
        return Path(prefix), Path(base)
    return Path(prefix), Path(f"/usr/bin/{name}"), Path(f"/usr/lib/{name}")  # not all of /usr: the chroot has its own


def remove(root: Path) -> None:
    """Delete a chroot. Raises PlaceError, and deletes nothing, where something is mounted in it."""
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()]
    within = [mount for mount in mounts if mount.startswith(f"{root}/")]
    if within:
        raise PlaceError(f"{', '.join(within)}: mounted by somebody. Unmount it before {root.name} is made anew.")
    shutil.rmtree(root)


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"  # debootstrap is an administrator's


def _step(command: list[str], log: Path) -> None:
    with log.open("ab") as file:
        code = subprocess.call(command, stdout=file, stderr=file, env={**os.environ, "PATH": _path()})
    if code:
        raise PlaceError(f"{command[0]} failed with exit code {code}. The whole output is in .envs/{log.name}.")
