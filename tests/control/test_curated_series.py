"""A curated name is held to its series, or says which one took its place."""

from __future__ import annotations

import pytest

from headrace_api.curated import PACKAGES, SERIES, stand_in

PYTHONS = (11, 12, 13)


@pytest.mark.parametrize(
    ("name", "minor", "pin", "warns"),
    [
        ("sklearn-1.5", 11, "scikit-learn==1.5.*", False),
        ("sklearn-1.1", 11, "scikit-learn==1.1.*", False),
        ("sklearn-1.0", 10, "scikit-learn==1.0.*", False),
        ("sklearn-1.0", 11, "scikit-learn==1.1.*", True),
        ("sklearn-1.0", 12, "scikit-learn==1.3.*", True),
        ("AzureML-sklearn-0.24-ubuntu18.04-py37-cpu-inference", 11, "scikit-learn==1.1.*", True),
        ("pytorch-1.10-ubuntu18.04-py38-cuda11-gpu", 11, "torch==1.13.*", True),
        ("acpt-pytorch-2.8-cuda12.6", 13, "torch==2.8.*", False),
    ],
)
def test_the_series_of_the_name_or_the_next_with_a_wheel(
    name: str, minor: int, pin: str, warns: bool
) -> None:
    found = stand_in(name, minor=minor)

    assert found.packages[-1] == pin
    assert bool(found.warning) == warns
    assert not warns or f"for Python 3.{minor}" in found.warning


@pytest.mark.parametrize("minor", PYTHONS)
@pytest.mark.parametrize("name", PACKAGES)
def test_no_package_is_asked_for_twice_and_each_series_has_a_wheel(name: str, minor: int) -> None:
    packages = stand_in(name, minor=minor).packages

    libraries = [one.partition("<")[0].partition("=")[0] for one in packages]
    assert len(set(libraries)) == len(libraries), packages
    library, pinned, version = packages[-1].partition("==")
    if pinned:
        series = {f"{one.version}.*": one for one in SERIES[library]}
        assert series[version].newest >= minor


@pytest.mark.parametrize("library", SERIES)
def test_the_table_of_series_goes_from_old_to_new(library: str) -> None:
    newest = [one.newest for one in SERIES[library]]
    assert newest == sorted(newest)
