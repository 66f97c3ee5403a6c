"""Why a step of a set-up failed, from what its program said last: one code, sentence and remedy each."""

from __future__ import annotations

import errno
import re
from collections.abc import Sequence
from pathlib import Path

from .errors import UserError

WITHOUT = "or fill a Wheels Folder on a computer that has a network"

FINAL = {"cancelled", "disk_full", "folder_unwritable", "setup_stalled", "path_too_long", "python_broken"}
"""What another way to fetch the same packages would not mend."""

NETWORK = {"network_failed", "proxy_refused", "certificate_untrusted"}

_FULL = re.compile(r"No space left|not enough space on the disk|Disk quota exceeded|os error 28\b|os error 112\b", re.I)
_LOCKED = re.compile(r"Permission denied|Read-only file system|Access is denied|os error (?:13|30)\b", re.I)
_LONG = re.compile(r"Long Path support|File name too long|os error 206\b", re.I)
_PROXY = re.compile(
    r"ProxyError|Cannot connect to proxy|Tunnel connection failed|tunnel error|unsuccessful tunnel"
    r"|Proxy Authentication Required|proxy connect|proxy authorization",
    re.I,
)
_CERTIFICATE = re.compile(
    r"CERTIFICATE_VERIFY_FAILED|SSLCertVerificationError|invalid peer certificate|UnknownIssuer", re.I
)
_NETWORK = re.compile(
    r"Temporary failure in name|getaddrinfo|Max retries|ConnectionError|NewConnectionError|Connection refused"
    r"|Connection reset|Connection (?:broken|aborted)|Read timed out|ReadTimeout|timed out|dns error|failed to lookup"
    r"|error sending request|Network is unreachable|IncompleteRead|RemoteDisconnected",
    re.I,
)
_MISSING = (
    re.compile(r"No matching distribution found for ([\w.-]+(?:[=<>!~]=?[\w.*+]+)?)"),
    re.compile(r"there (?:is|are) no versions? of ([\w.-]+(?:[=<>!~]=?[\w.*+]+)?)"),
    re.compile(r"Because ([\w.-]+) was not found"),
)


def failure(last: Sequence[str]) -> UserError:
    """The error for a failed step.

    Args:
        last: its last lines.
    """
    text = "\n".join(last)
    if _FULL.search(text):
        return disk_full()
    if _LONG.search(text):
        return UserError(
            "path_too_long",
            "Windows allows no paths as long as those of the packages.",
            "Enable long paths in Windows (Settings > System > For developers), then press the button again.",
        )
    if _PROXY.search(text):
        return UserError(
            "proxy_refused",
            "The network's proxy lets nothing through.",
            f"Check the addresses in HTTP_PROXY and HTTPS_PROXY or in the system's settings, {WITHOUT}.",
        )
    if _CERTIFICATE.search(text):
        return UserError(
            "certificate_untrusted",
            "The certificate of the package index is not trusted on this computer.",
            "Check the date; where the network puts in a certificate of its own, name its file in SSL_CERT_FILE.",
        )
    if "ensurepip" in text:
        return UserError(
            "venv_missing",
            "The Python that was found cannot make environments.",
            "Install its venv package (python3-venv on Debian and Ubuntu), or Python 3.13 from python.org.",
        )
    if _NETWORK.search(text):
        return UserError(
            "network_failed",
            "The packages cannot be reached over the network.",
            f"Check the connection and press the button to go on where it was, {WITHOUT}.",
        )
    for pattern in _MISSING:
        if found := pattern.search(text):
            return UserError(
                "package_missing",
                f"There is no {found.group(1)} for this computer and this Python.",
                "Update the add-on, or choose an existing Python that has the packages.",
            )
    if _LOCKED.search(text):
        return unwritable("the add-on's folder")
    said = next((line for line in reversed(last) if "error" in line.lower()), last[-1] if last else "")
    return UserError("setup_failed", f"The set-up failed: {said[:300]}", "Open the log for the whole story.")


def disk_full() -> UserError:
    return UserError("disk_full", "The disk is full.", "Free some space, then press the button to go on where it was.")


def unwritable(what: Path | str) -> UserError:
    return UserError(
        "folder_unwritable",
        f"There is no right to write to {what}.",
        "Give yourself the right to write there, or choose an existing Python instead.",
    )


def of_system(error: OSError, folder: Path) -> UserError:
    """The error for what the system refused while a folder was written to."""
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", -1)):
        return disk_full()
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return unwritable(folder)
    return UserError(
        "setup_failed",
        f"{folder} cannot be written to ({error.strerror or error}).",
        "Open the log for the whole story.",
    )
