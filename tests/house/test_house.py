"""The house limits hold in this tree, and each of them can fail."""

from __future__ import annotations

from pathlib import Path

import pytest

import house

ROOT = Path(__file__).resolve().parents[2]
HOME = "/ho" + "me/someone/"
INDEX = "https://" + "pypi.example.org/simple"
PROJECT = """
[project]
dependencies = ["alpha>=2"]
[dependency-groups]
build = ["beta"]
dev = [{ include-group = "build" }, "gamma<5"]
"""


def whats(findings: object) -> list[str]:
    return [finding.what for finding in findings]  # type: ignore[attr-defined]


def function_of(lines: int) -> str:
    return "def long() -> None:\n" + "    pass\n" * (lines - 1)


def test_the_tree_keeps_the_house_limits() -> None:
    assert [str(finding) for finding in house.check_tree(ROOT)] == []


def test_a_function_may_have_60_lines_and_no_more() -> None:
    assert whats(house.check_python("x.py", function_of(60))) == []
    assert whats(house.check_python("x.py", function_of(61))) == [
        "long() has 61 lines, limit 60: split it"
    ]


def test_a_file_may_have_500_lines_and_no_more() -> None:
    assert whats(house.check_python("x.py", "x = 1\n" * 500)) == []
    assert whats(house.check_python("x.py", "x = 1\n" * 501)) == ["501 lines, limit 500: split it"]


def test_a_class_may_have_250_lines_and_25_methods() -> None:
    long = "class Long:\n" + "    x = 1\n" * 250
    assert whats(house.check_python("x.py", long)) == [
        "class Long has 251 lines, limit 250: split it"
    ]
    wide = "class Wide:\n" + "".join(f"    def m{n}(self) -> None: ...\n" for n in range(26))
    assert whats(house.check_python("x.py", wide)) == [
        "class Wide has 26 methods, limit 25: split it"
    ]


def test_a_page_that_is_cited_is_in_the_repository() -> None:
    pages = frozenset({"README.md", "azure_rest.md"})
    good = "see README.md, azure_rest.md 3.3 and docs/reference/azure_rest.md"
    assert list(house.check_citations("x.py", good, pages)) == []
    assert whats(house.check_citations("x.py", "as absent" + ".md 4 has it", pages)) == [
        "absent" + ".md is cited and not in the repository"
    ]


def test_a_module_that_a_page_names_is_in_the_repository() -> None:
    modules = ("bus/headrace_bus/wire/batch.py",)
    assert list(house.check_module_paths("README.md", "see `wire/batch.py`", modules)) == []
    assert whats(house.check_module_paths("README.md", "see `wire/train.py`", modules)) == [
        "wire/train.py is named and not in the repository"
    ]


def test_a_circle_is_found_even_when_it_is_lazy_or_for_types() -> None:
    lazy = "def f():\n    from p import b\n"
    typed = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p.a import A\n"
    found = list(house.check_circles({"p.a": lazy, "p.b": typed, "p.c": "import p.a\n"}))
    assert whats(found) == ["import circle: p.a > p.b > p.a"]
    assert list(house.check_circles({"p.a": lazy, "p.b": "import p.c\n", "p.c": ""})) == []


@pytest.mark.parametrize(
    ("line", "body", "breaches"),
    [
        ("except:", "pass", 1),
        ("except Exception:", "pass", 1),
        ("except (ValueError, BaseException):", "pass", 1),
        ("except Exception:  # noqa: BLE001", "pass", 1),
        ("except Exception:  # noqa: BLE001 the user's code may raise anything", "pass", 0),
        ("except Exception:  # outer edge of the task", "pass", 0),
        ("except BaseException:", "raise", 0),
        ("except ValueError:", "pass", 0),
    ],
)
def test_a_broad_except_needs_its_reason(line: str, body: str, breaches: int) -> None:
    source = f"try:\n    pass\n{line}\n    {body}\n"

    assert len(list(house.check_python("x.py", source))) == breaches


@pytest.mark.parametrize("text", [f"cd {HOME}x", "see /opt/mine/x", f"pip install -i {INDEX}"])
def test_a_folder_of_one_machine_or_an_index_is_found(text: str) -> None:
    findings = list(house.check_text("README.md", f"fine\n{text}\n", ("/opt/mine/",)))

    assert [finding.line for finding in findings] == [2]


def test_locks_that_pin_what_the_project_wants_are_current() -> None:
    runtime, dev = "Alpha==2.1 \\\nbeta==1\n", "alpha==2.1\nbeta==1\ngamma==4\n"

    assert whats(house.check_locks(PROJECT, runtime, dev)) == []


@pytest.mark.parametrize(
    ("runtime", "dev"),
    [
        ("alpha==1.9\nbeta==1\n", "alpha==1.9\nbeta==1\ngamma==4\n"),
        ("alpha==2.1\n", "alpha==2.1\nbeta==1\ngamma==4\n"),
        ("alpha==2.1\nbeta==1\n", "alpha==2.1\nbeta==1\ngamma==5\n"),
        ("alpha==2.1\nbeta==1\n", "alpha==2.2\nbeta==1\ngamma==4\n"),
    ],
    ids=["version too old", "missing", "excluded", "locks differ"],
)
def test_a_stale_lock_is_found(runtime: str, dev: str) -> None:
    assert any("scripts/lock" in what for what in whats(house.check_locks(PROJECT, runtime, dev)))
