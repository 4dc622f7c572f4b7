"""`python -m simulator.fidelity`: 0 when Microsoft's library passed every check against the simulator, else 1."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from simulator.fidelity.environment import NoRoom, interpreter
from simulator.process import running

CHECKS = Path(__file__).with_name("checks.py")


def main() -> int:
    """Install if needed, start a simulator, run the checks in the library's own environment."""
    try:
        python = interpreter()
    except NoRoom:
        sys.stderr.write("fidelity: the disk has less than 2 GB left; the library needs them\n")
        return 1
    except subprocess.CalledProcessError as error:
        sys.stderr.write(f"fidelity: the library could not be installed (pip ended with {error.returncode})\n")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder)
        with running(where, ["--tenants", "1", "--sample"]) as simulator:
            known = where / "simulator.json"
            facts = {
                "url": simulator.url,
                "tenant": simulator.tenants[0],
                "client_id": simulator.client_id,
                "client_secret": simulator.client_secret,
            }
            known.write_text(json.dumps(facts), encoding="utf-8")
            return subprocess.run([python, CHECKS, known], check=False).returncode  # noqa: S603  our own script


if __name__ == "__main__":
    sys.exit(main())
