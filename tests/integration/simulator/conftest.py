"""A simulator as a process of its own, and clients that are signed in to its tenants."""

import json
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest


TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # never used, and quicker than the default, which reads all roots


@dataclass(frozen=True)
class Simulator:
    """A running simulator: its address, its sign-in data, the file of its journal and its process."""

    url: str
    tenants: list[str]
    client_id: str
    client_secret: str
    journal: Path
    process: subprocess.Popen[str]

    def token(self, tenant: str) -> str:
        form = {
            "grant_type": "client_credentials",
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "scope": "https://graph.microsoft.com/.default",
        }
        answer = httpx.post(f"{self.url}/{tenant}/oauth2/v2.0/token", data=form, verify=TLS)
        return str(answer.raise_for_status().json()["access_token"])

    def graph(self, tenant: str, **headers: str) -> httpx.Client:
        """A client for one tenant."""
        signed_in = {"Authorization": f"Bearer {self.token(tenant)}", **headers}
        return httpx.Client(base_url=f"{self.url}/beta/", headers=signed_in, verify=TLS)

    def admin(self, method: str, path: str, body: object = None) -> Any:
        answer = httpx.request(method, f"{self.url}/_simulator{path}", json=body, verify=TLS)
        return answer.raise_for_status().json()

    def new_tenant(self, *, sample: bool = False) -> str:
        """A tenant that no other test touches."""
        return str(self.admin("POST", "/tenants", {"sample": sample})["id"])


def start(folder: Path, *options: str) -> Simulator:
    """Start a simulator and wait until it says that it listens."""
    ready = folder / "ready.json"
    journal = folder / "journal.jsonl"
    command = [sys.executable, "-m", "simulator", "--ready-file", str(ready), "--journal", str(journal), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603  our own module
    assert process.stdout is not None
    said = process.stdout.readline()  # ends at once when the process dies
    assert said, f"the simulator ended with {process.wait()}"
    known = json.loads(ready.read_text(encoding="utf-8"))
    tenants = [tenant["id"] for tenant in known["tenants"]]
    return Simulator(known["url"], tenants, known["client_id"], known["client_secret"], journal, process)


def stop(simulator: Simulator) -> None:
    simulator.process.terminate()
    simulator.process.wait(10)
    assert simulator.process.stdout is not None
    simulator.process.stdout.close()


@pytest.fixture(scope="session")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    running = start(tmp_path_factory.mktemp("simulator"), "--tenants", "2", "--sample")
    yield running
    stop(running)
