"""`diagnose`: what is wrong with the installation, in the categories that the wire has."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Final

from headrace_bus.errors import DigestMismatch
from headrace_bus.store.blobs import BlobStore
from headrace_services.control.arm.request import Answer, Call

NO_CONTENT: Final = "0" * 64  # the digest of nothing that anybody could write
# There is no Azure resource of these kinds here, so nothing of them can be wrong.
_NOT_HERE: Final = (
    "userDefinedRouteResults",
    "networkSecurityRuleResults",
    "resourceLockResults",
    "dnsResolutionResults",
    "keyVaultResults",
    "containerRegistryResults",
    "applicationInsightsResults",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong."""

    code: str
    message: str
    level: str = "Error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """The handler. An empty list in the answer means that nothing was found."""

    blobs: BlobStore
    live_ingresses: Callable[[], Awaitable[int]]

    async def diagnose(self, call: Call) -> Answer:
        found: dict[str, tuple[Finding, ...]] = dict.fromkeys(_NOT_HERE, ()) | {
            "storageAccountResults": await self._storage(),
            "otherResults": await self._ingresses(),
        }
        value = {kind: [asdict(one) for one in findings] for kind, findings in found.items()}
        return Answer(body={"value": value})

    async def _storage(self) -> tuple[Finding, ...]:
        try:
            # Written in full and then refused for its digest, so that nothing is kept.
            await self.blobs.put(_one_byte(), expected=NO_CONTENT)
        except DigestMismatch:
            return ()
        except OSError as error:
            words = f"the blob store cannot be written: {error.strerror or error}"
            return (Finding(code="StorageNotWritable", message=words),)
        raise AssertionError("the blob store returned a wrong digest for what was written")

    async def _ingresses(self) -> tuple[Finding, ...]:
        if await self.live_ingresses():
            return ()
        words = "no ingress is running: endpoints exist but cannot be called"
        return (Finding(code="IngressNotRunning", message=words),)


async def _one_byte() -> AsyncIterator[bytes]:
    yield b"?"
