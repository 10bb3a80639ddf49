"""What a client reads before anything else: metadata, discovery, workspace, datastores, secrets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import NAMESPACE_URL, uuid5

from headrace_api import arm
from headrace_api.errors import InvalidInput, NotFound
from headrace_api.settings.catalog import WORKSPACE
from headrace_api.settings.judge import require_allowed, warnings_of
from headrace_api.settings.told import with_warnings
from headrace_bus.errors import RevisionConflict
from headrace_services.control.arm.ids import ArmIds
from headrace_services.control.arm.merge_patch import merged
from headrace_services.control.arm.request import (
    Answer,
    Call,
    Handler,
    listing,
    object_at,
    text_at,
)
from headrace_services.control.assets.kinds import STORAGE_SUFFIX
from headrace_services.control.assets.registry import Catalog
from headrace_services.control.blobs.sas import SasSigner
from headrace_services.control.resources.change_log import audit
from headrace_services.control.resources.writes import ChangedMeanwhile, require_match
from headrace_state.records import Spec, catalog_key
from headrace_state.repository import Repository, Stored, etag_of, readable
from headrace_telemetry.clock import timestamp

CLOUD_NAME: Final = "headrace"
WORDS: Final = ("description", "friendlyName")
WORKSPACE_KEYS: Final = (
    "userStorageKey",
    "userStorageArmId",
    "appInsightsInstrumentationKey",
    "containerRegistryCredentials",
    "notebookAccessKeys",
)
SAS_LIFETIME: Final = timedelta(hours=8)
SAS_LIFETIME_MAX_H: Final = 24 * 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """Handlers of the documents that describe the installation itself."""

    ids: ArmIds
    signer: SasSigner
    words: Repository[Spec]
    """Where the workspace's tags and description are kept."""
    datastores: Catalog
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def require(self, call: Call) -> None:
        """Raises NotFound when the path names another subscription, group or workspace."""
        here_is = self.ids.workspace
        for part, here in (
            ("subscription", here_is.subscription),
            ("group", here_is.resource_group),
            ("workspace", here_is.workspace),
        ):
            if call.path.get(part, here).lower() != here.lower():
                raise NotFound(
                    f"{part} {call.path[part]!r} does not exist: this installation is "
                    f"subscription {here_is.subscription}, resource group "
                    f"{here_is.resource_group!r}, workspace {here_is.workspace!r}",
                    target=part,
                )

    def inside(self, handler: Handler) -> Handler:
        """The handler, for paths below our own workspace only."""

        async def checked(call: Call) -> Answer:
            self.require(call)
            return await handler(call)

        return checked

    async def show(self, call: Call) -> Answer:
        stored = await self._stored()
        return Answer(body=self._document(stored), headers=etag_of(stored))

    async def update(self, call: Call) -> Answer:
        """Merge tags and words; nothing else of a workspace can be changed."""
        require_allowed(WORKSPACE, call.body)
        found = await self.words.present(self._key)
        require_match(call, found)
        old = readable(found)
        tags = object_at(call.body, "tags") if call.body.get("tags") is not None else {}
        words = object_at(call.body, "properties") if call.body.get("properties") else {}
        for name in WORDS:
            text_at(words, name)
        patch: dict[str, Any] = {name: words[name] for name in WORDS if name in words}
        patch["tags"] = tags
        now = timestamp()
        arm_body = merged(old.value.arm if old else {}, patch)
        created_at = old.value.created_at if old else now
        name = self.ids.workspace.workspace
        spec = Spec(name=name, arm=arm_body, created_at=created_at, modified_at=now)
        try:
            stored = await self.words.put(found, self._key, spec)
        except RevisionConflict:
            raise ChangedMeanwhile(str(self.ids.workspace)) from None
        audit(call, "write", str(self.ids.workspace), stored.revision)
        body = self._document(stored)
        told = warnings_of(WORKSPACE, call.body, wire=True)
        return Answer(body={**body, "properties": with_warnings(body["properties"], told)})

    async def list_workspaces(self, call: Call) -> Answer:
        return listing([self._document(await self._stored())])

    async def discovery(self, call: Call) -> Answer:
        services = ("api", "history", "experimentation", "modelmanagement", "catalog")
        return Answer(body=dict.fromkeys(services, self.ids.control_url))

    async def metadata(self, call: Call) -> Answer:
        """A list for the forms before 2020, one object after (azure_rest.md 5)."""
        document = self._cloud()
        old = call.query.get("api-version", "") < "2020"
        return Answer(body=[document] if old else document)

    async def list_secrets(self, call: Call) -> Answer:
        """A signature for the datastore's one container."""
        found = await self.datastores.known(call.path["name"])
        container = str(found["properties"]["containerName"])
        sas = self.signer.sign(container, now=self.now(), lifetime=_lifetime(call.body))
        secret_of = self.ids.workspace.child("datastores", call.path["name"])
        audit(call, "listSecrets", str(secret_of), 0)
        return Answer(body={"secretsType": "Sas", "sasToken": sas})

    async def list_keys(self, call: Call) -> Answer:
        """All null: no storage account, registry, notebook or insights stands behind."""
        return Answer(body=dict.fromkeys(WORKSPACE_KEYS))

    async def resync_keys(self, call: Call) -> Answer:
        """Done at once: signatures are checked with the key they are made with."""
        return Answer()

    @property
    def _key(self) -> str:
        return catalog_key("workspaces", self.ids.workspace.workspace)

    async def _stored(self) -> Stored[Spec] | None:
        """None until somebody changes a word of it."""
        return await self.words.get(self._key)

    def _document(self, stored: Stored[Spec] | None) -> dict[str, Any]:
        base, workspace = self.ids.control_url, self.ids.workspace
        own = stored.value.arm if stored else {}
        properties = {
            "description": own.get("description", ""),
            "workspaceId": str(uuid5(NAMESPACE_URL, str(workspace))),
            "friendlyName": own.get("friendlyName", workspace.workspace),
            "discoveryUrl": f"{base}/discovery",
            "mlFlowTrackingUri": f"azureml://{urlsplit(base).netloc}/mlflow/v1.0{workspace}",
            "provisioningState": "Succeeded",
        }
        return arm.resource(
            workspace,
            properties,
            location=self.ids.location,
            kind="Default",
            tags=own.get("tags", {}),
        )

    def _cloud(self) -> dict[str, Any]:
        base = self.ids.control_url
        unused = ("graphAudience", "graph", "media", "batch", "sqlManagement", "gallery")
        return {
            "name": CLOUD_NAME,
            "portal": f"{base}/ui/",
            "resourceManager": base,
            "authentication": {
                "loginEndpoint": f"{base}/adfs",
                "audiences": [base],
                "tenant": "adfs",
                "identityProvider": "ADFS",
            },
            "suffixes": {"storage": STORAGE_SUFFIX},
            "vmImageAliasDoc": base,
        } | dict.fromkeys(unused, base)


def account_name(ids: ArmIds) -> str:
    """Where blobs are, in the SDK's `https://{accountName}.blob.{suffix}` (azure_rest.md 1.3).

    The last segment is lost again where the SDK joins URLs, so the store answers with it and
    without.
    """
    base = urlsplit(ids.blob_base)
    return f"{base.netloc}{base.path}/_"


def _lifetime(body: dict[str, Any]) -> timedelta:
    hours = body.get("expireAfterHours")
    if hours is None:
        return SAS_LIFETIME
    if isinstance(hours, bool) or not isinstance(hours, int):
        raise InvalidInput("'expireAfterHours' must be a whole number", target="expireAfterHours")
    if not 1 <= hours <= SAS_LIFETIME_MAX_H:
        raise InvalidInput(
            f"'expireAfterHours' is {hours}: use 1 to {SAS_LIFETIME_MAX_H}",
            target="expireAfterHours",
        )
    return timedelta(hours=hours)
