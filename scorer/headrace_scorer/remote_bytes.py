"""Bytes of model and code over HTTPS, for a home that shares no disk with control's.

They are kept by digest in the home's own store, as control keeps them: another version that shares
a file does not fetch it again. A fetch that was cut goes on where it ended, in the same process or
in the next.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import os
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

from headrace_bus.errors import DigestMismatch
from headrace_bus.wire.launch import AssetFile
from headrace_scorer import assets
from headrace_scorer.errors import FetchFailed

TIMEOUT_S: Final = 30.0  # of one read
TRIES: Final = 6  # of a file, as long as no byte comes
PAUSE_S: Final = 0.5  # before the second; doubled each time
READ_BYTES: Final = 1024 * 1024

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteBytes:
    """Where the bytes are, and where they are kept."""

    url: str
    """`Launch.bytes_url`."""
    ca: Path
    """Of the platform; the system's authorities are asked when there is no such file."""
    blobs: Path
    given_up: threading.Event = field(default_factory=threading.Event)
    """Set by who waits no longer."""

    def fetch_missing(self, files: Sequence[AssetFile], say: Say) -> None:
        """Fetch what the store lacks; blocking. Raises FetchFailed, OSError for the own disk."""
        lacking = {one.digest: one for one in files if not self._place(one).exists()}
        if not lacking:
            return
        size = sum(one.size_bytes for one in lacking.values())
        origin = f"{self._parts.scheme}://{self._parts.netloc}"
        say(f"fetching {len(lacking)} files, {size} bytes, from {origin}")
        for file in lacking.values():
            self._fetch(file)

    @property
    def _parts(self) -> SplitResult:
        return urlsplit(self.url)

    def _place(self, file: AssetFile) -> Path:
        return assets.blob_path(self.blobs, file.digest)

    def _fetch(self, file: AssetFile) -> None:
        place = self._place(file)
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = place.with_name(f"{file.digest}.part")
        with _alone(partial) as descriptor:
            if place.exists():  # another instance fetched it meanwhile
                return
            self._until_whole(file, descriptor)
            if (found := _digest(descriptor)) != file.digest:
                partial.unlink(missing_ok=True)
                mismatch = DigestMismatch(file.digest, found)
                raise FetchFailed(file.path, self._parts.netloc, mismatch.message)
            partial.replace(place)

    def _until_whole(self, file: AssetFile, descriptor: int) -> None:
        """Append until all is there, whatever cuts the connection. Raises FetchFailed."""
        tries, had = 0, os.lseek(descriptor, 0, os.SEEK_END)
        while had < file.size_bytes:
            if self.given_up.is_set():
                raise FetchFailed(file.path, self._parts.netloc, "the instance was told to stop")
            try:
                why = self._append(file, descriptor, had)
            except (OSError, http.client.HTTPException) as error:
                why = str(error) or type(error).__name__
            has = os.lseek(descriptor, 0, os.SEEK_END)
            tries, had = (0 if has > had else tries + 1), has
            if tries == TRIES:
                raise FetchFailed(file.path, self._parts.netloc, why)
            if had < file.size_bytes:
                self.given_up.wait(PAUSE_S * 2**tries)

    def _append(self, file: AssetFile, descriptor: int, offset: int) -> str:
        """One request for the rest; why it may have ended early. Raises FetchFailed, OSError."""
        parts = self._parts
        with contextlib.closing(self._connect()) as connection:
            target = f"{parts.path}/{file.digest}?{parts.query}"
            connection.request("GET", target, headers={"x-ms-range": f"bytes={offset}-"})
            answer = connection.getresponse()
            if answer.status in (403, 404):
                code = answer.headers.get("x-ms-error-code", "")
                raise FetchFailed(file.path, parts.netloc, f"HTTP {answer.status} {code}".strip())
            if answer.status != 206:
                return f"HTTP {answer.status}"
            left = file.size_bytes - offset
            while left and not self.given_up.is_set() and (data := answer.read(READ_BYTES)):
                _write(descriptor, data)
                left -= len(data)
        return "the connection was closed"

    def _connect(self) -> http.client.HTTPConnection:
        host, port = self._parts.hostname or "", self._parts.port
        known = str(self.ca) if self.ca.is_file() else None
        context = ssl.create_default_context(cafile=known)
        return http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=context)


@contextlib.contextmanager
def _alone(partial: Path) -> Iterator[int]:
    """The file, open for this process alone: two instances of one home fetch a file once."""
    descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _write(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def _digest(descriptor: int) -> str:
    os.lseek(descriptor, 0, os.SEEK_SET)
    digest = hashlib.sha256()
    while data := os.read(descriptor, READ_BYTES):
        digest.update(data)
    return digest.hexdigest()
