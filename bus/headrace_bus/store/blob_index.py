"""What is called what: `(container, name)` to digest, size and metadata, by compare-and-set.

A key holds one token for each part of a name between slashes, so that the server reads a folder
without its neighbours.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any, Final

import structlog

from headrace_api.errors import Conflict, InvalidInput, NotFound
from headrace_api.names import token, untoken
from headrace_api.record import load_json
from headrace_bus.errors import RevisionConflict, UnreadableName
from headrace_bus.store import jetstream
from headrace_bus.store.bucket import MAX_KEY_CHARS, Bucket, Record
from headrace_telemetry.clock import timestamp

log = structlog.get_logger(__name__)

MAX_CONTAINER_CHARS: Final = 255
MAX_METADATA_BYTES: Final = 8 * 1024  # Azure's bound
MAX_PAGE: Final = 5_000
_ATTEMPTS: Final = 8
_EMPTY: Final = "="  # a part without characters, as in `a//b`; no encoded text is this
_ROOT: Final = "blob"


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobEntry:
    """One named blob."""

    digest: str
    size_bytes: int
    content_type: str = "application/octet-stream"
    md5: str = ""
    """Base64, as the wire's Content-MD5 carries it."""
    metadata: dict[str, str] = field(default_factory=dict)
    created: str = ""
    """ISO-8601; set by the index, as is `modified`."""
    modified: str = ""
    revision: int = 0
    """Of the index; not kept in the value."""

    @property
    def etag(self) -> str:
        return f'"0x{self.revision:X}"'


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobPage:
    """Names in order; `prefixes` are what a delimiter folded; `next` is the marker to go on."""

    entries: tuple[tuple[str, BlobEntry], ...]
    prefixes: tuple[str, ...]
    next: str
    """Empty at the end."""
    damaged: tuple[str, ...] = ()
    """Names of the page that are there and cannot be read; not among the entries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Folder:
    """What lay below a subject when its last message was this one."""

    below: str
    revision: int
    records: dict[str, Record]
    names: tuple[str, ...]


Named = list[tuple[str, BlobEntry]]
"""Names of one container, in order."""


class BlobIndex:
    """Names may hold anything but the text that no UTF-8 carries."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._unfinished: _Folder | None = None
        """The folder whose next page is likely to be asked for; dropped after the last."""
        self._logged: dict[str, int] = {}
        """Revisions of the damaged names that the log tells of, by key."""

    async def put(
        self, container: str, name: str, entry: BlobEntry, *, if_none_match: bool = False
    ) -> BlobEntry:
        """Name the bytes, and return the entry as it is now. A name that cannot be read is free.

        Raises Conflict when `if_none_match` and the name is taken, InvalidInput for a name too long
        or metadata too large, BusDisconnected.
        """
        key = _key(container, name)
        _check_metadata(entry.metadata)
        for _ in range(_ATTEMPTS):
            found = await self._bucket.get(key)
            if found is not None and if_none_match and self._readable(found) is not None:
                break
            try:
                return await self._write(key, entry, found)
            except RevisionConflict:
                continue
        raise Conflict(f"blob {name[:80]!r} in {container!r} exists or keeps changing")

    async def get(self, container: str, name: str) -> BlobEntry | None:
        """Raises UnreadableName, InvalidInput for a name too long, BusDisconnected."""
        found = await self._bucket.get(_key(container, name))
        return None if found is None else _entry(found)

    async def delete(self, container: str, name: str) -> bool:
        """Whether there was such a name; the bytes stay until they are collected."""
        for _ in range(_ATTEMPTS):
            found = await self._bucket.get(_key(container, name))
            if found is None:
                return False
            try:
                await self._bucket.delete(found.key, found.revision)
                return True
            except RevisionConflict:
                continue
        raise Conflict(f"blob {name[:80]!r} in {container!r} changes all the time")

    async def set_metadata(
        self, container: str, name: str, metadata: Mapping[str, str]
    ) -> BlobEntry:
        """Replace the metadata.

        Raises NotFound, UnreadableName, Conflict, InvalidInput, BusDisconnected.
        """
        _check_metadata(metadata)
        for _ in range(_ATTEMPTS):
            found = await self._bucket.get(_key(container, name))
            if found is None:
                raise NotFound(f"no blob {name[:80]!r} in {container!r}", target=name)
            try:
                return await self._write(
                    found.key, replace(_entry(found), metadata=dict(metadata)), found
                )
            except RevisionConflict:
                continue
        raise Conflict(f"blob {name[:80]!r} in {container!r} changes all the time")

    async def containers(self) -> dict[str, Named]:
        """Every container with its names in order, as one look saw them.

        A name that cannot be read is there too, with neither a digest nor a time.
        """
        found: dict[str, Named] = {}
        for key, record in sorted((await self._bucket.list(_ROOT)).items()):
            container, name = _names(key)
            entry = self._readable(record) or BlobEntry(digest="", size_bytes=0)
            found.setdefault(container, []).append((name, entry))
        return found

    async def list(
        self,
        container: str,
        prefix: str = "",
        *,
        delimiter: str = "",
        marker: str = "",
        limit: int = MAX_PAGE,
    ) -> BlobPage:
        """One page of names from `marker` on, up to `limit` of them, folded prefixes included."""
        folder = await self._folder(_below(container, prefix))
        limit = max(1, min(limit, MAX_PAGE))
        entries: list[tuple[str, BlobEntry]] = []
        prefixes: list[str] = []
        damaged: list[str] = []
        # A folded prefix may stand for names that sort before the marker's, so it is compared too.
        first = bisect_left(folder.names, marker) if marker else 0
        for name in folder.names[first:]:
            folded = _fold(name, prefix, delimiter)
            shown = folded or name
            if not name.startswith(prefix) or shown < marker or shown in prefixes[-1:]:
                continue
            if len(entries) + len(prefixes) == limit:
                self._unfinished = folder
                return _page(entries, prefixes, damaged, shown)
            if folded:
                prefixes.append(folded)
            elif entry := self._readable(folder.records[name]):
                entries.append((name, entry))
            else:
                damaged.append(name)
        self._unfinished = None
        return _page(entries, prefixes, damaged, "")

    async def delete_unchanged(self, container: str, name: str, entry: BlobEntry) -> bool:
        """Delete a name that still is what was read; False when somebody wrote it since."""
        try:
            await self._bucket.delete(_key(container, name), entry.revision)
        except RevisionConflict:
            return False
        return True

    async def digests(self) -> set[str]:
        """Every digest that has a name: what a collection must keep.

        Raises UnreadableName: the digest of one that cannot be read may be any.
        """
        return {_entry(record).digest for record in (await self._bucket.list(_ROOT)).values()}

    async def _folder(self, below: str) -> _Folder:
        """All names below a subject: as last read when nothing was written there since."""
        subject = f"{self._bucket.subject(below)}.>"
        last = await jetstream.last(self._bucket.bus, self._bucket.stream, subject)
        revision = last.sequence if last else 0
        known = self._unfinished
        if known is not None and (known.below, known.revision) == (below, revision):
            return known
        records = {_names(key)[1]: one for key, one in (await self._bucket.list(below)).items()}
        return _Folder(
            below=below, revision=revision, records=records, names=tuple(sorted(records))
        )

    def _readable(self, record: Record) -> BlobEntry | None:
        """None for what cannot be read, which is logged once."""
        try:
            entry = _entry(record)
        except UnreadableName as error:
            if self._logged.get(record.key) != record.revision:
                self._logged[record.key] = record.revision
                log.warning("a name cannot be read", key=record.key, reason=error.why)
            return None
        self._logged.pop(record.key, None)
        return entry

    async def _write(self, key: str, entry: BlobEntry, found: Record | None) -> BlobEntry:
        now = timestamp()
        before = None if found is None else self._readable(found)
        created = now if before is None else before.created
        entry = replace(entry, created=created, modified=now, revision=0)
        value = json.dumps(_fields(entry)).encode()
        if found is None:
            return replace(entry, revision=await self._bucket.create(key, value))
        return replace(entry, revision=await self._bucket.update(key, value, found.revision))


def _page(entries: Named, prefixes: Sequence[str], damaged: Sequence[str], marker: str) -> BlobPage:
    return BlobPage(
        entries=tuple(entries), prefixes=tuple(prefixes), next=marker, damaged=tuple(damaged)
    )


def _fold(name: str, prefix: str, delimiter: str) -> str:
    """The name up to its first delimiter after the prefix, or nothing."""
    head, found, _ = name[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
    return prefix + head + found if found else ""


def _container(container: str) -> str:
    if not 0 < len(container) <= MAX_CONTAINER_CHARS:
        raise InvalidInput(
            f"a container's name has 1 to {MAX_CONTAINER_CHARS} characters", target="container"
        )
    return f"{_ROOT}.{token(container)}"


def _below(container: str, prefix: str) -> str:
    """The deepest folder that holds every name with this prefix."""
    try:
        folders = [token(part) or _EMPTY for part in prefix.split("/")[:-1]]
    except UnicodeEncodeError:
        raise InvalidInput("a prefix must be text", target="prefix") from None
    below = ".".join((_container(container), *folders))
    if len(below) > MAX_KEY_CHARS:
        raise InvalidInput("the prefix is too long", target="prefix")
    return below


def _names(key: str) -> tuple[str, str]:
    """The container and the blob that a key stands for."""
    _, container, *parts = key.split(".")
    return untoken(container), "/".join("" if part == _EMPTY else untoken(part) for part in parts)


def _key(container: str, name: str) -> str:
    if not name:
        raise InvalidInput("a blob's name must not be empty", target="name")
    try:
        parts = (token(part) or _EMPTY for part in name.split("/"))
        key = ".".join((_container(container), *parts))
    except UnicodeEncodeError:
        raise InvalidInput("a blob's name must be text", target="name") from None
    if len(key) > MAX_KEY_CHARS:
        raise InvalidInput(
            f"the name {name[:80]!r}... needs {len(key)} characters as a key, at most "
            f"{MAX_KEY_CHARS} are possible: use a shorter one",
            target="name",
        )
    return key


def _check_metadata(metadata: Mapping[str, str]) -> None:
    size_bytes = sum(len(name.encode()) + len(value.encode()) for name, value in metadata.items())
    if size_bytes > MAX_METADATA_BYTES:
        raise InvalidInput(
            f"metadata of {size_bytes} bytes, at most {MAX_METADATA_BYTES}", target="metadata"
        )


def _fields(entry: BlobEntry) -> dict[str, Any]:
    fields = asdict(entry)
    del fields["revision"]
    return fields


def _entry(record: Record) -> BlobEntry:
    """Raises UnreadableName."""
    try:
        entry = replace(load_json(BlobEntry, record.value), revision=record.revision)
        _require_sound(entry)
    except ValueError as error:
        raise UnreadableName(record.key, "/".join(_names(record.key)), str(error)) from error
    return entry


def _require_sound(entry: BlobEntry) -> None:
    """Raises ValueError."""
    if not entry.digest or datetime.fromisoformat(entry.modified).tzinfo is None:
        raise ValueError("it has no digest, or no time")
