"""The table of verbs: what `headrace` offers and what it will, as data (azure_behaviour.md 7.5).

Groups and commands are built from it on demand; a handler is imported when its verb is called.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from headrace import asset_verbs, later
from headrace.options import Option, parse_option


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """One command below a group."""

    group: str
    name: str
    help: str = ""
    handler: str = ""
    """`module:function`, imported on call; empty when the verb is not offered yet."""
    options: tuple[Option, ...] = ()
    generic: str = ""
    """Which options edit the fetched object: none, `--set`, or `GEN` for all four."""
    columns: tuple[str, ...] = ()
    """What a table shows, as JMESPath; empty shows every plain field."""

    @property
    def offered(self) -> bool:
        return bool(self.handler)

    @property
    def things(self) -> str:
        """What a list of the group holds, in words."""
        return "data assets" if self.group == "data" else f"{self.group.replace('-', ' ')}s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command of our own without a group; its target is a click.Command."""

    name: str
    target: str
    help: str


def _options(required: str, optional: str, ours: str) -> tuple[Option, ...]:
    return (
        *(parse_option(one, required=True) for one in required.split(", ") if one),
        *(parse_option(one) for one in optional.split(", ") if one),
        *(parse_option(one, ours=True) for one in ours.split(", ") if one),
    )


def _verb(
    path: str,
    handler: str,
    help: str,
    *,
    required: str = "",
    optional: str = "",
    ours: str = "",
    generic: str = "",
    columns: str = "",
) -> Verb:
    group, name = path.split()
    return Verb(
        group=group,
        name=name,
        help=help,
        handler=handler,
        options=_options(required, optional, ours),
        generic=generic,
        columns=tuple(columns.split()),
    )


_EP = "headrace.online_endpoint:"
_DEP = "headrace.online_deployment:"
_MODEL = "headrace.model:"
_ENV = "headrace.environment:"
_ID = "headrace.identity:"
_ISSUER_COLUMNS = "id issuer audience algorithms role endpoint subject"
_EP_COLUMNS = "name provisioning_state auth_mode traffic mirror_traffic scoring_uri"
_DEP_COLUMNS = (
    "name endpoint_name provisioning_state instance_type instance_count ready_instances model"
)
_ASSET_COLUMNS = "name version latest_version description creation_context.created_at"
_ASSET = "--label -l, --registry-name, --version -v"
_LIST = "--archived-only, --include-archived, --max-results -r, --name -n, --registry-name"

GROUPS: Final = {
    "online-endpoint": "Endpoints that answer at once.",
    "online-deployment": "Versions of a model behind an online endpoint.",
    "model": "Registered models.",
    "environment": "What a model runs in.",
    "client": "Clients with an id, a secret and a role.",
    "issuer": "OIDC issuers whose tokens are good here.",
    "env": "Variables for other programs.",
    **asset_verbs.GROUPS,
    **later.GROUPS,
}
ALIASES: Final = {"endpoint": "online-endpoint", "deployment": "online-deployment"}

OFFERED: Final = (
    _verb(
        "online-endpoint create",
        _EP + "create",
        "Create an endpoint, from a file or by name.",
        optional="--auth-mode, --file -f, --local, --name -n, --no-wait, --web -e",
        generic="--set",
        columns=_EP_COLUMNS,
    ),
    _verb(
        "online-endpoint delete",
        _EP + "delete",
        "Delete an endpoint and its deployments.",
        required="--name -n",
        optional="--local, --no-wait, --yes -y",
    ),
    _verb(
        "online-endpoint get-credentials",
        _EP + "get_credentials",
        "Print the endpoint's keys or a token.",
        required="--name -n",
    ),
    _verb(
        "online-endpoint invoke",
        _EP + "invoke",
        "Send a request and print the answer.",
        required="--name -n",
        optional="--deployment-name -d, --local, --request-file -r",
    ),
    _verb(
        "online-endpoint list",
        _EP + "list_all",
        "List endpoints.",
        optional="--local",
        columns=_EP_COLUMNS,
    ),
    _verb(
        "online-endpoint regenerate-keys",
        _EP + "regenerate_keys",
        "Replace one of the two keys.",
        required="--name -n",
        optional="--key-type (=primary), --no-wait",
    ),
    _verb(
        "online-endpoint show",
        _EP + "show",
        "Show an endpoint.",
        required="--name -n",
        optional="--local, --web -e",
        columns=_EP_COLUMNS,
    ),
    _verb(
        "online-endpoint update",
        _EP + "update",
        "Change traffic, mirror, description, tags or any field.",
        optional="--file -f, --local, --mirror-traffic, --name -n, --no-wait, --traffic -r, "
        "--web -e",
        ours="--yes -y",
        generic="GEN",
        columns=_EP_COLUMNS,
    ),
    _verb(
        "online-endpoint wait",
        _EP + "wait",
        "Wait until an endpoint is deployed or gone.",
        required="--name -n",
        ours="--for, --timeout",
        columns=_EP_COLUMNS,
    ),
    _verb(
        "online-deployment create",
        _DEP + "create",
        "Create a deployment and wait until it serves.",
        required="--file -f",
        optional="--all-traffic, --endpoint-name -e, --local, --local-enable-gpu, --name -n, "
        "--no-wait, --package-model, --skip-script-validation, --vscode-debug, --web",
        generic="--set",
        columns=_DEP_COLUMNS,
    ),
    _verb(
        "online-deployment delete",
        _DEP + "delete",
        "Drain a deployment and delete it.",
        required="--endpoint-name -e, --name -n",
        optional="--local, --no-wait, --yes -y",
    ),
    _verb(
        "online-deployment get-logs",
        _DEP + "get_logs",
        "Print the log of a deployment's instance.",
        required="--endpoint-name -e, --name -n",
        optional="--container -c, --lines -l (=5000), --local",
        ours="--follow -f",
    ),
    _verb(
        "online-deployment list",
        _DEP + "list_all",
        "List the deployments of an endpoint.",
        required="--endpoint-name -e",
        optional="--local",
        columns=_DEP_COLUMNS,
    ),
    _verb(
        "online-deployment show",
        _DEP + "show",
        "Show a deployment.",
        required="--endpoint-name -e, --name -n",
        optional="--local, --web",
        columns=_DEP_COLUMNS,
    ),
    _verb(
        "online-deployment update",
        _DEP + "update",
        "Roll a deployment to a new definition.",
        optional="--endpoint-name -e, --file -f, --local, --local-enable-gpu, --name -n, "
        "--no-wait, --skip-script-validation, --vscode-debug, --web",
        generic="GEN",
        columns=_DEP_COLUMNS,
    ),
    _verb(
        "online-deployment wait",
        _DEP + "wait",
        "Wait until a deployment is deployed or gone.",
        required="--endpoint-name -e, --name -n",
        ours="--for, --timeout",
        columns=_DEP_COLUMNS,
    ),
    _verb(
        "model archive",
        "headrace.assets:archive",
        "Hide a model from lists; references keep working.",
        required="--name -n",
        optional=_ASSET,
    ),
    _verb(
        "model create",
        _MODEL + "create",
        "Register a model.",
        optional="--datastore, --description, --file -f, --name -n, --no-wait, --path -p, "
        "--registry-name, --stage -s, --tags, --type -t, --version -v",
        generic="--set",
        columns=_ASSET_COLUMNS,
    ),
    _verb(
        "model list",
        _MODEL + "list_all",
        "List models, or the versions of one.",
        optional="--archived-only, --include-archived, --max-results -r, --name -n, "
        "--registry-name, --stage -s",
        columns=_ASSET_COLUMNS,
    ),
    _verb(
        "model restore",
        "headrace.assets:restore",
        "Take a model out of the archive.",
        required="--name -n",
        optional=_ASSET,
    ),
    _verb(
        "model show",
        _MODEL + "show",
        "Show a version of a model.",
        required="--name -n",
        optional=_ASSET,
        columns=_ASSET_COLUMNS,
    ),
    _verb(
        "model update",
        _MODEL + "update",
        "Change description, tags, flavors or stage.",
        required="--name -n",
        optional="--label -l, --registry-name, --stage -s, --version -v",
        generic="GEN",
        columns=_ASSET_COLUMNS,
    ),
    _verb(
        "environment archive",
        "headrace.assets:archive",
        "Hide an environment from lists; references keep working.",
        required="--name -n",
        optional=_ASSET,
    ),
    _verb(
        "environment create",
        _ENV + "create",
        "Register an environment.",
        optional="--build-context -b, --conda-file -c, --datastore, --description, "
        "--dockerfile-path -d (=/Dockerfile), --file -f, --image -i, --name -n, --no-wait, "
        "--os-type, --registry-name, --tags, --version -v",
        generic="--set",
        columns=_ASSET_COLUMNS,
    ),
    _verb(
        "environment list",
        _ENV + "list_all",
        "List environments, or the versions of one.",
        optional=_LIST,
        columns=_ASSET_COLUMNS,
    ),
    _verb(
        "environment restore",
        "headrace.assets:restore",
        "Take an environment out of the archive.",
        required="--name -n",
        optional=_ASSET,
    ),
    _verb(
        "environment show",
        _ENV + "show",
        "Show a version of an environment.",
        required="--name -n",
        optional=_ASSET,
        columns=_ASSET_COLUMNS,
    ),
    _verb(
        "environment update",
        _ENV + "update",
        "Change description or tags.",
        required="--name -n",
        optional=_ASSET,
        generic="GEN",
        columns=_ASSET_COLUMNS,
    ),
    _verb(
        "client create",
        _ID + "create_client",
        "Make a client and print its id and, this once, its secret.",
        required="--role",
        optional="--endpoint, --name -n",
    ),
    _verb(
        "client list",
        _ID + "list_clients",
        "List clients, without secrets.",
        columns="client_id name role endpoint created_at created_by",
    ),
    _verb(
        "client delete",
        _ID + "delete_client",
        "Delete a client by name or id; its tokens stop working.",
        required="--name -n",
    ),
    _verb(
        "issuer add",
        _ID + "add_issuer",
        "Accept the tokens of an OIDC issuer for one audience.",
        required="--issuer, --audience",
        optional="--algorithm, --role, --endpoint, --subject, --ca-file",
        columns=_ISSUER_COLUMNS,
    ),
    _verb("issuer list", _ID + "list_issuers", "List issuers.", columns=_ISSUER_COLUMNS),
    _verb(
        "issuer delete",
        _ID + "delete_issuer",
        "Accept an issuer's tokens no longer.",
        required="--id",
    ),
    _verb(
        "env azure",
        "headrace.azure_env:azure",
        "Print export lines for azure-ai-ml, azure-identity and az.",
        optional="--python, --configuration (=metadata)",
    ),
)

VERBS: Final = (
    *OFFERED,
    *(
        _verb(
            path,
            handler,
            words,
            required=required,
            optional=optional,
            ours=ours,
            generic=generic,
            columns=columns,
        )
        for path, handler, words, required, optional, ours, generic, columns in asset_verbs.ROWS
    ),
    *(
        _verb(path, "", "", required=required, optional=optional, generic=generic)
        for path, required, optional, generic in later.VERBS
    ),
)

COMMANDS: Final = (
    Command(name="up", target="headrace.platform.commands:up", help="Start the platform."),
    Command(
        name="status", target="headrace.platform.commands:status", help="What runs, and where."
    ),
    Command(name="down", target="headrace.platform.commands:down", help="Stop the platform."),
    Command(name="run", target="headrace.platform.commands:run", help="Run one service alone."),
    Command(
        name="demo",
        target="headrace.demo.command:demo",
        help="A model, traffic and a rollout in under a minute.",
    ),
    Command(name="ca", target="headrace.own:ca", help="Print the path of the local CA."),
    Command(name="token", target="headrace.own:token", help="Print the admin's token."),
    Command(name="key", target="headrace.own:key", help="Print an endpoint's primary key."),
    Command(
        name="nats-creds",
        target="headrace.own:nats_creds",
        help="Print the path of the credentials for scoring over NATS.",
    ),
    Command(name="audit", target="headrace.audit:audit", help="Prove that no request was lost."),
    Command(name="events", target="headrace.events:events", help="Who changed what, and when."),
    Command(name="gc", target="headrace.gc:gc", help="Delete what nothing refers to."),
    Command(name="help", target="headrace.own:help_topic", help="help exit-codes."),
)


def verbs_of(group: str) -> dict[str, Verb]:
    """The verbs of a group by name, in the order of the table."""
    return {verb.name: verb for verb in VERBS if verb.group == group}
