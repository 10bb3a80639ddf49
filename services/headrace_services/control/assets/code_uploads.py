"""`startPendingUpload`: a fresh container and a signature for it (azure_rest.md 3.3)."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from headrace_api.names import check_asset_name
from headrace_services.control.arm.ids import ArmIds
from headrace_services.control.arm.request import Answer, Call
from headrace_services.control.assets.workspace import SAS_LIFETIME
from headrace_services.control.blobs.sas import SasSigner


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeUploads:
    """The handler; every upload gets a container of its own, whose name is its id."""

    ids: ArmIds
    signer: SasSigner
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    async def start(self, call: Call) -> Answer:
        check_asset_name(call.path["name"], kind="name")
        check_asset_name(call.path["version"], kind="version")
        container = f"code-{secrets.token_hex(16)}"
        uri = f"{self.ids.blob_base}/{container}"
        sas = self.signer.sign(container, now=self.now(), lifetime=SAS_LIFETIME)
        reference = {
            "blobUri": uri,
            "storageAccountArmId": "",
            "credential": {"credentialType": "SAS", "sasUri": f"{uri}?{sas}"},
        }
        body = {
            "pendingUploadId": container,
            "pendingUploadType": "TemporaryBlobReference",
            "blobReferenceForConsumption": reference,
        }
        return Answer(body=body)
