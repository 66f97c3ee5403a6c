"""What goes wrong between here and a server, in one sentence each, with what to do about it."""

from __future__ import annotations

from typing import Any

from core.errors import CoreError

GO_ON = "Run the same command again: it goes on where it stopped."
BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})


class Interrupted(Exception):
    """A connection that ended before the file did."""


class Status(Exception):
    """A plain server's answer that is not the file."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


def raise_for_status(response: Any) -> None:
    """Raises Status for an answer that is no content."""
    if response.status_code not in (200, 206):
        raise Status(response.status_code)


def passing(error: Exception) -> bool:
    """Whether trying again may help."""
    import httpx2
    from huggingface_hub.errors import OfflineModeIsEnabled

    if isinstance(error, OfflineModeIsEnabled | httpx2.ProxyError | httpx2.UnsupportedProtocol) or _certificate(error):
        return False
    return isinstance(error, Interrupted | httpx2.TransportError) or _status(error) in BUSY


def explain_hub(error: Exception, repo: str, name: str, endpoint: str | None) -> CoreError:
    """Why a file of the hub could not be had.

    Codes: offline, no_network, hub_busy, login_needed, token_refused, access_needed, repo_missing, file_missing,
    download_failed.
    """
    from huggingface_hub import constants, errors, get_token

    page = f"https://huggingface.co/{repo}"
    status = _status(error)
    if isinstance(error, errors.GatedRepoError):
        if status == 401 or get_token() is None:
            return CoreError(
                "login_needed",
                f"{repo} is given only to signed-in users, and there is no Hugging Face login on this computer.",
                f"Accept the terms at {page}, make a token with read access at https://huggingface.co/settings/tokens "
                "and store it with: hf auth login (or set HF_TOKEN).",
            )
        return _no_access(repo, page)
    if isinstance(error, errors.RepositoryNotFoundError):
        login = "" if get_token() else " If it was made private, sign in first with: hf auth login."
        return CoreError(
            "repo_missing",
            f"There is no repository '{repo}' on Hugging Face that you may read.",
            f"See {page}; another place can be named with --repo.{login}",
        )
    if isinstance(error, errors.RevisionNotFoundError | errors.EntryNotFoundError):
        return CoreError("file_missing", f"The repository '{repo}' has no file '{name}'.", f"See {page}.")
    if status == 401:
        return CoreError(
            "token_refused",
            "Hugging Face refuses the login stored on this computer: it has run out or was deleted.",
            "Make a new one at https://huggingface.co/settings/tokens and store it with: hf auth login (or HF_TOKEN).",
        )
    if status == 403:
        return _no_access(repo, page)
    if isinstance(error, errors.FileMetadataError):
        return CoreError(
            "download_failed", f"The server does not answer as Hugging Face does ({error}).", "Check HF_ENDPOINT."
        )
    return _explain(error, endpoint or constants.ENDPOINT)


def explain_web(error: Exception, url: str) -> CoreError:
    """Why a file at a plain address could not be had. Codes: offline, no_network, hub_busy, file_missing, ..."""
    if _status(error) in (401, 403, 404, 410):
        return CoreError("file_missing", f"'{url}' is not there.", "Get the file by hand, or name another place.")
    return _explain(error, url)


def _no_access(repo: str, page: str) -> CoreError:
    return CoreError(
        "access_needed",
        f"Your Hugging Face account has no access to {repo} yet.",
        f"Open {page}, accept the terms and, where the page says so, wait for its makers' approval. A fine-grained "
        'token also needs "read access to public gated repositories".',
    )


def _explain(error: Exception, place: str) -> CoreError:
    import httpx2
    from huggingface_hub.errors import OfflineModeIsEnabled

    host = place.partition("://")[2].partition("/")[0] or place
    if isinstance(error, OfflineModeIsEnabled):
        return CoreError(
            "offline", "The network is switched off for this program (HF_HUB_OFFLINE).", "Unset it and try again."
        )
    if _certificate(error):
        return CoreError(
            "no_network",
            f"The secure connection to {host} is not trusted on this computer.",
            "Check the computer's clock and its certificates; a company's proxy may need its own (SSL_CERT_FILE).",
        )
    if _status(error) in BUSY:
        return CoreError("hub_busy", f"{host} is busy or out of order ({_status(error)}).", "Wait a little. " + GO_ON)
    if isinstance(error, httpx2.TransportError | Interrupted):
        return CoreError(
            "no_network",
            f"{host} cannot be reached, or the connection broke ({type(error).__name__}).",
            "Check the network and the proxy. " + GO_ON,
        )
    detail = str(error).strip().partition("\n")[0][:200]
    return CoreError("download_failed", f"The download from {host} failed: {detail or type(error).__name__}.", GO_ON)


def _status(error: Exception) -> int | None:
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None) or getattr(error, "status", None)
    return status if isinstance(status, int) else None


def _certificate(error: Exception) -> bool:
    return "CERTIFICATE_VERIFY_FAILED" in str(error)
