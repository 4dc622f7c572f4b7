"""An HTTP API that answers what a test tells it to, on a real port."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

TENANT = UUID("0198c0de-0000-7000-8000-000000000001")
RUN = UUID("0198c0de-0000-7000-8000-0000000000c1")


def a_run(**changes: Any) -> dict[str, Any]:
    counts = {"total": 2, "processed": 2, "succeeded": 2, "failed": 0, "skipped": 0}
    valid = {
        "id": str(RUN),
        "tenant_id": str(TENANT),
        "run_type": "bulk_operation_run",
        "operation": "backup_set.create",
        "status": "succeeded",
        "counts": counts,
        "requested_by": "Mara",
        "created_at": "2026-03-02T09:30:00Z",
        "links": {},
    }
    return valid | changes


def an_event(sequence: int, status: str, **changes: Any) -> dict[str, Any]:
    """What the stream of `a_run` says of one event."""
    known = {name: a_run()[name] for name in ("tenant_id", "run_type", "operation", "counts")}
    kind = "progress" if status == "running" and sequence > 2 else "status"
    event = {"run_id": str(RUN), "kind": kind, "status": status, "sequence": sequence, **known}
    return event | {"occurred_at": "2026-03-02T09:30:00Z"} | changes


def a_stream(*events: dict[str, Any]) -> tuple[int, bytes]:
    """Answer with these events, between a hint and heartbeats, and end the stream."""
    lines = [f"id: {one['sequence']}\nevent: {one['kind']}\ndata: {json.dumps(one)}\n\n" for one in events]
    return 200, ("retry: 10\n\n" + ": heartbeat\n\n".join(lines) + ": heartbeat\n\n").encode()


def a_problem(status: int, code: str, title: str = "No", **more: Any) -> tuple[int, dict[str, Any]]:
    return status, {"type": "about:blank", "title": title, "detail": title, "status": status, "code": code, **more}


@dataclass
class FakeApi:
    """`answers` maps "GET /path" to what is answered, one after the other; the last one stays."""

    answers: dict[str, list[tuple[int, Any]]] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)
    url: str = ""

    def on(self, call: str, *answers: tuple[int, Any]) -> None:
        self.answers[call] = list(answers)

    def answer(self, call: str) -> tuple[int, Any]:
        known = self.answers.get(call)
        if not known:
            return a_problem(404, "resource.not_found", "There is no such resource")
        return known.pop(0) if len(known) > 1 else known[0]

    def bodies(self, call: str) -> list[Any]:
        return [body for name, _, body in self.requests if name == call]


@contextmanager
def serving(api: FakeApi) -> Iterator[FakeApi]:
    """Serve on a free port of the loopback interface."""

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            raw = self.rfile.read(length)
            call = f"{self.command} {urlsplit(self.path).path}"
            api.requests.append((call, dict(self.headers), json.loads(raw) if raw else None))
            status, document = api.answer(call)
            body = document if isinstance(document, bytes) else json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/event-stream" if isinstance(document, bytes) else "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = _handle  # noqa: N815  the base class's names

        def log_message(self, *_: object) -> None:
            """Tests are quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    api.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield api
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
