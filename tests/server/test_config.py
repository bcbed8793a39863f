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
        ('data_key = "a"\ndiameter = 1O\n', r"settings.toml is no TOML: .*line 2.*, at 'diameter'"),
        (
            'data_key = "a"\n\nspeed = 4\n',
            r"settings.toml, line 3: speed is no setting: there are data_key, subtrahend",
        ),
        ("diameter = 5\n", r"settings.toml: data_key is missing: The key of the image"),
        ('data_key = "a"\nmemory = "long"\n', r"settings.toml, line 2: memory = \"long\": .*integer"),
        ('data_key = "a"\n[locate]\nminmass = [1\n\n', r"settings.toml is no TOML: .*end.*, at 'minmass' in line 3"),
        ('data_key = "a"\n[locate\nminmass = 1\n', r"settings.toml is no TOML: .*line 2.*, at 'locate'"),
        ('data_key = "a"\ndiameter = [\n  5,\n  x\n]\n', r"settings.toml is no TOML: .*line 4.*, at 'x'"),
        ('data_key = "a"\ndiameter = 4\n', r"line 2: diameter = 4: give an odd number of pixels$"),
        ('data_key = "a"\n[locate]\nminmas = 3\n', r"line 3: locate.minmas is no setting: there are minmass, maxsize"),
        ('data_key = "a"\n[locate]\nminmass = "x"\n', r"line 3: locate.minmass = \"x\": .*valid number"),
        ('data_key = "a"\nlocate.topn = "x"\n', r"line 2: locate.topn = \"x\": .*valid integer"),
        ('data_key = "a"\nlocate = {topn = "x"}\n', r"line 2: locate.topn = \"x\": .*valid integer"),
        (
            'data_key = "a"\n# [x]\n[locate]\nseparation = "x"\n',
            r"line 4: locate.separation = \"x\": input should be a valid number.* or input should be a valid list$",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_line(written, text, said):
    with pytest.raises(ConfigError, match=said) as caught:
        settings(written(text))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"nothing.toml can't be read"):
        read_config(tmp_path / "nothing.toml")
