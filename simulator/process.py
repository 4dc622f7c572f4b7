"""Runs a simulator as a process of its own and talks to it: for demonstrations, proofs and tests."""

import json
import ssl
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from simulator.journal import Entry, entry_of

TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # never used, and quicker than the default, which reads all roots
_PATIENCE = 10.0  # seconds for a simulator to end


@dataclass(frozen=True, slots=True)
class RunningSimulator:
    """A simulator that listens: its address, its tenants and what signs in to them."""

    url: str
    tenants: tuple[str, ...]
    client_id: str
    client_secret: str
    pid: int

    def token(self, tenant: str) -> str:
        """Sign in to a tenant."""
        form = {
            "grant_type": "client_credentials",
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "scope": "https://graph.microsoft.com/.default",
        }
        answer = httpx.post(f"{self.url}/{tenant}/oauth2/v2.0/token", data=form, verify=TLS)
        return str(answer.raise_for_status().json()["access_token"])

    def graph(self, tenant: str, **headers: str) -> httpx.Client:
        """Open a client that is signed in to a tenant; its addresses are relative to `/beta/`."""
        signed_in = {"Authorization": f"Bearer {self.token(tenant)}", **headers}
        return httpx.Client(base_url=f"{self.url}/beta/", headers=signed_in, verify=TLS)

    def admin(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401  any JSON
        """Call the admin API; `path` is below `/_simulator`. Raises `httpx.HTTPStatusError` on a refusal."""
        answer = httpx.request(method, f"{self.url}/_simulator{path}", json=body, verify=TLS, timeout=60)
        return answer.raise_for_status().json()

    def new_tenant(self, *, sample: bool = False, name: str | None = None, denied: Sequence[str] = ()) -> str:
        """Make a tenant and return its id; collections that are `denied` are answered 403."""
        order = {"sample": sample, "name": name, "denied": list(denied)}
        return str(self.admin("POST", "/tenants", order)["id"])

    def journal(self, since: int = 0) -> list[Entry]:
        """Entries of the journal after a number."""
        return [entry_of(record) for record in self.admin("GET", f"/journal?since={since}")]

    def last_seq(self) -> int:
        """The number of the journal's last entry: a mark for `journal`."""
        return int(self.admin("GET", "/counters")["last_seq"])


@contextmanager
def running(folder: Path, options: Sequence[str] = ()) -> Iterator[RunningSimulator]:
    """Run a simulator until the block ends; it writes `journal.jsonl` and `ready.json` into `folder`.

    `options` are those of `python -m simulator`. Raises `RuntimeError` when it ends before it listens.
    """
    process = launch(folder, options)
    try:
        yield wait_until_ready(process, folder)
    finally:
        process.terminate()
        process.wait(_PATIENCE)
        if process.stdout is not None:
            process.stdout.close()


def launch(folder: Path, options: Sequence[str] = ()) -> "subprocess.Popen[str]":
    """Start the process and return at once."""
    files = ["--journal", str(folder / "journal.jsonl"), "--ready-file", str(folder / "ready.json")]
    command = [sys.executable, "-m", "simulator", *files, *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603  our own module


def wait_until_ready(process: "subprocess.Popen[str]", folder: Path) -> RunningSimulator:
    """Wait for the line that says that it listens; a process that dies ends the wait."""
    if process.stdout is None or not process.stdout.readline():
        raise RuntimeError(f"the simulator ended with status {process.wait()}")
    known = json.loads((folder / "ready.json").read_text(encoding="utf-8"))
    tenants = tuple(tenant["id"] for tenant in known["tenants"])
    return RunningSimulator(known["url"], tenants, known["client_id"], known["client_secret"], process.pid)
