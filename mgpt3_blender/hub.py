"""Hugging Face, where the official model is: its pages, what is said before a download, the user's access token.

The token goes into the one file that Hugging Face's own programs read, never into a .blend file, the preferences or a
log. Knows nothing of Blender.
"""

from __future__ import annotations

import os
from pathlib import Path

from .errors import UserError

MODEL_PAGE = "https://huggingface.co/OpenMotionLab/motiongpt3"
TOKEN_PAGE = "https://huggingface.co/settings/tokens"

DOWNLOAD_FACTS = (
    "This fetches the official MotionGPT3 from Hugging Face (OpenMotionLab/motiongpt3) and, where they are not here "
    "yet, GPT-2's word list and the statistics of the motion data: about 1.2 GB, once, and as much again while it is "
    "converted. Afterwards everything works without a network. Stopped half-way, it goes on from there next time.",
    "Its authors ask for an account: sign in at Hugging Face and accept their terms on the model's page. This computer "
    "needs an access token of that account; the add-on asks for one where there is none.",
    "Licence: for research only. It learnt from HumanML3D and AMASS, whose terms apply too. You are asked to accept it "
    "before the first use.",
)
"""What is said before anything is fetched."""


def store_token(token: str) -> str:
    """Keep an access token where Hugging Face's own programs keep it, for this user only; the line that says so.

    Raises UserError: "token_empty", "folder_unwritable".
    """
    token = token.strip()
    if not token or any(c.isspace() for c in token):
        raise UserError("token_empty", "This is no access token.", f"Copy one from {TOKEN_PAGE}.")
    path = token_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(token)
    except OSError as error:
        raise UserError(
            "folder_unwritable", f"{path} cannot be written ({error.strerror}).", "Set HF_TOKEN instead."
        ) from error
    return f"The token is kept in {path}."


def token_path() -> Path:
    """Where Hugging Face's programs look for the token; the same variables move it."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = Path(os.environ.get("HF_HOME") or cache / "huggingface").expanduser()
    return Path(os.environ.get("HF_TOKEN_PATH") or home / "token").expanduser()
