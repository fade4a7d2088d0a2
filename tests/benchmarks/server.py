"""The flag service of the benchmarks: FDv1 and FDv2 on loopback. It is a separate process, so it shares no lock with a client.

``python -m tests.benchmarks.server FOLDER`` prints its port and serves the documents in the folder until its
standard input closes. ``/large/sdk/poll`` is FDv2's poll of the flag set ``large``. ``/counted`` returns the number of
evaluations in the summaries that came in since the previous request for it.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Final

_POLLS: Final = {"/sdk/poll": "poll.json", "/sdk/latest-all": "latest-all.json"}
_STREAMS: Final = {"/sdk/stream": "stream"}
_PIECE: Final = 64 * 1024


@contextmanager
def running(folder: Path) -> Generator[str]:
    """The server's address, while the server runs."""
    with Popen([sys.executable, "-m", "tests.benchmarks.server", str(folder)], stdin=PIPE, stdout=PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.stdin.close()


class _ReceivedEvaluations:
    """The number of evaluations that the service received in summaries."""

    def __init__(self) -> None:
        self._count = 0
        self._lock = threading.Lock()

    def add(self, evaluations: int) -> None:
        with self._lock:
            self._count += evaluations

    def take(self) -> int:
        """Returns the count and sets it to 0."""
        with self._lock:
            taken, self._count = self._count, 0
            return taken


def serve(folder: Path) -> None:
    """Serves until standard input closes. All bodies are in memory before the first request."""
    bodies = {path.name: path.read_bytes() for path in folder.iterdir()}

    received = _ReceivedEvaluations()

    class Service(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Else the body waits for the headers to be acknowledged, which takes some clients' kernels 40 ms.
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            size, _, path = self.path.partition("?")[0].lstrip("/").partition("/")
            path = f"/{path}"
            if path == "/counted":
                self._answer(str(received.take()).encode())
            elif path in _POLLS:
                self._answer(bodies[f"{size}.{_POLLS[path]}"])
            elif path in _STREAMS:
                self._stream(bodies[f"{size}.{_STREAMS[path]}"])
            else:
                self.send_error(404)

        def do_POST(self) -> None:
            """Events: it counts them and keeps nothing."""
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.path.endswith("/bulk"):
                received.add(_evaluations(body))
            self._answer(b"")

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _stream(self, body: bytes) -> None:
            """The events, then silence until the client disconnects."""
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for start in range(0, len(body), _PIECE):
                piece = body[start : start + _PIECE]
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            self.rfile.read(1)
            self.close_connection = True

        def handle(self) -> None:
            try:
                super().handle()
            except ConnectionError:
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it so
            """Logs nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.read()


def _evaluations(body: bytes) -> int:
    """How many a payload counts."""
    summaries = (event for event in json.loads(body) if event["kind"] == "summary")
    return sum(counter["count"] for each in summaries for flag in each["features"].values() for counter in flag["counters"])


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
