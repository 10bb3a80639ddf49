"""What people type and write because az takes it: short options, edits, empty values, scripts."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
import yaml

from headrace import edit
from headrace.call import Call
from headrace.main import completed, root
from headrace.script_check import check_script
from headrace.settings import Settings
from headrace_api.errors import InvalidInput
from headrace_api.online_deployment import OnlineDeployment
from headrace_api.yaml_file import parse_yaml

KNOWN = ["--endpoint-name", "--file", "--force-string", "--name", "--no-wait"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["--endpoint", "x"], ["--endpoint-name", "x"]),
        (["--endpoint=x"], ["--endpoint-name=x"]),
        (["--fi", "f.yml"], ["--file", "f.yml"]),
        (["--name", "x", "--no"], ["--name", "x", "--no-wait"]),
        (["--unknown", "-n", "a"], ["--unknown", "-n", "a"]),
        (["--", "x"], ["--", "x"]),
    ],
)
def test_an_option_may_be_shortened_while_one_alone_begins_so(
    given: list[str], expected: list[str]
) -> None:
    assert completed(given, KNOWN) == expected


def test_an_ambiguous_beginning_names_what_it_could_be() -> None:
    with pytest.raises(click.UsageError, match="--f could be --file, --force-string"):
        completed(["--f", "x"], KNOWN)


@pytest.mark.parametrize(
    ("group", "verb", "short", "whole"),
    [
        ("online-deployment", "create", "--endpoint", "--endpoint-name"),
        ("online-deployment", "get-logs", "--endpoint", "--endpoint-name"),
        ("online-endpoint", "invoke", "--deployment", "--deployment-name"),
        ("online-endpoint", "create", "--f", "--file"),
        ("online-endpoint", "invoke", "--request", "--request-file"),
    ],
)
def test_beginnings_the_official_scripts_use_are_unique(
    group: str, verb: str, short: str, whole: str
) -> None:
    context = click.Context(root())
    found = root().get_command(context, group)
    assert isinstance(found, click.Group)
    command = found.get_command(context, verb)
    assert command is not None
    known = [name for one in command.params for name in one.opts if name.startswith("--")]
    assert completed([short, "x"], known) == [whole, "x"]


def call(**options: object) -> Call:
    return Call(options=options, settings=Settings())


@pytest.mark.parametrize(
    ("text", "path", "expected"),
    [
        ("tags.sha=7e12345", ("tags", "sha"), "7e12345"),
        ("tags.b=true", ("tags", "b"), "true"),
        ("environment_variables.B=true", ("environment_variables", "B"), "true"),
        ("properties.headrace.idempotent=false", ("properties", "headrace", "idempotent"), False),
        ("description=007", ("description",), "007"),
        ("instance_count=3", ("instance_count",), 3),
        ("request_settings.request_timeout_ms=9", ("request_settings", "request_timeout_ms"), 9),
    ],
)
def test_what_is_set_where_text_belongs_stays_as_it_was_typed(
    text: str, path: tuple[str, ...], expected: object
) -> None:
    found: object = edit.edited({}, call(set=(text,)))
    for part in path:
        assert isinstance(found, dict)
        found = found[part]
    assert found == expected


def deployment(tmp_path: Path, **more: object) -> Path:
    (tmp_path / "src").mkdir(exist_ok=True)
    (tmp_path / "src" / "score.py").write_text("def init(): pass\ndef run(raw): return raw\n")
    values: dict[str, object] = {
        "name": "blue",
        "endpoint_name": "shop",
        "code_configuration": {"code": "src", "scoring_script": "score.py"},
        "instance_type": "Standard_DS3_v2",
        "instance_count": 1,
    }
    path = tmp_path / "blue.yml"
    path.write_text(yaml.safe_dump(values | more))
    return path


def test_create_takes_the_same_edits_as_update(tmp_path: Path) -> None:
    path = deployment(tmp_path, data_collector={"collections": {"request": {"enabled": "false"}}})
    given = call(file=str(path), set=("tags.a=1", "instance_count=2"))
    found = edit.from_file(OnlineDeployment, given, {})
    assert (found.tags, found.instance_count) == ({"a": "1"}, 2)


def test_an_edit_may_name_an_item_of_a_list(tmp_path: Path) -> None:
    conda = {"dependencies": ["python=3.11", {"pip": ["numpy"]}]}
    path = deployment(tmp_path, environment={"image": "x/y:1", "conda_file": conda})
    given = call(file=str(path), set=("environment.conda_file.dependencies[0]=python=3.12",))
    found = edit.from_file(OnlineDeployment, given, {})
    assert "python=3.12" in str(found.environment)


def test_a_wrong_value_of_an_option_is_not_blamed_on_a_line_of_the_file(tmp_path: Path) -> None:
    path = deployment(tmp_path)
    with pytest.raises(InvalidInput, match=r"blue\.yml: instance_count is 'two'"):
        edit.from_file(OnlineDeployment, call(file=str(path), set=("instance_count=two",)), {})
    with pytest.raises(InvalidInput, match=r"^endpoint_name is 'o1'"):
        edit.from_file(OnlineDeployment, call(file=str(path)), {"endpoint_name": "o1"})


def test_empty_values_of_the_user_s_own_maps_survive_an_update(tmp_path: Path) -> None:
    variables = {"CUDA_VISIBLE_DEVICES": "", "A": "1"}
    path = deployment(tmp_path, environment_variables=variables, tags={"t": ""})
    first = OnlineDeployment.from_yaml(path)
    values = first.to_yaml()
    assert values["environment_variables"] == variables
    assert values["tags"] == {"t": ""}
    assert "description" not in values
    assert OnlineDeployment.from_values(values).environment_variables == variables


def test_a_number_with_a_leading_zero_stays_as_it_was_written() -> None:
    found = parse_yaml("a: 010\nb: 10\nc: 1:30\nd: 0\ne: -007\nf: 0x1F\n").values
    assert found == {"a": "010", "b": 10, "c": "1:30", "d": 0, "e": "-007", "f": 31}


@pytest.mark.parametrize(
    ("script", "warned"),
    [
        ("def init(): pass\ndef run(raw): return raw\n", ""),
        ("from impl import *\n", ""),
        ("from typing import Callable\ndef f(raw): ...\ndef init(): ...\nrun: Callable = f\n", ""),
        ("def init(): pass\ndef run_batch(raw): return raw\n", "no run()"),
        ("x = 1\n", "no init() and no run()"),
        ("class A:\n  def init(self): ...\n", "no init() and no run()"),
    ],
)
def test_only_what_does_not_parse_stops_a_script(tmp_path: Path, script: str, warned: str) -> None:
    path = tmp_path / "score.py"
    path.write_text(script)
    found = check_script(path)
    assert warned in found
    assert bool(found) == bool(warned)


def test_a_syntax_error_says_its_line(tmp_path: Path) -> None:
    path = tmp_path / "score.py"
    path.write_text("def init():\n    pass\n\ndef run(:\n")
    with pytest.raises(Exception, match=r"score\.py is not valid Python: line 4: "):
        check_script(path)


@pytest.mark.parametrize("variables", [{"A=B": "1"}, {"A": "1\0"}, {"": "1"}])
def test_variables_no_process_can_have_are_refused(
    tmp_path: Path, variables: dict[str, str]
) -> None:
    with pytest.raises(InvalidInput, match="cannot be a variable"):
        OnlineDeployment.from_yaml(deployment(tmp_path, environment_variables=variables))


def test_a_deployment_without_code_is_refused_at_once(tmp_path: Path) -> None:
    path = deployment(tmp_path)
    values = yaml.safe_load(path.read_text())
    del values["code_configuration"]
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(InvalidInput, match=r"code_configuration is required: .*MLflow, Triton"):
        OnlineDeployment.from_yaml(path)
