"""Files from users: every fault is an error that names file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace_api.errors import InvalidInput
from headrace_api.yaml_file import MAX_FILE_BYTES, parse_yaml, read_yaml

BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join(['*' + old] * 10)}]\n"
    for old, new in zip("abcdefg", "bcdefgh", strict=True)
)


def write(folder: Path, text: str) -> Path:
    path = folder / "blue.yml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: blue\nsettings:\n\ta: 1\n", "blue.yml:3: a tab is not allowed"),
        ("name: blue\nname: green\n", "blue.yml:2: the key 'name' is given twice"),
        ("name: !!python/object/apply:os.system ['ls']\n", "blue.yml:1: the tag"),
        ("name: !local x\n", "blue.yml:1: name: the tag or value is not allowed"),
        ("- a\n- b\n", "blue.yml:1: must hold keys and values"),
        ("1: a\n", "blue.yml:1: a key must be text"),
        ("? [a]\n: b\n", "blue.yml:1: a key must be text"),
        ("", "blue.yml is empty"),
        ("a: [1, 2\n", "blue.yml:2: not valid YAML"),
        ("a: &x {b: *x}\n", "blue.yml:1: a.b contains itself"),
        ("a: " + "[" * 60 + "]" * 60, "nested deeper than"),
        ("a: " + "[" * 5_000 + "]" * 5_000, "nested deeper than"),
        ("when: 2021-13-77\n", "blue.yml:1: when: the tag or value"),
        (BOMB, "expands to more"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_yaml(write(tmp_path, text))
    assert said in caught.value.message


def test_a_file_past_the_bound_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="larger than"):
        read_yaml(write(tmp_path, "a: " + "x" * MAX_FILE_BYTES))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"cannot read .*none\.yml: No such file"):
        read_yaml(tmp_path / "none.yml")


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(InvalidInput, match="not UTF-8"):
        parse_yaml(b"a: \xff\n")


def test_aliases_and_merge_keys_are_followed() -> None:
    found = parse_yaml("base: &b {x: 1, y: 2}\nblue: {<<: *b, y: 3}\nlist: [*b]\n")
    assert found.values["blue"] == {"x": 1, "y": 3}
    assert found.values["list"] == [{"x": 1, "y": 2}]


def test_lines_of_nested_keys_are_kept() -> None:
    found = parse_yaml("a:\n  b:\n    - c: 1\n")
    assert found.lines[("a", "b", 0, "c")] == 3
