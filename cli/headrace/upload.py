"""Uploads of code and models over the blob wire (azure_rest.md 3.2, 3.3); memory stays flat."""

from __future__ import annotations

import base64
import hashlib
import io
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import quote, urlsplit

from headrace.blob_answers import good
from headrace.client import Client
from headrace.errors import CommandError
from headrace.ignore import files_of
from headrace_api.references import DatastorePath

DATASTORE: Final = "workspaceblobstore"
SINGLE_PUT_BYTES: Final = 32 * 1024 * 1024
BLOCK_BYTES: Final = 8 * 1024 * 1024
HASH_VERSION: Final = "202208"
_READ_BYTES: Final = 1024 * 1024
_COMPLETED: Final = "completed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A file, or a folder's files, and the digest of all their names and bytes."""

    root: Path
    files: tuple[Path, ...]
    size_bytes: int
    sha256: str

    @classmethod
    def of(cls, root: Path) -> Tree:
        """Raises CommandError when nothing is left to upload, or a link leaves the folder."""
        files = files_of(root)
        if not files:
            raise CommandError(f"{root} contains no files to upload", hint="check its .amlignore")
        digest, size = hashlib.sha256(), 0
        for path in files:
            own, count = _digest(path)
            size += count
            name = path.relative_to(root).as_posix() if root.is_dir() else path.name
            digest.update(f"{len(name)}:{name}:{own}\n".encode())
        return cls(root=root, files=tuple(files), size_bytes=size, sha256=digest.hexdigest())

    def names(self) -> Iterator[tuple[Path, str]]:
        """Each file with its name below the destination: `model/a.pkl`, or `a.pkl`."""
        base = self.root.parent
        for path in self.files:
            yield path, path.relative_to(base).as_posix()

    def describe(self, *, cached: bool) -> str:
        """`code 4 files, 12 kB (cached)`."""
        count = f"{len(self.files)} file" + ("s" if len(self.files) > 1 else "")
        return f"{count}, {size_text(self.size_bytes)}" + (" (cached)" if cached else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploaded:
    """What an upload ended as."""

    reference: str
    """ARM id of code, or azureml:// path of a model."""
    tree: Tree
    cached: bool


def upload_code(client: Client, folder: Path) -> Uploaded:
    """Register a folder of code; the same contents are uploaded once."""
    tree = Tree.of(folder)
    name = str(uuid.uuid4())
    found = client.values(f"codes/{name}/versions", hash=tree.sha256, hashVersion=HASH_VERSION)
    if found:
        return Uploaded(reference=str(found[0]["id"]), tree=tree, cached=True)
    path = f"codes/{name}/versions/1"
    pending = client.post(
        f"{path}/startPendingUpload", {"pendingUploadType": "TemporaryBlobReference"}
    ).json()["blobReferenceForConsumption"]
    container = _Container(client, pending["credential"]["sasUri"])
    for file, blob in tree.names():
        container.put(file, blob)
    from headrace_api.code import code_arm

    uri = f"{pending['blobUri'].rstrip('/')}/{quote(tree.root.name)}"
    arm = client.put(path, code_arm(uri, tree.sha256)).json()
    return Uploaded(reference=str(arm["id"]), tree=tree, cached=False)


def upload_model(client: Client, path: Path) -> Uploaded:
    """Put a file or folder below `LocalUpload/{sha256}/` of the default datastore."""
    tree = Tree.of(path)
    container = _default_container(client)
    below = f"LocalUpload/{tree.sha256}"
    names = list(tree.names())
    indicator = f"{below}/{names[0][1]}"
    cached = container.is_complete(indicator)
    if not cached:
        for file, blob in names:
            container.put(file, f"{below}/{blob}")
        container.mark_complete(indicator)
    place = DatastorePath(datastore=DATASTORE, path=f"{below}/{path.name}")
    return Uploaded(reference=place.long(client.workspace), tree=tree, cached=cached)


def size_text(size_bytes: int) -> str:
    """`12 kB`."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB"):
        if size < 1_000:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 10 else f"{size:.1f} {unit}"
        size /= 1_000
    return f"{size:.1f} GB"


class _Container:
    """One container, reached by its signed address and without the bearer token."""

    def __init__(self, client: Client, sas_url: str) -> None:
        parts = urlsplit(sas_url)
        self._http = client.http
        self._path = parts.path.rstrip("/")
        self._sas = parts.query

    def put(self, file: Path, blob: str) -> None:
        """Upload one file, in blocks when it is large."""
        size = file.stat().st_size
        with file.open("rb") as stream:
            if size <= SINGLE_PUT_BYTES:
                self._put_whole(stream, blob, size)
            else:
                self._put_blocks(stream, blob)

    def is_complete(self, blob: str) -> bool:
        """Whether the indicator says that a whole upload is there."""
        answer = self._http.send("HEAD", self._target(blob), headers={})
        if answer.status == 404:
            return False
        good(answer)
        return answer.headers.get("x-ms-meta-upload_status") == _COMPLETED

    def mark_complete(self, blob: str) -> None:
        headers = {"x-ms-meta-upload_status": _COMPLETED, "Content-Length": "0"}
        good(self._http.send("PUT", self._target(blob, "comp=metadata"), headers=headers))

    def _put_whole(self, stream: IO[bytes], blob: str, size: int) -> None:
        headers = {"x-ms-blob-type": "BlockBlob", "Content-Length": str(size)}
        body: IO[bytes] = stream if size else io.BytesIO()
        good(self._http.send("PUT", self._target(blob), headers=headers, body=body))

    def _put_blocks(self, stream: IO[bytes], blob: str) -> None:
        ids: list[str] = []
        while block := stream.read(BLOCK_BYTES):
            ids.append(base64.b64encode(f"{len(ids):08d}".encode()).decode())
            target = self._target(blob, f"comp=block&blockid={quote(ids[-1], safe='')}")
            good(self._http.send("PUT", target, headers={}, body=block))
        listed = "".join(f"<Latest>{one}</Latest>" for one in ids)
        xml = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{listed}</BlockList>'
        target = self._target(blob, "comp=blocklist")
        headers = {"Content-Type": "application/xml"}
        good(self._http.send("PUT", target, headers=headers, body=xml.encode()))

    def _target(self, blob: str, query: str = "") -> str:
        asked = "&".join(filter(None, [query, self._sas]))
        return f"{self._path}/{quote(blob)}?{asked}"


def _default_container(client: Client) -> _Container:
    path = f"datastores/{DATASTORE}"
    properties: dict[str, Any] = client.get(path)["properties"]
    body = {"expirableSecret": True, "expireAfterHours": 1}
    sas = client.post(f"{path}/listSecrets", body).json()["sasToken"]
    account = f"https://{properties['accountName']}.blob.{properties['endpoint']}"
    return _Container(client, f"{account}/{properties['containerName']}?{sas.lstrip('?')}")


def _digest(path: Path) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while data := file.read(_READ_BYTES):
            digest.update(data)
            size += len(data)
    return digest.hexdigest(), size
