"""No secret that the system was given is found anywhere but where it is sealed."""

import base64
import json
from pathlib import Path
from urllib.parse import quote

import zstandard

from cli.stack import Stack
from tests.support import stack as servers
from tests.walls.canaries import describe, search
from tests.walls.planted import Canaries, Counts


def test_no_planted_secret_is_found_outside_of_sealed_columns(
    stack: Stack, database_template: str, tmp_path: Path
) -> None:
    with (
        servers.temporary_database(stack, database_template) as database_url,
        servers.temporary_vhost(stack) as amqp_url,
    ):
        counts = search(tmp_path, database_url, amqp_url, stack.management_url)

    assert dict(counts.hits) == {}, json.dumps(describe(counts), indent=2)
    assert min(counts.searched[place] for place in ("logs", "rows", "messages", "headers", "answers", "commands")) > 0
    must_find = (
        *("rows: name", "answers: name", "answers: content", "logs: lines of ours", "messages: parked"),
        *("rows: content with the key", "rows: credential with the key"),
    )
    assert [control for control in must_find if not counts.controls[control]] == []


def test_the_search_finds_a_canary_in_each_of_its_spellings() -> None:
    canaries, counts = Canaries(), Counts()
    value = canaries.plant("one", 'p@ss/"word"-0123456789')
    raw = value.encode()
    forms = [raw, json.dumps(value).encode(), quote(value, safe="").encode(), raw.hex().encode()]
    forms += [base64.b64encode(b"x" * shift + raw + b"tail") for shift in range(3)]
    forms.append(zstandard.ZstdCompressor().compress(b"{" + raw + b"}"))
    for form in forms:
        counts.look("rows", "here", form, canaries)
    counts.look("rows", "here", b"nothing of it", canaries)
    assert counts.hits == {"rows: one in here": len(forms)}
