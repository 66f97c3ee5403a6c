"""A package index on this computer, and a proxy before it: real HTTP on the loopback address only.

The index can hold a file back half-way. As a proxy it answers for HOST, a name that does not exist: what arrives there
has gone through it; or it refuses everything.
"""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

HOST = "packages.invalid"


class Index:
    """Serves a folder of wheels; a context manager.

    Attributes:
        refuses: as a proxy it lets nothing through.
        hold: name of a file that is sent by half until `release`.
        fetched: names of the files that were sent whole, in order.
        tunnels: where CONNECT was asked to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.refuses = False
        self.hold = ""
        self.fetched: list[str] = []
        self.tunnels: list[str] = []
        self.holding = threading.Event()
        self._released = threading.Event()

    def __enter__(self) -> Index:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        self.place = f"127.0.0.1:{self._server.server_address[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
        self._server.shutdown()
        self._server.server_close()

    def release(self) -> None:
        self.hold = ""
        self._released.set()

    def settings(self, *, proxy: bool = False, secure: bool = False) -> dict[str, str]:
        """The variables that make pip and uv look here and nowhere else.

        Args:
            proxy: under a name that only the proxy knows.
            secure: by HTTPS, of which the proxy has to open a tunnel.
        """
        host = HOST if proxy else self.place
        url = f"{'https' if secure else 'http'}://{host}/simple"
        found = {"PIP_INDEX_URL": url, "PIP_TRUSTED_HOST": host, "UV_DEFAULT_INDEX": url, "UV_INSECURE_HOST": host}
        if proxy:
            names = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
            found |= dict.fromkeys(names, f"http://{self.place}")
        return {**found, "PIP_RETRIES": "1", "UV_HTTP_RETRIES": "1"}


def _handler(index: Index) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_CONNECT(self) -> None:
            index.tunnels.append(self.path)
            self.send_error(403, "Not from here")

        def do_GET(self) -> None:
            if index.refuses:
                self.send_error(403, "Not from here")
                return
            parts = [unquote(part) for part in urlsplit(self.path).path.split("/") if part]
            if len(parts) == 2 and parts[0] == "simple":
                self._list(parts[1])
            elif len(parts) == 2 and (index.folder / parts[1]).is_file():
                self._file(index.folder / parts[1])
            else:
                self.send_error(404)

        do_HEAD = do_GET  # noqa: N815

        def _list(self, name: str) -> None:
            mine = [f.name for f in sorted(index.folder.glob("*.whl"))
                    if f.name.split("-")[0].replace("_", "-").lower() == name]  # fmt: skip
            if not mine:
                self.send_error(404)
                return
            page = "".join(f'<a href="/files/{file}">{file}</a>\n' for file in mine)
            self._send(f"<!DOCTYPE html><html><body>{page}</body></html>".encode(), "text/html", "no-cache")

        def _file(self, path: Path) -> None:
            data = path.read_bytes()
            if self.command == "GET" and path.name == index.hold:
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[: len(data) // 2])
                self.wfile.flush()
                index.holding.set()
                index._released.wait(60)
                return
            self._send(data, "application/octet-stream", "max-age=86400")
            if self.command == "GET":
                index.fetched.append(path.name)

        def _send(self, data: bytes, kind: str, cache: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Cache-Control", cache)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

    return Handler
