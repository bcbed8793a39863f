"""Parameters, set from text, files and values."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bluesky_ext.live import (
    BinaryParameter,
    BoolParameter,
    FloatParameter,
    IntParameter,
    Parameters,
    StrParameter,
    read_parameters,
)

DESCRIBED = [
    IntParameter("till_x", 2, "rows", limits=(0, 10)),
    FloatParameter("scale", 1.0, unit="keV", limits=(0, None)),
    StrParameter("mode", choices=("sum", "mean")),
    BoolParameter("live"),
    BinaryParameter("poni"),
]


def test_defaults_and_names_that_nobody_described():
    parameters = Parameters(DESCRIBED).changed({"other": "x"})
    assert {name: said.value for name, said in parameters.items()} == {
        **{"till_x": 2, "scale": 1.0, "mode": "sum", "live": False, "poni": b"", "other": "x"}
    }
    assert parameters["till_x"].data == b"2"
    assert parameters["live"].data == b"false"


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        *[("till_x", given, 3) for given in ("3", 3, 3.0, np.int32(3), b"3")],
        *[("scale", given, 2.5) for given in ("2.5", 2.5, np.float32(2.5))],
        *[("live", given, True) for given in ("yes", "TRUE", 1, True, np.True_)],
        ("mode", "mean", "mean"),
        ("poni", "text", b"text"),
        ("poni", b"\x00\xff", b"\x00\xff"),
    ],
)
def test_a_value_may_come_as_text_or_itself(name, given, value):
    assert Parameters(DESCRIBED).changed({name: given})[name].value == value


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"till_x": "rubbish"}, "till_x = 'rubbish' is no whole number"),
        ({"till_x": 2.5}, "till_x = 2.5 is no whole number"),
        ({"till_x": True}, "till_x = True is no whole number"),
        ({"till_x": 11}, "till_x = 11 is out of its limits: 0 <= till_x <= 10"),
        ({"scale": "nan"}, "scale = 'nan' is no number"),
        ({"scale": -1}, r"scale = -1.0 keV is out of its limits: 0 <= scale"),
        ({"mode": "max"}, "mode = 'max': it is one of 'sum', 'mean'"),
        ({"live": "perhaps"}, "live = 'perhaps' is no yes or no"),
        ({"poni": 3}, "poni = 3 is no bytes"),
    ],
)
def test_a_bad_value_is_refused_and_nothing_is_changed(values, message):
    parameters = Parameters(DESCRIBED)
    with pytest.raises(ValueError, match=f"^{message}$"):
        parameters.changed({"scale": 3.0, **values})
    assert parameters["scale"].value == 1.0


def test_the_sha256_is_that_of_names_and_values():
    one = Parameters(DESCRIBED)
    assert one.sha256 == Parameters(reversed(DESCRIBED)).sha256
    assert one.changed({"till_x": "2"}).sha256 == one.sha256
    assert len({one.sha256, one.changed({"till_x": 3}).sha256, one.changed({"other": 2}).sha256}) == 3
    assert Parameters().changed({"a": "1"}).sha256 != Parameters().changed({"a": 1}).sha256


def test_a_default_that_is_out_of_its_limits_and_one_name_for_two():
    with pytest.raises(ValueError, match="x = 5 is out of its limits"):
        IntParameter("x", 5, limits=(0, 3))
    with pytest.raises(ValueError, match="'x' is described twice"):
        Parameters([IntParameter("x"), IntParameter("x", 2)])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", json.dumps([{"name": "till_x", "data": "3"}, {"name": "mode", "data": "mean"}])),
        ("a.json", '{"till_x": 3, "mode": "mean"}'),
        ("a.toml", 'till_x = 3\nmode = "mean"'),
        ("a.yaml", "till_x: 3\nmode: mean\n"),
        ("a.yml", "- {name: till_x, data: 3}\n- {name: mode, data: mean}\n"),
    ],
)
def test_values_are_read_from_files(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    parameters = Parameters(DESCRIBED).changed(read_parameters(tmp_path / name))
    assert (parameters["till_x"].value, parameters["mode"].value) == (3, "mean")


def test_bytes_are_read_from_cbor(tmp_path):
    cbor2 = pytest.importorskip("cbor2")
    (tmp_path / "a.cbor").write_bytes(cbor2.dumps([{"name": "poni", "data": b"\x00\xff"}]))
    assert Parameters(DESCRIBED).changed(read_parameters(tmp_path / "a.cbor"))["poni"].value == b"\x00\xff"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", '{"a": ', "a.json can't be read: Expecting value: line 1"),
        ("a.toml", "a = ", "a.toml can't be read: Invalid value"),
        ("a.yaml", "a: [", "a.yaml can't be read: while parsing"),
        ("a.json", "[1]", "a.json has 1 in its list"),
        ("a.json", "3", "a.json holds a int"),
        ("a.ini", "", "parameters are in files named .json"),
    ],
)
def test_a_file_that_can_not_be_read_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        read_parameters(tmp_path / name)
