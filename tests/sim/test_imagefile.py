from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from area_detector_handlers.handlers import AreaDetectorHDF5Handler, AreaDetectorTiffHandler

from bluesky_ext.sim.imagefile import HDF5Images, TIFFImages

HANDLERS = {"AD_TIFF": AreaDetectorTiffHandler, "AD_HDF5": AreaDetectorHDF5Handler}
SHAPE = (2, 5, 7)


@pytest.mark.parametrize("kind", [TIFFImages, HDF5Images])
def test_the_handler_of_the_spec_reads_what_was_written(tmp_path: Path, kind: type[TIFFImages] | type[HDF5Images]):
    written = np.random.default_rng(0).integers(0, 2**16, (3, *SHAPE), np.uint16)
    file = kind(tmp_path, "det", SHAPE)
    datums = [file.write(images) for images in written]
    file.close()
    file.close()
    resource = file.resource
    assert resource["root"] == str(tmp_path)
    assert (tmp_path / resource["resource_path"]).exists()
    handler = HANDLERS[resource["spec"]](tmp_path / resource["resource_path"], **resource["resource_kwargs"])
    for datum, images in zip(datums, written, strict=True):
        assert datum["resource"] == resource["uid"]
        read = np.asarray(handler(**datum["datum_kwargs"]))
        np.testing.assert_array_equal(read, images, strict=True)


def test_a_closed_hdf5_file_can_be_changed_by_others(tmp_path: Path):
    file = HDF5Images(tmp_path, "det", SHAPE)
    (path,) = tmp_path.iterdir()
    with pytest.raises(OSError, match="unable to"):
        h5py.File(path, "w")
    file.close()
    h5py.File(path, "w").close()
