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
from headrace_services.control.arm_call import Answer, Call, Handler, listing
from headrace_services.control.arm_ids import ArmIds
from headrace_services.control.audit import audit
from headrace_services.control.blob_location import DATASTORES
from headrace_services.control.sas import SasSigner

CLOUD_NAME: Final = "headrace"
STORAGE_SUFFIX: Final = "core.windows.net"  # never resolved: see `account_name`
DEFAULT_DATASTORE: Final = "workspaceblobstore"
SAS_LIFETIME: Final = timedelta(hours=8)
SAS_LIFETIME_MAX_H: Final = 24 * 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """Handlers of the documents that describe the installation itself."""

    ids: ArmIds
    signer: SasSigner
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
        return Answer(body=self._document())

    async def list_workspaces(self, call: Call) -> Answer:
        return listing([self._document()])

    async def discovery(self, call: Call) -> Answer:
        services = ("api", "history", "experimentation", "modelmanagement", "catalog")
        return Answer(body=dict.fromkeys(services, self.ids.control_url))

    async def metadata(self, call: Call) -> Answer:
        """A list for the forms before 2020, one object after (azure_rest.md 5)."""
        document = self._cloud()
        old = call.query.get("api-version", "") < "2020"
        return Answer(body=[document] if old else document)

    async def list_datastores(self, call: Call) -> Answer:
        names = list(DATASTORES)
        if call.query.get("isDefault", "").lower() == "true":
            names = [DEFAULT_DATASTORE]
        return listing([self._datastore(name) for name in names])

    async def show_datastore(self, call: Call) -> Answer:
        return Answer(body=self._datastore(_known_datastore(call)))

    async def list_secrets(self, call: Call) -> Answer:
        """A signature for the datastore's one container."""
        container = DATASTORES[_known_datastore(call)]
        sas = self.signer.sign(container, now=self.now(), lifetime=_lifetime(call.body))
        secret_of = self.ids.workspace.child("datastores", call.path["datastore"])
        audit(call, "listSecrets", str(secret_of), 0)
        return Answer(body={"secretsType": "Sas", "sasToken": sas})

    def account_name(self) -> str:
        """Where blobs are, in the SDK's `https://{accountName}.blob.{suffix}` (azure_rest.md 1.3).

        The last segment is lost again where the SDK joins URLs, so the store answers with it and
        without.
        """
        base = urlsplit(self.ids.blob_base)
        return f"{base.netloc}{base.path}/_"

    def _document(self) -> dict[str, Any]:
        base, workspace = self.ids.control_url, self.ids.workspace
        properties = {
            "workspaceId": str(uuid5(NAMESPACE_URL, str(workspace))),
            "friendlyName": workspace.workspace,
            "discoveryUrl": f"{base}/discovery",
            "mlFlowTrackingUri": f"azureml://{urlsplit(base).netloc}/mlflow/v1.0{workspace}",
            "provisioningState": "Succeeded",
        }
        return arm.resource(
            workspace, properties, location=self.ids.location, kind="Default", tags={}
        )

    def _datastore(self, name: str) -> dict[str, Any]:
        properties = {
            "datastoreType": "AzureBlob",
            "accountName": self.account_name(),
            "containerName": DATASTORES[name],
            "endpoint": STORAGE_SUFFIX,
            "protocol": "https",
            # `None` would make the SDK show its own token to the blob wire.
            "credentials": {"credentialsType": "AccountKey"},
            "isDefault": name == DEFAULT_DATASTORE,
            "serviceDataAccessAuthIdentity": "None",
            "tags": {},
            "properties": {},
        }
        return arm.resource(self.ids.workspace.child("datastores", name), properties)

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


def _known_datastore(call: Call) -> str:
    name = call.path["datastore"]
    if name in DATASTORES:
        return name
    raise NotFound(
        f"datastore {name!r} does not exist; there are {', '.join(DATASTORES)}", target="datastore"
    )


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
