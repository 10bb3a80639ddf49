"""Lines of a requirements file: a grammar, and nothing of this machine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_scorer import conda, conda_names, pip_lines
from headrace_scorer.errors import LaunchRefused

# In pieces, as the repository names no package index.
INDEX, EXTRA = "--index" + "-url", "--extra" + "-index-url"
LINKS, TRUSTED = "--find" + "-links", "--trusted" + "-host"
GOOD = [
    "numpy", "numpy==1.26.4", "numpy>=1.2,<2", "inference-schema[numpy-support]",
    "x~=1.0 ; python_version < '3.12'",
    "torch @ https://example.org/torch-2.2-cp311.whl", "git+https://example.org/team/lib@v1",
    "https://example.org/x.whl", f"{EXTRA} https://download.example.org/whl/cpu",
    "-i https://packages.example.org/simple", f"{LINKS}=https://example.org/wheels", "--pre",
    "--no-binary :all:", "azureml-defaults==1.56.0", "x==1 --hash=sha256:00ff --hash=sha256:11aa",
]  # fmt: skip
OF_FILES = [
    "-rreq.txt", "-r req.txt", "-r  ../x", "--requirement=req.txt", "-cc.txt", "-e.", "-e .",
    "--editable .",
    "x @ file:///etc/passwd", "file:///etc/passwd", "./local", "../up", "~/x", "/etc/passwd",
    "wheels/x.whl", "x.whl", "x-1.0.tar.gz", f"{LINKS} wheels", f"{LINKS}=/srv", "-f .",
    f"{INDEX} file:///srv/index", "requirements.txt",
]  # fmt: skip
OTHER = [
    ("numpy\n-r /etc/passwd", "more than one line"),
    ("numpy\rscipy", "more than one line"),
    ("https://${TOKEN}@example.org/x.whl", "names a variable"),
    ("x==${VERSION}", "names a variable"),
    (f"{TRUSTED} example.org", "not supported"),
    ("--config-settings a=b", "not supported"),
    ("numpy = 1.26", "cannot be read"),
    ("two words", "cannot be read"),
]


@pytest.mark.parametrize("line", GOOD)
def test_what_names_packages_and_addresses_is_taken(line: str) -> None:
    assert pip_lines.read([line]) == [line]


@pytest.mark.parametrize("line", OF_FILES)
def test_what_refers_to_a_file_is_refused(line: str) -> None:
    with pytest.raises(LaunchRefused, match="refers to a file"):
        pip_lines.read([line])


@pytest.mark.parametrize(("line", "why"), OTHER)
def test_what_else_is_no_requirement_says_why(line: str, why: str) -> None:
    with pytest.raises(LaunchRefused, match=why):
        pip_lines.read([line])


def test_comments_and_empty_lines_are_left_out() -> None:
    lines = ["# all of them", "", "numpy  # fast", "x @ https://example.org/a#egg=x"]
    assert pip_lines.read(lines) == ["numpy", "x @ https://example.org/a#egg=x"]


def test_a_line_that_goes_on_is_one() -> None:
    found = conda.read_requirements("x==1 \\\n    --hash=sha256:00ff\nsix\n")
    assert [one.split() for one in found.packages] == [["x==1", "--hash=sha256:00ff"], ["six"]]


@given(st.text(max_size=60))
def test_any_line_is_taken_or_refused(line: str) -> None:
    try:
        found = pip_lines.read([line])
    except LaunchRefused:
        return
    assert all("\n" not in one and "${" not in one for one in found)


EXPORT = """
name: project
channels: [conda-forge, defaults]
dependencies:
  - _libgcc_mutex=0.1=main
  - _openmp_mutex=5.1=1_gnu
  - bzip2=1.0.8=h5eee18b_6
  - ca-certificates=2024.7.2=h06a4308_0
  - ffmpeg=4.3=hf484d3e_0
  - ld_impl_linux-64=2.38=h1181459_1
  - libffi=3.4.4=h6a678d5_1
  - libgcc-ng=11.2.0=h1234567_1
  - libstdcxx-ng=11.2.0=h1234567_1
  - ncurses=6.4=h6a678d5_0
  - numpy=1.26.4=py311h08b1b3b_0
  - numpy-base=1.26.4=py311hf175353_0
  - openssl=3.0.14=h5eee18b_0
  - pip=24.2=py311h06a4308_0
  - python=3.11.9=h955ad1f_0
  - readline=8.2=h5eee18b_0
  - scikit-learn=1.5.1=py311h1128e8f_0
  - sqlite=3.45.3=h5eee18b_0
  - tk=8.6.14=h39e8969_0
  - tzdata=2024a=h04d1e81_0
  - xz=5.4.6=h5eee18b_1
  - zlib=1.2.13=h5eee18b_1
  - pip:
      - inference-schema==1.8
prefix: /home/azureuser/miniconda3/envs/project
"""


def test_the_export_of_a_conda_environment_is_read() -> None:
    found = conda.read_conda(EXPORT)
    assert found.python == "==3.11.9"
    assert found.packages == (
        "numpy==1.26.4",
        "scikit-learn==1.5.1",
        "inference-schema==1.8",
    )
    assert "ffmpeg" in found.dropped
    assert len(found.dropped) == 19


@pytest.mark.parametrize(
    ("name", "on_pypi"),
    [
        ("java-jdk", ""),
        ("ffmpeg", ""), ("libgomp", ""), ("gxx_linux-64", ""), ("r-base", ""), ("cuda-toolkit", ""),
        ("librosa", "librosa"), ("libcst", "libcst"), ("pandas", "pandas"), ("cmake", "cmake"),
        ("python-graphviz", "graphviz"), ("graphviz", ""), ("pytorch", "torch"),
        ("setuptools", "setuptools"),
    ],
)  # fmt: skip
def test_native_packages_are_asked_of_no_index(name: str, on_pypi: str) -> None:
    assert conda_names.on_pypi(name, name) == on_pypi
