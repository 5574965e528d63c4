"""A real HTTP server on the loopback interface that serves one content and misbehaves on demand."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Site:
    """What the server does. drops: after how many bytes of an answer it hangs up, one entry used up by each answer."""

    content: bytes = b""
    tag: str | None = '"one"'
    drops: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    ranges: bool = True
    honours_if_range: bool = True
    wrong_start: int = 0
    announces_length: bool = True
    kind: str = "application/octet-stream"
    gate: threading.Event | None = None
    asked: list[dict[str, str]] = field(default_factory=list)
    address: str = ""


class _Handler(BaseHTTPRequestHandler):
    site: Site

    def log_message(self, *_) -> None:
        pass

    def do_GET(self) -> None:
        site = self.site
        site.asked.append(dict(self.headers))
        if site.gate is not None:
            site.gate.wait(10)
        if site.statuses:
            self.send_error(site.statuses.pop(0))
            return
        start = self._start()
        if start > len(site.content):
            self.send_error(416)
            return
        body = site.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", site.kind)
        if site.announces_length:
            self.send_header("Content-Length", str(len(body)))
        if site.tag:
            self.send_header("ETag", site.tag)
        if start:
            told = start + site.wrong_start
            self.send_header("Content-Range", f"bytes {told}-{len(site.content) - 1}/{len(site.content)}")
        self.end_headers()
        self.wfile.write(body[: site.drops.pop(0)] if site.drops else body)
        self.close_connection = True

    def _start(self) -> int:
        wanted = self.headers.get("Range")
        same = not self.site.honours_if_range or self.headers.get("If-Range") == self.site.tag
        return int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.site.ranges and same else 0


@contextmanager
def serving(content: bytes) -> Iterator[Site]:
    site = Site(content)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"site": site}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    site.address = f"http://127.0.0.1:{server.server_address[1]}/weights.pth"
    try:
        yield site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
