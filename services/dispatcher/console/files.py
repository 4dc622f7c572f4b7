"""The console's own files: read once and named one by one; a name that is not here is nowhere."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

PLACE = "/console/assets"
_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class File:
    """A file as it is sent. `digest` is a part of its address, so that it may be kept for good."""

    content: bytes
    media_type: str
    digest: str

    @classmethod
    def read(cls, path: Path) -> "File":
        """Read it from the package."""
        content = path.read_bytes()
        return cls(content, _TYPES[path.suffix], hashlib.sha256(content).hexdigest()[:12])


FILES = {path.name: File.read(path) for path in sorted((Path(__file__).parent / "assets").iterdir())}


def address_of(name: str) -> str:
    """Return where a page finds a file."""
    return f"{PLACE}/{FILES[name].digest}/{name}"
