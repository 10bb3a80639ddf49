"""What `headrace env azure` prints: variables a shell can take, Python that compiles, all roots."""

from __future__ import annotations

import ast
import ssl
from pathlib import Path

import pytest

from headrace import errors
from headrace.azure_env import snippet, variables, write_bundle
from headrace_api.home import Home
from headrace_services.certificates import ensure_certificates

BASE = "https://localhost:9443"


def authorities(path: Path) -> int:
    return len(ssl.create_default_context(cafile=path).get_ca_certs())


def test_each_configuration_names_what_it_needs_and_no_other(tmp_path: Path) -> None:
    by_name = {one: variables(BASE, tmp_path, one) for one in ("metadata", "mfe", "arguments")}
    metadata = f"{BASE}/metadata/endpoints?api-version=2019-05-01"
    assert by_name["metadata"]["ARM_CLOUD_METADATA_URL"] == metadata
    assert by_name["mfe"]["AZUREML_DEV_URL_MFE"] == BASE
    assert not {"ARM_CLOUD_METADATA_URL", "AZUREML_DEV_URL_MFE"} & set(by_name["arguments"])
    assert all(one["AZURE_TENANT_ID"] == "adfs" for one in by_name.values())


def test_the_bundle_holds_our_authority_and_the_roots_in_use(tmp_path: Path) -> None:
    home, theirs = Home(tmp_path / "home"), Home(tmp_path / "theirs")
    ensure_certificates(home)
    ensure_certificates(theirs)
    bundle = write_bundle(home, {"REQUESTS_CA_BUNDLE": str(theirs.ca)})
    assert home.ca.read_text().strip() in bundle.read_text()
    assert theirs.ca.read_text().strip() in bundle.read_text()
    assert authorities(bundle) == 2

    again = write_bundle(home, {"REQUESTS_CA_BUNDLE": str(bundle), "SSL_CERT_FILE": str(theirs.ca)})
    assert authorities(again) == 2


def test_without_a_platform_there_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(errors.Unreachable, match="no CA"):
        write_bundle(Home(tmp_path), {})


def test_the_python_compiles_and_holds_no_secret(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hidden-value")
    text = snippet(BASE, Home(tmp_path))
    ast.parse(text)
    assert "hidden-value" not in text
    assert BASE in text
