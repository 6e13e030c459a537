"""The table of operators is read off the rules: it says what they do."""

import importlib
import json

import onnx.defs
import pytest
from typer.testing import CliRunner

from edgewright.cli import _load_commands, app
from edgewright.export.operators import Operator, operators
from edgewright.export.reasons import REASONS


def table(target: str) -> dict[str, Operator]:
    return {o.op_type: o for o in operators(importlib.import_module(f"edgewright.export.{target}.target").TARGET)}


@pytest.mark.parametrize("target", ["tflite", "coreml"])
def test_every_operator_is_there_and_the_missing_ones_have_a_reason(target: str) -> None:
    found = table(target)
    assert set(found) == {schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == ""}
    for operator in found.values():
        assert bool(operator.reason) == (operator.how == "missing")


def test_what_operators_become_on_tflite() -> None:
    found = table("tflite")
    assert found["Relu"].becomes == ("RELU",)
    assert {"CONV_2D", "DEPTHWISE_CONV_2D"} <= set(found["Conv"].becomes)
    assert "GREATER" in found["Greater"].becomes and "LESS" not in found["Greater"].becomes
    assert "WHILE" in found["Loop"].becomes
    assert all(o.becomes for o in found.values() if o.how == "rule")
    assert (found["Mish"].how, found["Upsample"].how) == ("decomposed", "upgraded")
    assert found["Conv"].int8 and not found["Sin"].int8
    assert found["Conv"].dtypes == ("float32",) and found["And"].dtypes == ("bool",)
    assert found["Clip"].versions == (1, 6, 11, 12, 13)


def test_reasons_are_for_operators_that_exist() -> None:
    found = table("tflite")
    assert {op for op in REASONS if "::" not in op} <= set(found)
    assert found["SequenceAt"].reason.startswith("sequences and optionals")
    assert found["Bernoulli"].reason.startswith("random numbers")  # its function body draws them too


def test_the_command() -> None:
    _load_commands()
    shown = CliRunner().invoke(app, ["ops", "tflite"])
    assert shown.exit_code == 0
    lines = shown.stdout.splitlines()
    assert lines[0].endswith(" operators") and lines[1].startswith("operator ")
    [row] = [line for line in lines if line.startswith("StringSplit ")]
    assert row.endswith("missing: strings: prepare text in the app, and give numbers")
    document = json.loads(CliRunner().invoke(app, ["ops", "coreml", "--json"]).stdout)
    assert {"op_type", "how", "versions", "dtypes", "becomes", "int8", "reason"} == set(document[0])
