"""Settings of datastores, computes, schedules and the workspace."""

from __future__ import annotations

from typing import Final

from headrace_api.settings.common import (
    DESCRIPTION,
    IDENTITY,
    LOCATION,
    NAME,
    NO_SKU,
    READ_ONLY,
    TAGS,
)
from headrace_api.settings.setting import (
    Schema,
    one_of,
    other_than,
    refusal,
    refused,
    row,
    shown,
    warned,
    warning,
)

_OWN_STORE: Final = "bytes lie in this installation's own blob store, whatever is named here"
_TAGS: Final = row("tags", "properties.tags", "Stored and shown.", whole=True)
_PROPERTIES: Final = row("properties", "properties.properties", "Stored and shown.", whole=True)

DATASTORE: Final = Schema(
    name="datastore",
    settings=(
        NAME,
        DESCRIPTION,
        _TAGS,
        _PROPERTIES,
        row(
            "type",
            "properties.datastoreType",
            "`azure_blob`: a container of this installation's blob store.",
            refused(other_than("azure_blob", "AzureBlob"), "use azure_blob"),
        ),
        row("container_name", "properties.containerName", "The container."),
        warning("account_name", "properties.accountName", _OWN_STORE),
        warning(
            "credentials.*",
            "properties.credentials.secrets",
            "not kept; this installation signs for its own store",
        ),
        row(
            "",
            "properties.credentials",
            "Not kept: this installation signs for its own store.",
            whole=True,
        ),
        row(
            "endpoint",
            "properties.endpoint",
            "`core.windows.net`, as the client expects it.",
            warned(other_than("core.windows.net"), _OWN_STORE),
        ),
        row(
            "protocol",
            "properties.protocol",
            "`https`.",
            warned(other_than("https"), _OWN_STORE),
        ),
        *READ_ONLY,
        *shown(
            ("is_default", "properties.isDefault"),
            ("", "properties.serviceDataAccessAuthIdentity"),
            ("", "properties.resourceGroup"),
            ("", "properties.subscriptionId"),
        ),
    ),
)

_INNER: Final = "properties.properties"
_NO_NODES: Final = "no machine stands behind; nothing is read of it"
_NO_NETWORK: Final = (
    "no machine and no network stands behind, so nothing would be closed; leave it out"
)

COMPUTE: Final = Schema(
    name="compute",
    note="A compute is stored and shown. No machine stands behind it, and nothing runs on it yet; "
    "its `warnings` say so.",
    settings=(
        NAME,
        DESCRIPTION,
        TAGS,
        row(
            "type",
            "properties.computeType",
            "`amlcompute`.",
            refused(other_than("amlcompute"), "use AmlCompute"),
        ),
        warning(
            "size",
            f"{_INNER}.vmSize",
            "the cluster is stored and shown, but no machine stands behind it and nothing runs "
            "on it yet",
        ),
        row("tier", f"{_INNER}.vmPriority", "Stored and shown."),
        row("min_instances", f"{_INNER}.scaleSettings.minNodeCount", "Stored and shown."),
        row("max_instances", f"{_INNER}.scaleSettings.maxNodeCount", "Stored and shown."),
        row(
            "idle_time_before_scale_down",
            f"{_INNER}.scaleSettings.nodeIdleTimeBeforeScaleDown",
            "Stored and shown.",
        ),
        *(
            refusal(key, wire, _NO_NETWORK)
            for key, wire in (
                ("network_settings", f"{_INNER}.subnet"),
                ("", f"{_INNER}.isolatedNetwork"),
            )
        ),
        *(
            warning(key, wire, _NO_NODES)
            for key, wire in (
                ("ssh_settings", f"{_INNER}.userAccountCredentials"),
                ("ssh_public_access_enabled", ""),
                ("enable_node_public_ip", ""),
                ("", f"{_INNER}.virtualMachineImage"),
                ("", f"{_INNER}.propertyBag"),
            )
        ),
        *(
            row(key, wire, "Stored and shown.")
            for key, wire in (
                ("", f"{_INNER}.remoteLoginPortPublicAccess"),
                ("", f"{_INNER}.enableNodePublicIp"),
                ("", f"{_INNER}.osType"),
                ("", "properties.disableLocalAuth"),
            )
        ),
        LOCATION,
        *IDENTITY,
        NO_SKU,
        *READ_ONLY,
        *shown(
            ("resource_id", "properties.resourceId"),
            ("created_on", "properties.createdOn"),
            ("provisioning_errors", "properties.provisioningErrors"),
            ("", "properties.modifiedOn"),
            ("", "properties.computeLocation"),
            ("", "properties.isAttachedCompute"),
            ("", f"{_INNER}.allocationState"),
            ("", f"{_INNER}.allocationStateTransitionTime"),
            ("", f"{_INNER}.currentNodeCount"),
            ("", f"{_INNER}.targetNodeCount"),
            ("", f"{_INNER}.nodeStateCounts"),
            ("", f"{_INNER}.errors"),
        ),
    ),
)

_NOT_RUN: Final = (
    "schedules do not run here yet; start the work by cron or a systemd timer, or store the "
    "schedule with is_enabled: false"
)

_NO_MONITOR: Final = "models are not monitored here yet; look at /metrics of the console port"
_NO_IMPORT: Final = (
    "data is not imported here; upload it and register it with `headrace data create`"
)

SCHEDULE: Final = Schema(
    name="schedule",
    note="One that is not enabled is stored and shown.",
    settings=(
        NAME,
        DESCRIPTION,
        _TAGS,
        _PROPERTIES,
        row("display_name", "properties.displayName", "Stored and shown."),
        row(
            "is_enabled",
            "properties.isEnabled",
            "`false`.",
            refused(one_of(True), _NOT_RUN),
            default=True,
        ),
        row("trigger", "properties.trigger", "Checked, stored and shown.", whole=True),
        row("create_job", "properties.action", "Stored and shown.", whole=True),
        row(
            "",
            "properties.action.actionType",
            "`CreateJob` or `InvokeBatchEndpoint`.",
            refused(one_of("CreateMonitor"), _NO_MONITOR),
            refused(one_of("ImportData"), _NO_IMPORT),
        ),
        refusal(
            "create_monitor",
            "properties.action.monitorDefinition",
            _NO_MONITOR,
        ),
        refusal(
            "import_data",
            "properties.action.dataImportDefinition",
            _NO_IMPORT,
        ),
        *READ_ONLY,
    ),
)

_ONE_INSTALLATION: Final = "it is what this installation has; nothing is read of it"
_NO_KEY: Final = (
    "what is stored is not encrypted by a key of yours; leave it out, and put the home on an "
    "encrypted disk"
)
_NO_PRIVATE_NETWORK: Final = "there is no network of the workspace, so nothing would be closed"

WORKSPACE: Final = Schema(
    name="workspace",
    note="One installation is one workspace, made by `headrace up`; `update` changes its words.",
    settings=(
        row("name", "name", "The one there is."),
        row("description", "properties.description", "Stored and shown."),
        row("display_name", "properties.friendlyName", "Stored and shown."),
        TAGS,
        refusal("customer_managed_key", "properties.encryption", _NO_KEY),
        *(
            refusal(key, wire, _NO_PRIVATE_NETWORK)
            for key, wire in (
                ("managed_network", "properties.managedNetwork"),
                ("network_acls", "properties.networkAcls"),
                ("", "properties.sharedPrivateLinkResources"),
                ("", "properties.enableServiceSideCMKEncryption"),
                ("", "properties.ipAllowlist"),
            )
        ),
        row(
            "public_network_access",
            "properties.publicNetworkAccess",
            "`enabled`.",
            refused(
                one_of("disabled"),
                "control answers every caller that reaches its address; leave it out, and "
                "close the way to it",
            ),
        ),
        *(
            row(key, wire, "`false`.", refused(one_of(True), says))
            for key, wire, says in (
                ("hbi_workspace", "properties.hbiWorkspace", _NO_KEY),
                (
                    "enable_data_isolation",
                    "properties.enableDataIsolation",
                    "there is one workspace, and nothing to be kept apart from",
                ),
                ("provision_network_now", "properties.provisionNetworkNow", _NO_PRIVATE_NETWORK),
                ("", "properties.v1LegacyMode", "the API of version 1 is not there"),
            )
        ),
        row(
            "system_datastores_auth_mode",
            "properties.systemDatastoresAuthMode",
            "`accesskey`: each upload and download has a signature of its own.",
            refused(
                one_of("identity", "user_delegation_sas", "UserDelegationSas"),
                "signatures are made with the installation's key; leave it out",
            ),
        ),
        *(
            warning(key, wire, _ONE_INSTALLATION)
            for key, wire in (
                ("storage_account", "properties.storageAccount"),
                ("container_registry", "properties.containerRegistry"),
                ("key_vault", "properties.keyVault"),
                ("application_insights", "properties.applicationInsights"),
                ("image_build_compute", "properties.imageBuildCompute"),
                ("primary_user_assigned_identity", "properties.primaryUserAssignedIdentity"),
                ("serverless_compute", "properties.serverlessComputeSettings"),
                ("allow_roleassignment_on_rg", "properties.allowRoleAssignmentOnRG"),
                ("workspace_hub", "properties.hubResourceId"),
                ("", "properties.workspaceHubConfig"),
                ("", "properties.featureStoreSettings"),
                ("", "properties.serviceManagedResourcesSettings"),
                ("", "properties.allowPublicAccessWhenBehindVnet"),
                ("", "kind"),
            )
        ),
        LOCATION,
        *IDENTITY,
        NO_SKU,
        *READ_ONLY,
        *shown(
            ("resource_group", ""),
            ("discovery_url", "properties.discoveryUrl"),
            ("mlflow_tracking_uri", "properties.mlFlowTrackingUri"),
            ("", "properties.workspaceId"),
            ("", "properties.tenantId"),
            ("", "properties.notebookInfo"),
            ("", "properties.associatedWorkspaces"),
            ("", "properties.privateEndpointConnections"),
            ("", "properties.privateLinkCount"),
            ("", "properties.serviceProvisionedResourceGroup"),
            ("", "properties.storageHnsEnabled"),
        ),
    ),
)
