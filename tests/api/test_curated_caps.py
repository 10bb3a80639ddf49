"""Bounds that older builds need and do not state."""

from __future__ import annotations

import pytest

from headrace_api.curated import caps, stand_in


@pytest.mark.parametrize(
    ("packages", "wanted"),
    [
        (["scikit-learn==1.2.2", "numpy"], ("numpy<2", "pandas<3", "scipy<1.12")),
        (["scikit-learn==1.2.*"], ("numpy<2", "pandas<3", "scipy<1.12")),
        (["scikit_learn~=1.2", "numpy==1.26.*"], ("pandas<3", "scipy<1.12")),
        (["scikit-learn<=1.1.3"], ("numpy<2", "pandas<3", "scipy<1.12")),
        (["torch==2.2.1", "scikit-learn==1.5.*"], ("numpy<2", "pandas<3", "scipy<1.12")),
        (["lightgbm==3.3.*"], ("numpy<1.24", "pandas<2.3", "scipy<1.12")),
        (["scikit-learn==1.5.*", "numpy"], ()),
        (["scikit-learn"], ()),
        (["scikit-learn>=1.0"], ()),
        (["scikit-learn<1.3"], ("numpy<2", "pandas<3", "scipy<1.12")),
        (["scikit-learn>=1.0,<1.5"], ("numpy<2", "pandas<3", "scipy<1.12")),
        (["scikit-learn>=1.0,<1.6"], ()),
        (["six==1.16", "./here", "", "numpy @ https://x/y.whl"], ()),
        (["scikit-learn==0.20"], ()),
    ],
)
def test_what_a_pinned_library_needs_beside_it(packages: list[str], wanted: tuple[str]) -> None:
    assert caps(packages) == wanted


@pytest.mark.parametrize("name", ["tensorflow-2.16-cuda12", "minimal-py312-cuda12.4-inference"])
def test_names_of_the_newer_samples_are_known(name: str) -> None:
    assert stand_in(name).packages
