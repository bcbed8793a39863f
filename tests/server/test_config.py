from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from bluesky_ext.server.builtin import CrystalMapping
from bluesky_ext.server.config import ConfigError, read_config, template, validated
from bluesky_ext.server.registry import find


@pytest.fixture
def written(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "settings.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def settings(path: Path) -> CrystalMapping:
    pipeline = validated(CrystalMapping, read_config(path), path)
    assert isinstance(pipeline, CrystalMapping)
    return pipeline


def test_settings_are_those_of_the_file(written):
    found = settings(written('data_key = "cam_image"\ndiameter = 15\n[locate]\nminmass = 700\n'))
    assert (found.data_key, found.diameter, found.locate) == ("cam_image", 15, {"minmass": 700})
    assert found.search_range == 5.0


@pytest.mark.parametrize("name", ["crystal-mapping", "masks", "nxstxm"])
def test_a_template_is_toml_and_its_comments_are_settings_too(name, written):
    pipeline = find(name)
    text = template(pipeline)
    required = {key for key, field in pipeline.model_fields.items() if field.is_required()}
    assert set(tomllib.loads(text)) == required
    validated(pipeline, tomllib.loads(text))
    # Uncommented, every setting is there, with a value that is accepted.
    lines = [line.removeprefix("# ") if " = " in line or line.startswith("# [") else line for line in text.splitlines()]
    everything = tomllib.loads("\n".join(lines))
    assert set(everything) == set(pipeline.model_fields)
    validated(pipeline, everything)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('data_key = "a"\ndiameter = 1O\n', r"settings.toml is no TOML: .*line 2"),
        ('data_key = "a"\nspeed = 4\n', r"settings.toml: speed is no setting: there are data_key, subtrahend"),
        ("diameter = 5\n", r"settings.toml: data_key is missing: The key of the image"),
        ('data_key = "a"\nmemory = "long"\n', r"settings.toml: memory = \"long\": .*integer"),
        ('data_key = "a"\ndiameter = -4\n', r"settings.toml: diameter = -4: .*greater than 0$"),
        (
            'data_key = "a"\n[locate]\nminmas = 3\n',
            r"minmas = 3 }: minmas is no keyword of .*: there are minmass, maxsize",
        ),
        ('data_key = "a"\nlocate.topn = "x"\n', r"locate = { topn = \"x\" }: .*valid integer.* or .*valid list or .*"),
        ('memory = "long"\nspeed = 4\n', r"data_key is missing: .*; speed is no setting: .*; memory = \"long\": "),
    ],
)
def test_what_is_wrong_is_named(written, text, said):
    with pytest.raises(ConfigError, match=said) as caught:
        settings(written(text))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"nothing.toml can't be read"):
        read_config(tmp_path / "nothing.toml")
