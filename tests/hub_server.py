"""A Hugging Face hub on this computer, as far as downloads go: repositories, logins, gates, large files at another
address, parts of files, and connections that break. Real HTTP servers: a port for the hub, one for large files."""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = 100_000
"""Bytes from which a file is kept elsewhere, the way the hub keeps those of git-lfs."""


@dataclass
class Hub:
    """What the server has and how it behaves; may be changed while it runs.

    Args:
        files: (repository, file name) -> content.
        plain: path -> content, for what is no hub.
        gated: repository -> tokens that have access.
        tokens: those of accounts that exist.
        budgets: how many bytes each coming transfer sends before its connection breaks; then they are whole.
        stall: hold a transfer at its budget instead of breaking it, until `release` is called.
        ranges: whether parts of files are served.
        lies: file name -> content that is sent instead of the one that is described.
        sizes: file name -> size that is claimed.
        busy: answers of "out of order" that come first.
    """

    files: dict[tuple[str, str], bytes] = field(default_factory=dict)
    plain: dict[str, bytes] = field(default_factory=dict)
    gated: dict[str, set[str]] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    budgets: list[int] = field(default_factory=list)
    stall: bool = False
    ranges: bool = True
    lies: dict[str, bytes] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    busy: int = 0
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)  # (address, method and path, headers)

    def __enter__(self) -> Hub:
        self._released = threading.Event()
        self._servers = [ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, large)) for large in (False, True)]
        for server in self._servers:
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        self.url, self.large_url = (f"http://127.0.0.1:{server.server_address[1]}" for server in self._servers)
        return self

    def __exit__(self, *_: object) -> None:
        self._released.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def transfers(self, name: str) -> list[str]:
        """The Range header ("" for none) of every GET of a file, in order."""
        return [h.get("range", "") for _, line, h in self.requests if line.startswith("GET") and line.endswith(name)]


def _handler(hub: Hub, large: bool) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self._answer()

        do_GET = do_HEAD  # noqa: N815

        def _answer(self) -> None:
            path = unquote(urlsplit(self.path).path)
            headers = {k.lower(): v for k, v in self.headers.items()}
            hub.requests.append(("large" if large else "hub", f"{self.command} {path}", headers))
            if hub.busy > 0:
                hub.busy -= 1
                return self._end(503)
            if path in hub.plain:
                return self._send(path, hub.plain[path], {})
            if large:
                _, repo, name = path.split("|")
                return self._send(name, hub.lies.get(name, hub.files[repo, name]), {})
            if path.startswith("/api/models/") and "/tree/" in path:
                repo = path.removeprefix("/api/models/").partition("/tree/")[0]
                tree = [{"type": "file", "path": n, "size": len(d), "oid": "0" * 40}
                        for (r, n), d in hub.files.items() if r == repo]  # fmt: skip
                return self._send(path, json.dumps(tree).encode(), {"Content-Type": "application/json"})
            if "/resolve/" not in path:
                return self._end(404)
            repo, _, rest = path[1:].partition("/resolve/")
            return self._resolve(repo, rest.partition("/")[2], headers.get("authorization", ""))

        def _resolve(self, repo: str, name: str, login: str) -> None:
            token = login.removeprefix("Bearer ")
            if token and token not in hub.tokens:
                return self._end(401, message="Invalid credentials in Authorization header")
            if not any(r == repo for r, _ in hub.files):
                return self._end(404 if token else 401, code="RepoNotFound")
            if repo in hub.gated and token not in hub.gated[repo]:
                return self._end(403 if token else 401, code="GatedRepo")
            if (repo, name) not in hub.files:
                return self._end(404, code="EntryNotFound")
            data = hub.files[repo, name]
            about = {"X-Repo-Commit": COMMIT}
            if len(data) < LARGE:
                git = hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()
                return self._send(name, hub.lies.get(name, data), {**about, "ETag": f'"{git}"'})
            self.send_response(302)
            about["X-Linked-ETag"] = f'"{hashlib.sha256(data).hexdigest()}"'
            about["X-Linked-Size"] = str(hub.sizes.get(name, len(data)))
            about["Location"] = f"{hub.large_url}/|{repo}|{name}"
            for key, value in {**about, "Content-Length": "0"}.items():
                self.send_header(key, value)
            return self.end_headers()

        def _end(self, status: int, code: str = "", message: str = "") -> None:
            self.send_response(status)
            if code:
                self.send_header("X-Error-Code", code)
            if message:
                self.send_header("X-Error-Message", message)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _send(self, name: str, data: bytes, headers: dict[str, str]) -> None:
            start = 0
            wanted = self.headers.get("Range", "")
            if wanted and hub.ranges:
                start = int(wanted.removeprefix("bytes=").rstrip("-"))
                if start >= len(data):
                    return self._end(416)
                self.send_response(206)
                headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            else:
                self.send_response(200)
            for key, value in {**headers, "Content-Length": str(len(data) - start)}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "HEAD":
                return None
            limited = len(data) >= LARGE and bool(hub.budgets)
            budget = hub.budgets.pop(0) if limited else len(data)
            self.wfile.write(data[start : start + budget])
            if limited:
                self.wfile.flush()
                if hub.stall:
                    hub._released.wait(60)
                self.close_connection = True
                self.connection.close()
            return None

    return Handler
