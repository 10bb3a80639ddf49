"""What users send as files: YAML and upload documents are taken or refused by name."""

from __future__ import annotations

from pathlib import Path

from fuzz.mutate import corpus, inputs
from headrace_api.errors import HeadraceError, InvalidInput
from headrace_api.online_deployment import OnlineDeployment
from headrace_api.online_endpoint import OnlineEndpoint
from headrace_api.yaml_file import parse_yaml
from headrace_services.control.blob_xml import parse_block_list


def test_yaml_is_read_or_refused(tmp_path: Path) -> None:
    for data in inputs(corpus("yaml")):
        try:
            values = parse_yaml(data).values
            OnlineEndpoint.from_values(values, base=tmp_path)
        except InvalidInput:
            continue


def test_a_deployment_is_read_or_refused(tmp_path: Path) -> None:
    base = [one for one in corpus("yaml") if b"endpoint_name" in one]
    for data in inputs(base):
        try:
            values = parse_yaml(data).values
            OnlineDeployment.from_values(values, base=tmp_path)
        except InvalidInput:
            continue


def test_block_lists_are_read_or_refused() -> None:
    for data in inputs(corpus("blocklist")):
        try:
            parse_block_list(data)
        except HeadraceError:
            continue
