"""Each kind of process, with a secret in what it stumbles over: whatever it writes of it has gone through redaction."""

import json
import subprocess
import sys
from typing import Any

import pytest

CANARY = "hunter2-canary-of-a-process"

_LOGS = f"""
import logging, threading, warnings
logging.getLogger("some.library").error("password=%s", "{CANARY}")
logging.getLogger("uvicorn.error").error("Authorization: Bearer {CANARY}")
logging.getLogger("asyncio").error("lost", exc_info=RuntimeError("{CANARY}"))
warnings.warn("token={CANARY}")
thread = threading.Thread(target=lambda: int("{CANARY}"))
thread.start()
thread.join()
class Rude:
    def __del__(self):
        raise RuntimeError("{CANARY}")
Rude()
raise RuntimeError("{CANARY}")
"""
_SERVING = f"""
import httpx, json, threading, warnings
from simulator import server, issuer
from starlette.routing import Route
async def stumble(request):
    raise RuntimeError("{CANARY}")
def ask(line):
    said = json.loads(line)
    url = said.get("url") or said["issuer"]
    def look():
        assert httpx.get(url + "/stumble").status_code == 500
        raise SystemExit(signal.raise_signal(signal.SIGTERM))
    threading.Thread(target=look).start()
import signal
"""
SIMULATOR = f"""{_SERVING}
made = server.create_app
def create_app(*given):
    app = made(*given)
    app.router.routes.insert(0, Route("/stumble", stumble))
    return app
server.create_app = create_app
server.serve(server.SimulatorSettings(tenants=0), ask)
"""
ISSUER = f"""{_SERVING}
from shared.runtime.settings import Mode
made = issuer.create_app
def create_app(*given):
    app = made(*given)
    app.router.routes.insert(0, Route("/stumble", stumble))
    return app
issuer.create_app = create_app
issuer.serve(Mode.DEVELOPMENT, port=0, audience="a", announce=ask)
"""


def written_by(program: str) -> tuple[int, str, list[dict[str, Any]]]:
    """Run a program; return how it ended, all it wrote, and its log lines."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr, [json.loads(line) for line in done.stderr.splitlines()]


@pytest.mark.parametrize(
    ("service", "begin"),
    [
        ("notifier", "from shared.runtime.logging import configure; configure('notifier')"),
        ("cli", "from cli import logs; logs._configure()"),
    ],
)
def test_nothing_that_a_process_can_say_goes_past_redaction(service: str, begin: str) -> None:
    code, whole, lines = written_by(f"{begin}\n{_LOGS}")

    assert (code, CANARY in whole) == (1, False)
    assert {line["service"] for line in lines} == {service}
    assert [line["action"] for line in lines] == [
        *("library.message",) * 4,
        *("thread.crashed", "error.unraisable", "process.crashed"),
    ]


def test_a_command_that_crashes_says_so_without_the_errors_text() -> None:
    program = f"""
from cli import logs
def stumble():
    import logging
    logging.getLogger("a").warning("secret=%s", "{CANARY}")
    raise RuntimeError("{CANARY}")
logs.guarded(stumble)
"""
    code, whole, lines = written_by(program)

    assert (code, CANARY in whole) == (1, False)
    assert [(line["service"], line["action"]) for line in lines] == [
        ("cli", "library.message"),
        ("cli", "process.crashed"),
    ]
    assert lines[1]["error_type"] == "RuntimeError"


def test_the_command_line_runs_behind_it_and_keeps_its_exit_codes() -> None:
    program = "import sys; sys.argv = ['reinstate', 'no-such-command']; from cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, timeout=60)

    assert done.returncode == 2


@pytest.mark.parametrize(("service", "program"), [("simulator", SIMULATOR), ("dev-issuer", ISSUER)])
def test_what_a_server_of_the_simulator_stumbles_over_is_told_by_type_and_place(service: str, program: str) -> None:
    _, whole, lines = written_by(program)

    assert CANARY not in whole
    assert [(line["service"], line["error_type"]) for line in lines] == [(service, "RuntimeError")]
