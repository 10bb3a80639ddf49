"""Downloads over the blob wire: in ranges that all come from one version of a blob."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree

from headrace.blob_answers import good
from headrace.client import Client
from headrace.errors import CommandError
from headrace_api.references import parse_path

RANGE_BYTES: Final = 8 * 1024 * 1024


def download(client: Client, address: str, target: Path) -> int:
    """Write what lies at a datastore path into the folder `target`; returns how many files.

    A folder keeps its own name. A file is there whole or not at all. Raises CommandError, ApiError.
    """
    place = parse_path(address)
    source = _Source(client, place.datastore)
    path = place.path.rstrip("/")
    if source.size_of(path) is not None:
        names = [path]
    else:
        names = list(source.names(f"{path}/" if path else ""))
    if not names:
        raise CommandError(f"there is nothing at {address}")
    above = path.rpartition("/")[0]
    for name in names:
        source.fetch(name, _inside(target, name.removeprefix(above).lstrip("/")))
    return len(names)


def _inside(target: Path, name: str) -> Path:
    """Raises CommandError when a blob's name leads out of the folder."""
    parts = name.split("/")
    if any(part in ("", ".", "..") or "\\" in part or "\0" in part for part in parts):
        raise CommandError(f"blob {name!r} cannot be written below a folder: its name leaves it")
    return target.joinpath(*parts)


class _Source:
    """One container, opened by a signature."""

    def __init__(self, client: Client, datastore: str) -> None:
        path = f"datastores/{datastore}"
        properties = client.get(path)["properties"]
        body = {"expirableSecret": True, "expireAfterHours": 1}
        self._sas = str(client.post(f"{path}/listSecrets", body).json()["sasToken"]).lstrip("?")
        account = f"https://{properties['accountName']}.blob.{properties['endpoint']}"
        self._path = f"{urlsplit(account).path}/{properties['containerName']}"
        self._http = client.http

    def size_of(self, name: str) -> int | None:
        if not name:
            return None
        answer = self._http.send("HEAD", self._target(name), headers={})
        if answer.status == 404:
            return None
        return int(good(answer).headers["content-length"])

    def names(self, prefix: str) -> Iterator[str]:
        marker = ""
        while True:
            query = f"restype=container&comp=list&prefix={quote(prefix)}&marker={quote(marker)}"
            answer = good(self._http.send("GET", f"{self._path}?{query}&{self._sas}", headers={}))
            found = ElementTree.fromstring(answer.body)
            for name in found.iterfind("./Blobs/Blob/Name"):
                yield name.text or ""
            marker = found.findtext("NextMarker") or ""
            if not marker:
                return

    def fetch(self, name: str, file: Path) -> None:
        """Write one blob beside its place, then move it there."""
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f".{file.name[:100]}.{secrets.token_hex(4)}.part")
        try:
            with part.open("xb") as out:
                for piece in self._pieces(name):
                    out.write(piece)
            os.replace(part, file)
        except OSError as error:
            raise CommandError(f"cannot write {file}: {error.strerror}") from error
        finally:
            part.unlink(missing_ok=True)

    def _pieces(self, name: str) -> Iterator[bytes]:
        head = good(self._http.send("HEAD", self._target(name), headers={})).headers
        size, etag = int(head["content-length"]), head["etag"]
        for first in range(0, size, RANGE_BYTES):
            last = min(first + RANGE_BYTES, size) - 1
            headers = {"x-ms-range": f"bytes={first}-{last}", "If-Match": etag}
            yield good(self._http.send("GET", self._target(name), headers=headers)).body

    def _target(self, name: str) -> str:
        return f"{self._path}/{quote(name)}?{self._sas}"
