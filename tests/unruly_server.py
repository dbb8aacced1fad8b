"""A real HTTP server on loopback that misbehaves as told, one behaviour per request."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@dataclass
class Server:
    """What it serves and how: `script` holds behaviours for the next requests, then "ok".

    Behaviours: "ok" (ranges honoured), "whole" (ranges ignored), ("cut", k) closes after k bytes,
    ("stall", k) falls silent after k bytes,
    ("status", code), ("busy", seconds) is 503 with Retry-After, "long" names a length that is one
    byte too large, "chunked" and ("chunked_cut", k) send without a length.
    """

    content: bytes
    script: list = field(default_factory=list)
    requests: list[str | None] = field(default_factory=list)  # the Range header of each
    url: str = ""

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


@contextmanager
def serving(content: bytes, *script) -> Iterator[Server]:
    state = Server(content, list(script))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            asked = self.headers.get("Range")
            state.requests.append(asked)
            what = state.script.pop(0) if state.script else "ok"
            kind, value = what if isinstance(what, tuple) else (what, None)
            self.close_connection = True
            if kind in ("status", "busy"):
                self.send_response(value if kind == "status" else 503)
                if kind == "busy":
                    self.send_header("Retry-After", str(value))
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            body = state.content
            if asked and kind != "whole":
                start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
                if start >= len(body):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(body)}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
                body = body[start:]
            else:
                self.send_response(200)
            if kind.startswith("chunked"):
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                sent = body if value is None else body[:value]
                self.wfile.write(f"{len(sent):x}\r\n".encode() + sent + b"\r\n")
                if value is None:
                    self.wfile.write(b"0\r\n\r\n")
                return
            self.send_header("Content-Length", str(len(body) + (kind == "long")))
            self.end_headers()
            self.wfile.write(body if value is None else body[:value])
            if kind == "stall":
                self.wfile.flush()
                self.connection.recv(1)  # nothing comes: until the other side leaves

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}/file.bin"
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
