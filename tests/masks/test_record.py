"""The masks that a run was made with are in its record, found by it, and by them the run."""

from __future__ import annotations

import numpy as np
import pytest
from cases import KEY, MASK, SHAPE, raw_run, run_through
from tiled.queries import Contains, Eq
from writers import content

from bluesky_ext import ImageProcessor, compose
from bluesky_ext.callbacks import MaskApplier, Sparsifier
from bluesky_ext.masks import MaskClient, MaskDamaged, MaskNotFound, mask_sha256
from bluesky_ext.masks.selection import SelectedMasks
from bluesky_ext.storage import Saver, SparseWriter


def test_the_masks_of_a_record_are_these_and_no_others(masks):
    uid = masks.register_mask("det", "m", content(1))
    theirs = {"spec": "mask", "name": "theirs", "detector": "det", "version": 0}
    node = masks._root.create_container("deep").write_array(content(4), metadata=theirs)  # noqa: SLF001
    record = SelectedMasks([("det", "theirs"), ("det", "m")], registry=masks).look_up().record()
    assert record[1] == {"uid": uid, "detector": "det", "name": "m", "version": 0, "sha256": mask_sha256(content(1))}
    masks.register_mask("det", "m", content(3), "next")
    again = SelectedMasks(record, registry=masks)
    assert again.parameters == [node.path_parts[-1], uid]
    assert again.look_up().record() == record
    np.testing.assert_array_equal(again.look_up().mask, content(4) & content(1))
    node.write(content(5))
    masks.delete_mask("det", "m", 0)
    for said, error, words in [
        (record[0], MaskDamaged, f"mask {record[0]['uid']} has sha256 .* it was changed"),
        (record[1], MaskNotFound, f"no mask with uid '{uid}': .* .it was of detector 'det', name 'm', version 0"),
    ]:
        with pytest.raises(error, match=words) as caught:
            SelectedMasks([said], registry=masks).look_up()
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="give it as the array that it was"):
        SelectedMasks(SelectedMasks(content(1)).look_up().record(), registry=masks)


def test_sparse_arrays_and_derived_runs_are_found_by_the_masks_that_were_applied(everywhere):
    with everywhere.open() as registry:
        root = registry._root  # noqa: SLF001
        masks = MaskClient(root.create_container("masks"), detector_shapes={"det": SHAPE})
        runs, arrays = root.create_container("runs"), root.create_container("sparse")
        uids = [masks.register_mask("det", name, MASK) for name in ("first", "second", "third")]
        ma = MaskApplier(KEY, uids[0], registry=masks)
        sp = compose(ImageProcessor(KEY, mask=("det", "second"), registry=masks), Sparsifier(KEY, MASK))
        ma.subscribe(sp)
        with SparseWriter(arrays) as writer, Saver(runs) as saver:
            sp.subscribe(writer)
            sp.subscribe(saver)
            run_through(ma, raw_run(n=2, dark=False))
        (node,) = writer.artifacts
        assert len(runs.search(Eq("start.uid", node.metadata["run_start"]))) == 1
        assert [mask["uid"] for mask in node.metadata["masks"]] == [*uids[:2], ""]
        assert [mask["sha256"] for mask in node.metadata["masks"]] == [mask_sha256(MASK)] * 3
        for uid, n_found in zip(uids, (1, 1, 0), strict=True):
            assert list(arrays.search(Contains("masks", uid))) == [node.path_parts[-1]] * n_found
            assert len(runs.search(Contains("start.analysis", uid))) == n_found
