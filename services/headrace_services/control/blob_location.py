"""Where the bytes of a model, of code or of a build context lie: one container and a path in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

from headrace_api.errors import InvalidInput, NotFound
from headrace_api.references import parse_path

DATASTORES: Final = {
    "workspaceblobstore": "azureml-blobstore",
    "workspaceartifactstore": "azureml",
}
"""Container of each datastore; the SDK knows both by name."""
_ROUTE: Final = "blob"
_SACRIFICE: Final = "_.blob."  # azure_rest.md 1.3: a segment that the SDK sometimes drops


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobLocation:
    """A blob, or a folder of blobs, without a slash at its end."""

    container: str
    path: str


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
    parts = [unquote(part) for part in urlsplit(uri).path.strip("/").split("/")]
    if not uri.startswith("https://") or parts[0] != _ROUTE or len(parts) < 3:
        raise InvalidInput(
            f"{uri[:200]!r} is not a place of ours: use azureml://datastores/<name>/paths/<path> "
            "or a URL of this installation's blob store",
            target="uri",
        )
    below = parts[3:] if parts[2].startswith(_SACRIFICE) else parts[2:]
    if not below or any(part in ("", ".", "..") for part in below):
        raise InvalidInput(f"{uri[:200]!r} names no container, or leaves it", target="uri")
    return BlobLocation(container=below[0], path="/".join(below[1:]))
