"""Options of the verbs: what they are called, take and mean, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

FLAGS: Final = frozenset(
    {
        "--all",
        "--all-results",
        "--all-traffic",
        "--archived-only",
        "--disabled-only",
        "--config",
        "--follow",
        "--force-string",
        "--include-archived",
        "--include-disabled",
        "--local",
        "--local-enable-gpu",
        "--no-wait",
        "--package-model",
        "--persistent",
        "--python",
        "--set-default",
        "--skip-script-validation",
        "--skip-validation",
        "--stream",
        "--vscode-debug",
        "--web",
        "--yes",
    }
)
REPEATED: Final = frozenset(
    {"--set", "--add", "--remove", "--tags", "--traffic", "--mirror-traffic", "--algorithm"}
)
GROUPED: Final = frozenset({"--add", "--remove"})
"""Their values on one line belong together: a path and what to do there."""
GROUP_SEPARATOR: Final = "\x1f"
LATER_OPTIONS: Final = frozenset(
    {
        "--local",
        "--local-enable-gpu",
        "--vscode-debug",
        "--package-model",
        "--web",
        "--registry-name",
        "--datastore",
        "--build-context",
        "--dockerfile-path",
    }
)
"""Accepted by the parser; using one exits 2 and says that it is not supported yet."""
CHOICES: Final = {
    "--algorithm": ("RS256", "ES256"),
    "--auth-mode": ("key", "aml_token", "aad_token"),
    "--configuration": ("metadata", "mfe", "arguments"),
    "--role": ("owner", "contributor", "reader", "scorer"),
    "--key-type": ("primary", "secondary"),
    "--container": ("inference-server", "storage-initializer"),
    "--for": ("deployed", "deleted"),
}
INTEGERS: Final = frozenset({"--lines", "--max-instances", "--max-results", "--min-instances"})
LEAST: Final = {"--min-instances": 0}
GENERIC: Final = {
    "": (),
    "--set": ("--set",),
    "GEN": ("--set", "--add", "--remove", "--force-string"),
}
HELP: Final = {
    "--add": "Append to a list or dictionary: path.to.list key=value or JSON.",
    "--algorithm": "Signature algorithm; default RS256.",
    "--all-traffic": "Send all traffic to the deployment once it has succeeded.",
    "--archived-only": "Only archived ones.",
    "--audience": "Audience its tokens must carry (aud).",
    "--auth-mode": "Authentication of callers: key, aml_token or aad_token; default key.",
    "--ca-file": "PEM file of the CA that signed the issuer's certificate.",
    "--conda-file": "Conda file of the environment.",
    "--config": "Print a config.json for MLClient.from_config instead of export lines.",
    "--configuration": "How azure-ai-ml is configured: metadata, mfe or arguments.",
    "--container": "Which log: inference-server or storage-initializer; default inference-server.",
    "--deployment": "The deployment of this endpoint that is meant.",
    "--deployment-name": "Send the request to this deployment, whatever its weight.",
    "--description": "Description.",
    "--display-name": "Display name.",
    "--download-path": "Folder to write into; default the current one.",
    "--endpoint": "Limit the role to this endpoint.",
    "--endpoint-name": "Name of the endpoint.",
    "--file": "YAML file.",
    "--follow": "Keep printing new lines.",
    "--for": "State to wait for; default deployed.",
    "--force-string": "Keep values of --set as text.",
    "--id": "Id.",
    "--image": "Container image.",
    "--include-archived": "Include archived ones.",
    "--issuer": "Issuer URL, exactly as in its tokens (iss).",
    "--key-type": "Which key to replace.",
    "--label": "Label instead of a version, such as latest.",
    "--lines": "Lines from the end of the log.",
    "--max-results": "Maximum number of results.",
    "--max-instances": "Most nodes.",
    "--min-instances": "Least nodes.",
    "--mirror-traffic": "Copy a share of the traffic to one deployment: green=10.",
    "--name": "Name.",
    "--no-wait": "Return as soon as the request is accepted.",
    "--os-type": "Operating system; linux.",
    "--path": "File, folder or azureml:// address.",
    "--python": "Print Python instead of export lines.",
    "--remove": "Remove a key or a list item: path.to.key [index].",
    "--request-file": "File with the body of the request.",
    "--role": "owner, contributor, reader or scorer.",
    "--set": "Change one value: path.to.key=value.",
    "--size": "Size of a node, as Standard_DS3_v2.",
    "--skip-script-validation": "Do not look for init and run in the scoring script.",
    "--stage": "Stage of the model.",
    "--subject": "Only tokens of this subject (sub).",
    "--tags": "Tags: key=value ...",
    "--timeout": "Give up after this many seconds (exit 124).",
    "--traffic": 'Percentages that sum to 100 or 0: "blue=90 green=10".',
    "--type": "custom_model, mlflow_model, triton_model; uri_folder, uri_file, mltable.",
    "--version": "Version.",
    "--yes": "Do not ask for confirmation.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option of a verb."""

    name: str
    """With its dashes, as `--endpoint-name`."""
    short: str = ""
    default: str = ""
    required: bool = False
    ours: bool = False
    """Not in az ml."""

    @property
    def offered(self) -> bool:
        return self.name not in LATER_OPTIONS


def parse_option(text: str, *, required: bool = False, ours: bool = False) -> Option:
    """Read `--lines -l (=5000)`."""
    words, _, default = text.partition("(=")
    name, short, *_ = [*words.split(), ""]
    return Option(
        name=name, short=short, default=default.rstrip(") "), required=required, ours=ours
    )
