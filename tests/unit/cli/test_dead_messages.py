"""A run's dead messages on the command line."""

from typer.testing import CliRunner

from cli.main import app
from tests.support.fake_api import RUN, TENANT, FakeApi, a_run

DEAD = {
    "queue": "bulk.dead",
    "message_id": "m-[bold]1",
    "type": "reinstate.run.wake_up.v1",
    "code": "message.retries_exhausted",
    "title": "A message failed in every waiting room",
    "next_step": "Mend the cause, then send it again: reinstate dead replay.",
}


def test_a_run_says_which_of_its_messages_wait_and_what_to_do(api: FakeApi) -> None:
    settled = DEAD | {"message_id": "m2", "resolution": "replayed"}
    api.on(f"GET /v1/tenants/{TENANT}/bulk-operation-runs/{RUN}", (200, a_run(dead_messages=[DEAD, settled])))

    shown = CliRunner().invoke(app, ["runs", "show", str(RUN)])

    assert shown.exit_code == 0, shown.output
    waiting, done = (line for line in shown.stdout.splitlines() if line.startswith("dead message"))
    assert "m-[bold]1 waits in bulk.dead: A message failed in every waiting room (message.retries" in waiting
    assert waiting.endswith("reinstate dead replay.")
    assert "m2 replayed" in done
    assert "reinstate dead replay" not in done
