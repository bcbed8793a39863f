"""Every scan type, in both schemas: the numbers, their shapes and places, and what validators say of the file."""

import h5py
import numpy as np
import pytest

from suitcase_nxstxm import export, export_scan, finish_export


@pytest.fixture(scope="module")
def path(case, tmp_path_factory):
    """The file of a scan."""
    return export_scan(case.runs, tmp_path_factory.mktemp("scan"), "scan")


def test_the_numbers_are_those_of_the_documents(case, path, read):
    found = read(path)
    assert found["@default"] == "entry0"
    for entry, expected in case.data.items():
        data = f"{entry}/{found[f'{entry}@default']}"
        assert data.endswith("counter0")
        assert found[f"{data}@signal"] == "data"
        assert [a.decode() for a in found[f"{data}@axes"]] == case.axes
        assert found[f"{data}/data"].shape == expected.shape
        np.testing.assert_array_equal(found[f"{data}/data"], expected)
        assert found[f"{data}/stxm_scan_type"].tolist() == [case.label.encode()]
        assert found[f"{entry}/definition"].tolist() == [b"NXstxm"]
        # Beside the grid, the points in the order in which they were taken.
        taken = found[f"{entry}/instrument/counter0/data"]
        if case.name == "ptychography":
            np.testing.assert_array_equal(taken, case.frames)
            assert taken.dtype == np.uint16
        else:
            np.testing.assert_array_equal(taken, expected.ravel())
        for name in ("sample_x", "sample_y"):
            if f"{entry}/instrument/{name}/data" in found:
                assert found[f"{entry}/instrument/{name}/data"].shape == (expected.size,)
        energies = found[f"{data}/energy"]
        shape = [-1 if "energy" in case.axes else 1] + [1] * (expected.ndim - 1)
        points = np.broadcast_to(energies.reshape(shape), expected.shape).ravel()
        np.testing.assert_array_equal(found[f"{entry}/instrument/monochromator/energy"], points, strict=True)
    for name, expected in case.fields.items():
        np.testing.assert_array_equal(found[f"entry0/counter0/{name}"], expected)
    for name, expected in case.readbacks.items():
        np.testing.assert_array_equal(found[f"entry0/instrument/{name}/data"], expected)


def test_validators_find_nothing(case, path, validated):
    assert validated(path, len(case.data)) == [(0, 0)] * (len(case.data) + 1)


def test_silx_finds_the_default_plot(case, path):
    nxdata = pytest.importorskip("silx.io.nxdata", reason="needs silx")
    with h5py.File(path) as file:
        plot = nxdata.get_default(file)
        assert plot is not None
        assert plot.signal.name == "/entry0/counter0/data"
        assert [name.partition(" ")[0] for name in plot.axes_names] == case.axes


def test_mantis_reads_images_stacks_and_lines(case, path):
    plugins = pytest.importorskip("mantis_xray.file_plugins", reason="needs mantis_xray, which is no dependency")
    from mantis_xray.analysis import data_stack, data_struct

    path = str(path)
    plugin = next(p for p in plugins.plugins if p.title == "NXstxm")
    assert plugin.identify(path)
    assert plugin.GetFileStructure(path)["entry0"].scan_type == case.label
    if case.axes[-1] != "sample_x" and case.label != "sample line spectrum":
        return  # what it doesn't read from anyone
    stack = data_stack.data(data_struct.h5())
    plugin.read(path, stack, (0, 0, 0))
    expected = np.atleast_3d(case.data["entry0"].T)
    if case.label == "sample line spectrum":
        expected = case.data["entry0"].T[:, np.newaxis, :]
    np.testing.assert_array_equal(stack.absdata, expected)


def test_export_of_each_run_and_finish_is_the_same(case, path, tmp_path, read):
    first = case.runs[0][0][1]["uid"]
    for docs in case.runs:
        artifacts = export(docs, tmp_path, file_prefix="scan", first_uid=first)
        assert artifacts == {"all": [tmp_path / f"{first}-scan.hdf5.tmp"]}
        assert artifacts["all"][0].exists()
    finished = finish_export(tmp_path, "scan", first)
    assert finished == tmp_path / "scan.hdf5"
    assert [p.name for p in tmp_path.iterdir()] == ["scan.hdf5"]
    found, other = read(finished), read(path)
    assert found.keys() == other.keys()
    for name in found:
        if name not in ("@file_time", "@file_name"):
            if name.endswith("/runs"):  # a row with a NaN equals none
                assert str(found[name]) == str(other[name])
            else:
                np.testing.assert_array_equal(found[name], other[name], err_msg=name)
