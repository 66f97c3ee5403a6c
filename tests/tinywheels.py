"""Wheels of a few bytes for tests of the set-up: real packages to pip and uv, without the size of torch."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Sequence
from pathlib import Path


def make_wheel(
    folder: Path,
    name: str,
    version: str = "1.0",
    files: dict[str, bytes] | None = None,
    requires: Sequence[str] = (),
) -> Path:
    """Write a wheel for every Python and system; its path.

    Args:
        name: as in requirements.
        files: path in site-packages -> content; a module of the package's name where none are given.
        requires: the packages that it asks for.
    """
    plain = name.replace("-", "_")
    about = "".join(f"Requires-Dist: {other}\n" for other in requires)
    info = f"{plain}-{version}.dist-info"
    content = {
        **({f"{plain}.py": b"ANSWER = 42\n"} if files is None else files),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{about}".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for path, data in content.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(data)}\n"
    content[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{plain}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in content.items():
            archive.writestr(path, data)
    return wheel
