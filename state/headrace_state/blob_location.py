"""Where the bytes of a model, of code or of a build context lie: one container and a path in it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

from headrace_api.errors import InvalidInput, NotFound
from headrace_api.references import parse_path
from headrace_state.records import Spec, catalog_key

DATASTORES: Final = {
    "workspaceblobstore": "azureml-blobstore",
    "workspaceartifactstore": "azureml",
}
"""Container of each datastore; the SDK knows both by name."""
UPLOADS: Final = "LocalUpload/"
"""What the stock client uploads by content lies below it."""
_ROUTE: Final = "blob"
_SACRIFICE: Final = "_.blob."  # azure_rest.md 1.3: a segment that the SDK sometimes drops


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobLocation:
    """A blob, or a folder of blobs, without a slash at its end."""

    container: str
    path: str


async def located(uri: str, find: Callable[[str], Awaitable[Spec | None]]) -> BlobLocation:
    """As `locate`, in datastores that users made too; `find` reads a spec by its key."""
    if not uri.startswith("azureml://"):
        return locate(uri)
    place = parse_path(uri)
    if place.datastore in DATASTORES:
        return locate(uri)
    spec = await find(catalog_key("datastores", place.datastore))
    if spec is None:
        raise NotFound(f"datastore {place.datastore!r} does not exist", target=uri)
    container = str(spec.arm["properties"]["containerName"])
    return BlobLocation(container=container, path=place.path.rstrip("/"))


def same_place(one: str, other: str) -> bool:
    """Whether two addresses name the same bytes, in whatever form each is written."""
    return one == other or _comparable(one) == _comparable(other)


def _comparable(uri: str) -> object:
    if uri.startswith("azureml://") and "/paths/" in uri:
        place = parse_path(uri)
        if place.datastore not in DATASTORES:
            return place.datastore, place.path.rstrip("/")
    try:
        return locate(uri)
    except (InvalidInput, NotFound):
        return uri.rstrip("/")


def locate(uri: str) -> BlobLocation:
    """Read a `modelUri`, `codeUri` or `contextUri`.

    Raises NotFound for a datastore that does not exist, InvalidInput for any other form.
    """
    if uri.startswith("azureml://"):
        place = parse_path(uri)
        container = DATASTORES.get(place.datastore)
        if container is None:
            raise NotFound(
                f"datastore {place.datastore!r} does not exist; there are {', '.join(DATASTORES)}",
                target=uri,
            )
        return BlobLocation(container=container, path=place.path.rstrip("/"))
    return _from_url(uri)


def _from_url(uri: str) -> BlobLocation:
    # The host is not compared: an installation may answer under several, and move between ports.
    try:
        parts = [unquote(part) for part in urlsplit(uri).path.strip("/").split("/")]
    except ValueError:  # a host such as "[x"
        parts = [""]
    if not uri.startswith("https://") or parts[0] != _ROUTE or len(parts) < 3:
        raise InvalidInput(
            f"{uri[:200]!r} is not in this installation: use "
            "azureml://datastores/<name>/paths/<path> "
            "or a URL of this installation's blob store",
            target="uri",
        )
    below = parts[3:] if parts[2].startswith(_SACRIFICE) else parts[2:]
    if not below or any(part in ("", ".", "..") for part in below):
        raise InvalidInput(f"{uri[:200]!r} names no container, or a path outside it", target="uri")
    return BlobLocation(container=below[0], path="/".join(below[1:]))
