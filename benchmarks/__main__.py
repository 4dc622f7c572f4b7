"""`make bench`: what Reinstate does in a second, beside the limits of its parts and, with PEERS, other job systems.

Prints a table and, as the last line of standard output, one JSON object. How far it is goes to standard error. Exit
code 1 when something could not be measured; a target that is missed is a result, not a failure.
"""

import asyncio
import json
import os
import shutil
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.cases import CASES
from benchmarks.figures import Figures
from benchmarks.machine import describe
from benchmarks.options import OptionRefused, Options, read_options
from benchmarks.peers import Peers, PeerServers
from benchmarks.statements import load_with_the_server
from benchmarks.table import report, table
from cli.stack import Stack, start_stack

_BUILD = Path("build")


async def measure(options: Options, stack: Stack, folder: Path) -> bool:
    """Measure and print; False when a case failed."""
    async with AsyncExitStack() as cleanup:
        machine = await describe(stack.database_url, stack.management_url)
        peers = None
        if options.peers is not None:
            servers = cleanup.enter_context(PeerServers.opened(stack, folder))
            peers = await asyncio.to_thread(Peers, options.peers, servers, _BUILD / "peers", quick=options.quick)
        bench = await cleanup.enter_async_context(Bench.opened(options, stack, folder, peers))
        cases = [case(bench) for case in CASES if case.letter in options.only]
        await bench.run(cases)
    skipped = peers.skipped if peers else ["peers: no folder was given (PEERS=folder)"]
    print(table(bench.limits, peers.figures if peers else Figures(), cases, skipped))
    whole = report(machine | {"quick": options.quick, "rounds": options.rounds}, bench.limits, cases, skipped)
    print(json.dumps(whole | {"peers": peers.as_json() if peers else {}}))
    return not whole["failed"]


def main() -> int:
    """Start servers of our own, measure, end them."""
    try:
        options = read_options(os.environ)
    except OptionRefused as error:
        print(error, file=sys.stderr)
        return 2
    if options.profile:
        load_with_the_server()
    folder = Path(tempfile.mkdtemp(prefix="reinstate-bench-"))
    try:
        with start_stack() as stack:
            return 0 if asyncio.run(measure(options, stack, folder)) else 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
