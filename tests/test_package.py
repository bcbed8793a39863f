import importlib
import subprocess
import sys

import pytest

import bluesky_ext


def imported_by(statement):
    program = f"import sys; {statement}; print(*sorted(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(answer.stdout.split())


def test_the_package_is_light():
    added = imported_by("import bluesky_ext") - imported_by("import bluesky")
    assert not added & {"numba", "trackpy", "pandas", "scipy", "xarray", "matplotlib", "ophyd", "tiled", "dask", "h5py"}


def test_a_stage_does_not_bring_the_libraries_of_the_others():
    assert not imported_by("from bluesky_ext import ImageProcessor") & {"trackpy", "matplotlib", "tiled", "distributed"}


def test_the_engine_and_the_adapters_are_light():
    # Every stage imports the engine. Databases, images and tables bring their libraries when there are some.
    heavy = {"bluesky_tiled_plugins", "databroker", "h5py", "numba", "pandas", "scipy", "tiled"}
    for room in ("engine", "storage.adapters"):
        assert not imported_by(f"import bluesky_ext.{room}") & heavy


@pytest.mark.parametrize("name", bluesky_ext.__all__)
def test_every_public_name_is_there(name):
    assert getattr(bluesky_ext, name) is not None
    assert name in dir(bluesky_ext)


def test_other_names_are_not():
    with pytest.raises(AttributeError, match="ImageProcesser"):
        bluesky_ext.ImageProcesser  # noqa: B018


def test_the_suitcase_has_two_names_and_is_one():
    import suitcase_nxstxm

    assert importlib.import_module("suitcase.nxstxm") is suitcase_nxstxm
    # It is a room beside the others, not instead of them.
    assert importlib.import_module("suitcase.utils").MultiFileManager
