"""The pure parts of the command: output, editing, ignore files, script check, masking, logs."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import edit, ignore, masking, output
from headrace.call import Call
from headrace.errors import BadUsage, CommandError
from headrace.main import spread
from headrace.model_folder import hint
from headrace.online_deployment import added
from headrace.operations import FIRST_POLL_S, POLL_SHARE, poll_pause_s
from headrace.script_check import check_script
from headrace.settings import Settings
from headrace.upload import Tree, size_text

ROWS = [
    {"name": "blue", "traffic": {"a": 90, "b": 10}, "ok": True, "none": None},
    {"name": "green", "traffic": {}, "ok": False, "none": None},
]


def call(**options: Any) -> Call:
    return Call(options=options, settings=Settings())


@pytest.mark.parametrize(
    ("format", "value", "expected"),
    [
        ("tsv", "https://x/score", "https://x/score"),
        ("tsv", ["a", "b"], "a\nb"),
        ("tsv", {"a": 1, "b": None, "c": True}, "1\t\ttrue"),
        ("tsv", [{"a": 1, "b": [1, 2]}], "1\t2"),
        ("json", {"ä": 1}, '{\n  "ä": 1\n}'),
        ("yaml", {"b": 1, "a": [2]}, "b: 1\na:\n- 2"),
        ("none", {"a": 1}, ""),
        ("table", [], ""),
    ],
)
def test_formats(format: str, value: object, expected: str) -> None:
    assert output.render(value, format) == expected


def test_a_table_shows_the_columns_that_hold_something() -> None:
    assert output.render(ROWS, "table", ("name", "traffic", "none")).splitlines() == [
        "Name   Traffic",
        "-----  ---------",
        "blue   a=90 b=10",
        "green",
    ]


def test_titles_keep_the_capitals_inside_a_name_as_az_does() -> None:
    rows = [{"name": "own", "containerName": "c", "isDefault": False, "latest_version": "1"}]
    titles = output.render(rows, "table").splitlines()[0]
    assert titles.split("  ") == ["Name", "ContainerName", "IsDefault", "Latest version"]


@pytest.mark.parametrize(
    ("format", "quiet", "out", "err"),
    [
        ("table", False, "", "no models\n"),
        ("table", True, "", ""),
        ("json", False, "[]\n", ""),
        ("tsv", False, "", ""),
    ],
)
def test_an_empty_list_says_so_where_a_person_reads_and_nowhere_else(
    capsys: pytest.CaptureFixture[str], format: str, quiet: bool, out: str, err: str
) -> None:
    output.show([], Settings(output=format, only_show_errors=quiet), things="models")
    assert capsys.readouterr() == (out, err)


def test_a_query_is_applied_first_and_a_wrong_one_is_usage(
    capsys: pytest.CaptureFixture[str],
) -> None:
    output.show(ROWS, Settings(output="tsv", query="[?ok].name"))
    assert capsys.readouterr().out == "blue\n"
    with pytest.raises(BadUsage, match="is not JMESPath"):
        output.show(ROWS, Settings(output="json", query="[?"))


def test_an_unknown_format_of_the_environment_is_usage() -> None:
    with pytest.raises(BadUsage, match="unknown output format"):
        output.render(ROWS, "xml")


def test_options_with_several_values_may_stand_in_one_row() -> None:
    assert spread(["--set", "a=1", "b=2", "-n", "x"]) == ["--set", "a=1", "--set", "b=2", "-n", "x"]
    assert spread(["--traffic", "a=1 b=2", "-y"]) == ["--traffic", "a=1 b=2", "-y"]
    assert spread(["--add", "tags", "a=1"]) == ["--add", "tags\x1fa=1"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"set": ("a.b=2",)}, {"a": {"b": 2}, "list": [1, 2], "tags": {"x": "y"}}),
        (
            {"set": ("a.b=2",), "force_string": True},
            {"a": {"b": "2"}, "list": [1, 2], "tags": {"x": "y"}},
        ),
        ({"set": ("list[1]=9",)}, {"a": {"b": 1}, "list": [1, 9], "tags": {"x": "y"}}),
        (
            {"set": ("new.key=text",)},
            {"a": {"b": 1}, "list": [1, 2], "tags": {"x": "y"}, "new": {"key": "text"}},
        ),
        ({"add": ("list\x1f3",)}, {"a": {"b": 1}, "list": [1, 2, 3], "tags": {"x": "y"}}),
        (
            {"add": ("tags\x1fcount=1",)},
            {"a": {"b": 1}, "list": [1, 2], "tags": {"x": "y", "count": "1"}},
        ),
        ({"remove": ("tags.x",)}, {"a": {"b": 1}, "list": [1, 2], "tags": {}}),
        ({"remove": ("list\x1f0",)}, {"a": {"b": 1}, "list": [2], "tags": {"x": "y"}}),
    ],
)
def test_generic_options_edit_a_copy(options: dict[str, Any], expected: dict[str, Any]) -> None:
    values = {"a": {"b": 1}, "list": [1, 2], "tags": {"x": "y"}}
    before = json.dumps(values)
    assert edit.edited(values, call(**options)) == expected
    assert json.dumps(values) == before


@pytest.mark.parametrize(
    "options",
    [
        {"set": ("a",)},
        {"set": ("a.b.c=1",)},
        {"set": ("list[7]=1",)},
        {"remove": ("no",)},
        {"add": ("a",)},
    ],
)
def test_an_edit_that_leads_nowhere_is_usage(options: dict[str, Any]) -> None:
    with pytest.raises(BadUsage):
        edit.edited({"a": {"b": 1}, "list": []}, call(**options))


def test_percentages_are_read_from_one_text_or_several() -> None:
    assert edit.pairs(("blue=90 green=10",), "--traffic") == {"blue": "90", "green": "10"}
    assert edit.pairs(("blue=90", "green=10"), "--traffic") == {"blue": "90", "green": "10"}
    with pytest.raises(BadUsage, match="use name=value"):
        edit.pairs(("blue",), "--traffic")


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("*.pyc", "a/b.pyc", True),
        ("*.pyc", "a/b.py", False),
        ("/top.txt", "top.txt", True),
        ("/top.txt", "a/top.txt", False),
        ("a/*.txt", "a/b/c.txt", False),
        ("a/**/c.txt", "a/b/d/c.txt", True),
        ("**/c.txt", "c.txt", True),
        ("data/**", "data/x/y", True),
        ("file?.bin", "file1.bin", True),
        ("file[0-3].bin", "file2.bin", True),
        ("file[!0-3].bin", "file2.bin", False),
        ("*.txt\n!keep.txt", "keep.txt", False),
        ("# comment", "# comment", False),
    ],
)
def test_ignore_patterns_are_gits(pattern: str, path: str, expected: bool) -> None:
    rules = ignore.parse_rules(pattern)
    assert ignore.is_ignored(path, rules, is_folder=False) is expected


@given(st.text(max_size=30))
def test_no_ignore_line_breaks_the_upload(line: str) -> None:
    with contextlib.suppress(CommandError):
        ignore.is_ignored("a/b", ignore.parse_rules(line), is_folder=False)


def test_a_tree_leaves_out_what_is_ignored_and_its_digest_is_its_contents(tmp_path: Path) -> None:
    for name in ("src/score.py", "src/logs/a.log", "src/__pycache__/x.pyc", "src/deep/b.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "src" / ".gitignore").write_text("logs/\n")
    tree = Tree.of(tmp_path / "src")
    names = [name for _, name in tree.names()]
    assert names == ["src/.gitignore", "src/deep/b.py", "src/score.py"]
    assert Tree.of(tmp_path / "src").sha256 == tree.sha256
    (tmp_path / "src" / "score.py").write_text("changed")
    assert Tree.of(tmp_path / "src").sha256 != tree.sha256


def test_a_link_out_of_the_folder_is_not_uploaded(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "secret").write_text("x")
    (tmp_path / "src" / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(CommandError, match="links to a place outside"):
        Tree.of(tmp_path / "src")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def init(): ...\ndef run(d): ...", ""),
        ("async def run(d): ...\ndef init(): ...", ""),
        ("from other import init, run", ""),
        ("try:\n  def init(): ...\nexcept ImportError: ...\nrun = print", ""),
        ("def init(:", "is not valid Python"),
        ("\x00", "is not valid Python"),
    ],
)
def test_a_script_that_does_not_parse_is_refused(tmp_path: Path, source: str, said: str) -> None:
    path = tmp_path / "score.py"
    path.write_text(source)
    if not said:
        assert check_script(path) == ""
        return
    with pytest.raises(CommandError) as caught:
        check_script(path)
    assert said in caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        '{"primaryKey": "s3cret"}',
        '{"accessToken":"s3cret"}',
        '{"sasToken": "sig=s3cret"}',
        '{"keyValue": "s3cret"}',
        "https://x/c?sv=1&sig=s3cret&se=2",
        '{"environmentVariables": {"A": "s3cret"}}',
        '{"environmentVariables": {"A": "{}s3cret"}}',
        '{"properties": {"environmentVariables": {"A": "}", "B": "s3cret"}}}',
        '{"primaryKey": "a\\"s3cret"}',
        '{"access_token": "s3cret"}',
        '{"clientSecret": "s3cret"}',
    ],
)
def test_secrets_are_masked(text: str) -> None:
    assert "s3cret" not in masking.mask(text)
    assert "***" in masking.mask(text)


@given(st.lists(st.integers()), st.lists(st.integers()))
def test_following_a_log_prints_each_line_once(first: list[int], more: list[int]) -> None:
    """Lines differ here, as lines with times do; equal ones could stand anywhere."""
    lines = [f"{at} {value}" for at, value in enumerate([*first, *more])]
    before = lines[: len(first)]
    assert added(before, lines) == lines[len(first) :]
    assert (
        added(before, lines[len(first) // 2 :])[-len(more) or len(lines) :] == lines[len(first) :]
    )


def test_the_models_folder_is_named_when_a_file_is_missing(tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_text("x")
    failure = "FileNotFoundError: [Errno 2] No such file or directory: '/a/modell.pkl'"
    assert hint(failure, tmp_path) == "the model contains: model.pkl   (did you mean model.pkl?)"
    assert hint("ValueError: x", tmp_path) == ""


def test_sizes_are_short() -> None:
    assert [size_text(size) for size in (12, 1_500, 12_000, 1_100_000, 5 * 10**9)] == [
        "12 B",
        "1.5 kB",
        "12 kB",
        "1.1 MB",
        "5.0 GB",
    ]


def test_a_query_that_finds_nothing_is_an_empty_table() -> None:
    assert output.render(None, "table") == ""


@given(took_s=st.floats(min_value=0.0, max_value=3600.0))
def test_the_end_of_an_operation_is_noticed_a_tenth_late_at_the_most(took_s: float) -> None:
    at_s, looks = 0.0, 0
    while at_s < took_s:
        at_s += poll_pause_s(at_s)
        looks += 1
    assert at_s - took_s <= max(FIRST_POLL_S, POLL_SHARE * took_s) + 1e-9
    assert looks <= 120  # of an hour
