"""`reinstate runs watch`: by events where the server streams them, by looks where not."""

import json
from typing import Any

from typer.testing import CliRunner, Result

from cli.main import app
from tests.support.fake_api import RUN, TENANT, FakeApi, a_problem, a_run, a_stream, an_event

PLACE = f"/v1/tenants/{TENANT}/bulk-operation-runs/{RUN}"
LOOK, EVENTS = f"GET {PLACE}", f"GET {PLACE}/events"
RUNNING = a_run(status="running", counts={"total": 2, "processed": 1, "succeeded": 1, "failed": 0, "skipped": 0})


def watch(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["runs", "watch", str(RUN), *arguments])


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_every_event_is_a_line_of_json_and_the_run_is_the_last(api: FakeApi) -> None:
    api.on(LOOK, (200, RUNNING), (200, a_run()))
    api.on(EVENTS, a_stream(*(an_event(n, word) for n, word in ((1, "queued"), (2, "running"), (3, "succeeded")))))

    result = watch("--json")

    *events, run = lines(result)
    assert result.exit_code == 0
    assert [(event["sequence"], event["status"]) for event in events] == [
        (1, "queued"),
        (2, "running"),
        (3, "succeeded"),
    ]
    assert run["id"] == str(RUN)
    assert (run["status"], result.stderr) == ("succeeded", "")


def test_a_stream_that_ends_early_is_taken_up_after_the_last_event_that_was_heard(api: FakeApi) -> None:
    """A server that stops, a proxy that gives up, a server that is away for a moment: no event is lost or repeated."""
    api.on(LOOK, (200, RUNNING), (200, a_run()))
    api.on(
        EVENTS,
        a_stream(an_event(1, "queued"), an_event(2, "running")),
        a_problem(503, "service.unavailable"),
        a_stream(an_event(4, "running"), an_event(5, "succeeded")),
    )

    *events, _ = lines(watch("--json"))

    assert [event["sequence"] for event in events] == [1, 2, 4, 5]
    asked = [headers["Last-Event-ID"] for name, headers, _ in api.requests if name == EVENTS]
    assert asked == ["0", "2", "2"]


def test_a_server_without_streams_or_without_room_for_one_is_looked_at_instead(api: FakeApi) -> None:
    for answer in (a_problem(404, "resource.not_found"), a_problem(503, "service.overloaded")):
        api.on(EVENTS, answer)
        api.on(LOOK, (200, RUNNING), (200, a_run()))

        result = watch("--json")

        *events, run = lines(result)
        assert result.exit_code == 0
        assert [(event["kind"], event["status"]) for event in events] == [
            ("status", "running"),
            ("status", "succeeded"),
        ]
        assert run["status"] == "succeeded"


def test_a_run_that_ends_badly_is_told_by_its_events_and_then_as_an_error(api: FakeApi) -> None:
    error = {"code": "graph.forbidden", "title": "Not allowed", "context": {}}
    api.on(LOOK, (200, RUNNING), (200, a_run(status="failed", error=error)))
    api.on(EVENTS, a_stream(an_event(3, "failed", safe_error_code="graph.forbidden")))

    result = watch("--json")

    [event, last] = lines(result)
    assert result.exit_code == 1
    assert event["safe_error_code"] == last["error"]["code"] == "graph.forbidden"


def test_people_see_the_run_at_its_end_and_no_events(api: FakeApi) -> None:
    api.on(LOOK, (200, RUNNING), (200, a_run()))
    api.on(EVENTS, a_stream(an_event(1, "queued"), an_event(2, "succeeded")))

    result = watch()

    assert result.exit_code == 0
    assert "sequence" not in result.stdout
    assert "succeeded" in result.stdout


def test_an_answer_that_is_no_stream_of_ours_is_a_clear_failure(api: FakeApi) -> None:
    api.on(LOOK, (200, RUNNING))
    for answer in ((200, {"hello": "world"}), (200, b"data: <html>\n\n")):
        api.on(EVENTS, answer)

        result = watch("--json")

        [last] = lines(result)
        assert (result.exit_code, last["error"]["code"]) == (4, "cli.bad_answer")
