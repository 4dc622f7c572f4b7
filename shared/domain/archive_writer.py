"""Writing an archive: deterministic, so that the same content is the same file whoever writes it, and when."""

import hashlib
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import IO, Any, Self

from shared.domain.archives import MANIFEST_NAME, ArchivedFile, Manifest, pretty_json
from shared.domain.errors import PermanentError, SafeCode
from shared.domain.referred import Referred

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first time that a zip can hold
_MODE = 0o100644 << 16
_UNIX = 3


@dataclass(frozen=True, slots=True)
class Source:
    """Where an archive is from, as its manifest says."""

    tenant: str
    created_at: str
    operation: str


@dataclass(frozen=True, slots=True)
class Subject:
    """What a file of an archive is about, as the manifest says."""

    policy_type: str
    remote_id: str
    display_name: str
    snapshot_sha256: str = ""


class ArchiveWriter:
    """Writes the zip; blocking, so call it in a thread. Leaving its block early leaves a file to be discarded."""

    def __init__(self, file: IO[bytes], source: Source, limit: int) -> None:
        """Write to `file`, at most `limit` bytes."""
        self._file = file
        self._zip = zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED)
        self._source = source
        self._limit = limit
        self._written: list[ArchivedFile] = []
        self._groups: dict[str, str] = {}
        self._referred: set[Referred] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def add(self, path: str, subject: Subject, content: Mapping[str, Any]) -> None:
        """Write one policy.

        Raises `PermanentError`: `ARCHIVE_TOO_LARGE`, `POLICY_NOT_CANONICAL` for what JSON cannot carry; then nothing of
        the policy was written.
        """
        try:
            raw = pretty_json(content)
        except (ValueError, RecursionError):  # UnicodeEncodeError is a ValueError
            raise PermanentError(SafeCode.POLICY_NOT_CANONICAL, policy_type=subject.policy_type) from None
        self._write(path, raw)
        self._written.append(
            ArchivedFile(
                path=path,
                sha256=hashlib.sha256(raw).hexdigest(),
                size=len(raw),
                policy_type=subject.policy_type,
                remote_id=subject.remote_id,
                display_name=subject.display_name,
                snapshot_sha256=subject.snapshot_sha256,
            )
        )

    def name_groups(self, groups: Mapping[str, str]) -> None:
        """Say in the manifest what groups are called, by their ids."""
        self._groups.update(groups)

    def name_referred(self, referred: Iterable[Referred]) -> None:
        """Say in the manifest what is known of objects that policies refer to and that the archive does not hold."""
        self._referred.update(referred)

    def finish(self) -> None:
        """Write the manifest and the zip's directory. Raises `PermanentError(ARCHIVE_TOO_LARGE)`."""
        source = self._source
        groups = dict(sorted(self._groups.items()))
        written, referred = tuple(self._written), tuple(sorted(self._referred))
        manifest = Manifest(source.tenant, source.created_at, source.operation, written, groups, referred)
        self._write(MANIFEST_NAME, manifest.to_json())
        self._zip.close()
        self._check_size()

    def _write(self, path: str, content: bytes) -> None:
        info = zipfile.ZipInfo(path, _EPOCH)
        info.compress_type = zipfile.ZIP_DEFLATED
        info.external_attr = _MODE
        info.create_system = _UNIX
        self._zip.writestr(info, content)
        self._check_size()

    def _check_size(self) -> None:
        size = self._file.tell()
        if size > self._limit:
            raise PermanentError(SafeCode.ARCHIVE_TOO_LARGE, size=size, limit=self._limit)
