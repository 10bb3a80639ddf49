"""Subscriptions, tenants and resource groups: one installation is one of each (azure_rest.md 5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from headrace_api.errors import NotFound
from headrace_services.control.arm.ids import ArmIds
from headrace_services.control.arm.request import Answer, Call, listing
from headrace_services.control.identity.issuer import TENANT


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """Handlers of what `az login` and `az account` read."""

    ids: ArmIds

    async def subscriptions(self, call: Call) -> Answer:
        return listing([self._subscription()])

    async def subscription(self, call: Call) -> Answer:
        if call.path["subscription"].lower() != self.ids.workspace.subscription:
            raise NotFound(f"subscription {call.path['subscription']!r} does not exist")
        return Answer(body=self._subscription())

    async def tenants(self, call: Call) -> Answer:
        tenant = {"id": f"/tenants/{TENANT}", "tenantId": TENANT, "displayName": "Headrace"}
        return listing([tenant | {"tenantCategory": "Home"}])

    async def groups(self, call: Call) -> Answer:
        return listing([self._group()])

    async def group(self, call: Call) -> Answer:
        return Answer(body=self._group())

    def _subscription(self) -> dict[str, Any]:
        subscription = self.ids.workspace.subscription
        return {
            "id": f"/subscriptions/{subscription}",
            "subscriptionId": subscription,
            "tenantId": TENANT,
            "displayName": "Headrace",
            "state": "Enabled",
            "subscriptionPolicies": {"spendingLimit": "Off"},
            "managedByTenants": [],
        }

    def _group(self) -> dict[str, Any]:
        subscription, name = self.ids.workspace.subscription, self.ids.workspace.resource_group
        return {
            "id": f"/subscriptions/{subscription}/resourceGroups/{name}",
            "name": name,
            "type": "Microsoft.Resources/resourceGroups",
            "location": self.ids.location,
            "properties": {"provisioningState": "Succeeded"},
        }
