"""`headrace env azure`: what a shell or a script needs so that Azure's own clients come here.

The three configurations of azure_rest.md 1.1: `metadata` and `mfe` by variables, `arguments` by
keyword arguments of MLClient.
"""

from __future__ import annotations

import json
import os
import shlex
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import click

from headrace import errors
from headrace.call import Call
from headrace.credential import ADFS, TENANT
from headrace_api.home import Home
from headrace_api.ids import ResourceId

BUNDLE_NAME: Final = "ca-bundle.pem"
MAX_BUNDLE_BYTES: Final = 16 * 1024 * 1024
_BUNDLE_VARIABLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
_USUAL_BUNDLES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)

SNIPPET: Final = """\
import time

from azure.ai.ml import MLClient
from azure.core.credentials import AccessToken

BASE = {base!r}


class StaticToken:
    \"\"\"`headrace token > FILE` (it is a secret), or the token of a client.\"\"\"

    def __init__(self, token):
        self.token = token

    def get_token(self, *scopes, **options):
        return AccessToken(self.token, int(time.time()) + 3600)


CLOUD = {{
    "cloud": "headrace",
    "cloud_metadata": {{
        "resource_manager": BASE,
        "active_directory": BASE,
        "aml_resource_id": BASE,
        "storage_endpoint": "core.windows.net",
        "azure_portal": BASE,
        "registry_discovery_endpoint": BASE,
    }},
}}
WORKSPACE = ({subscription!r}, {group!r}, {workspace!r})

# with the admin's token
with open({token!r}) as file:
    ml_client = MLClient(StaticToken(file.read().strip()), *WORKSPACE, **CLOUD)

# or with azure-identity, where a client's id and secret are set: these come from
# `headrace client create --role contributor`
import os

from azure.identity import ClientSecretCredential

if "AZURE_CLIENT_ID" in os.environ:
    credential = ClientSecretCredential(
        {tenant!r},
        os.environ["AZURE_CLIENT_ID"],
        os.environ["AZURE_CLIENT_SECRET"],
        authority=BASE,
        disable_instance_discovery=True,
    )
    ml_client = MLClient(credential, *WORKSPACE, **CLOUD)
"""


def azure(call: Call) -> None:
    """Print export lines, the Python that does the same, or a config.json."""
    from headrace.client import control_url

    home = call.settings.home
    base = control_url(home)
    if call.flag("config"):
        click.echo(json.dumps(config(), indent=4))
        return
    bundle = write_bundle(home, os.environ)
    if call.flag("python"):
        click.echo(f"# the CA: export REQUESTS_CA_BUNDLE={shlex.quote(str(bundle))}")
        click.echo(snippet(base, home), nl=False)
        return
    for name, value in variables(base, bundle, call.text("configuration")).items():
        click.echo(f"export {name}={shlex.quote(value)}")


def variables(base: str, bundle: Path, configuration: str) -> dict[str, str]:
    """The variables of one configuration, with those of azure-identity and azure-cli."""
    workspace = ResourceId()
    chosen = {
        "metadata": {"ARM_CLOUD_METADATA_URL": f"{base}/metadata/endpoints?api-version=2019-05-01"},
        "mfe": {"AZUREML_DEV_URL_MFE": base},
    }
    return {
        "REQUESTS_CA_BUNDLE": str(bundle),
        # az reads the metadata by urllib, which knows this variable only.
        "SSL_CERT_FILE": str(bundle),
        # curl prefers this one, and machines behind a proxy have it set; its roots are in ours.
        "CURL_CA_BUNDLE": str(bundle),
        **chosen.get(configuration, {}),
        "AZURE_SUBSCRIPTION_ID": workspace.subscription,
        "AZURE_RESOURCE_GROUP": workspace.resource_group,
        "AZUREML_WORKSPACE_NAME": workspace.workspace,
        # For any other tenant azure-identity asks Microsoft first whether it exists.
        "AZURE_TENANT_ID": ADFS,
        "AZURE_AUTHORITY_HOST": base,
        "AZURE_CORE_INSTANCE_DISCOVERY": "false",
    }


def config() -> dict[str, str]:
    """What `MLClient.from_config` reads from a `config.json`."""
    workspace = ResourceId()
    return {
        "subscription_id": workspace.subscription,
        "resource_group": workspace.resource_group,
        "workspace_name": workspace.workspace,
    }


def snippet(base: str, home: Home) -> str:
    """Python text that makes an MLClient, by token and by azure-identity."""
    workspace = ResourceId()
    return SNIPPET.format(
        base=base,
        subscription=workspace.subscription,
        group=workspace.resource_group,
        workspace=workspace.workspace,
        token=str(home.token),
        tenant=TENANT,
    )


def write_bundle(home: Home, environment: Mapping[str, str]) -> Path:
    """`<home>/ca-bundle.pem`: our CA and the roots in use, so that other HTTPS goes on working.

    Raises Unreachable when there is no CA yet.
    """
    if not home.ca.is_file():
        raise errors.Unreachable(
            f"no CA at {home.ca}", hint="headrace up creates it on first start"
        )
    bundle = home.root / BUNDLE_NAME
    ours = home.ca.read_text().strip()
    roots = next(_roots(bundle, environment), "")
    temporary = bundle.with_name(f".{BUNDLE_NAME}.{os.getpid()}")
    temporary.write_text(f"{ours}\n{roots}\n")
    os.replace(temporary, bundle)
    return bundle


def _roots(own: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """PEM texts, the best first: what the shell names, what OpenSSL uses, the usual places."""
    named = [Path(environment[name]) for name in _BUNDLE_VARIABLES if environment.get(name)]
    found = ssl.get_default_verify_paths()
    system = [Path(one) for one in (found.cafile, found.openssl_cafile, *_USUAL_BUNDLES) if one]
    for path in [*named, *system]:
        # What this command wrote before must not become its own source for ever.
        if path.is_file() and path.name != own.name:
            with path.open(encoding="utf-8", errors="replace") as file:
                yield file.read(MAX_BUNDLE_BYTES).strip()
