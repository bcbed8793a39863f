"""The functions that programs of STXM beamlines have around the suitcase, as they are typed there."""

import json

import numpy as np
import pytest

import suitcase.nxstxm as suit_nxstxm
from suitcase.nxstxm import scan_types


class Header:
    """A run of a database."""

    def __init__(self, docs):
        self.docs = docs

    def __getitem__(self, name):
        return self.docs[0][1] if name == "start" else self.docs[-1][1]

    def documents(self, stream_name=None, fill=False):
        assert fill
        yield from self.docs


class Program:
    """What collects the data, with a database of its runs."""

    def __init__(self, runs, scan_type):
        self.db = {docs[0][1]["uid"]: Header(docs) for docs in runs}
        self.scan_type = scan_type

    def do_data_export(self, run_uids, data_dir):
        fprefix = "C" + str(len(list(data_dir.glob("*.hdf5"))))
        scan_type = self.scan_type
        first_uid = run_uids[0]
        if scan_type in [scan_types.SAMPLE_IMAGE_STACK, scan_types.TOMOGRAPHY_SCAN]:
            self.do_multi_entry_export(run_uids, data_dir, fprefix)
        elif scan_type in [scan_types.SAMPLE_POINT_SPECTRA, scan_types.GENERIC_SCAN]:
            self.do_point_spec_export(run_uids, data_dir, fprefix)
        else:
            for _uid in run_uids:
                header = self.db[first_uid]
                json.loads(header["start"]["metadata"])
                docs = header.documents(fill=True)
                suit_nxstxm.export(docs, data_dir, file_prefix=fprefix, first_uid=first_uid)
        suit_nxstxm.finish_export(data_dir, fprefix, first_uid)

    def do_multi_entry_export(self, run_uids, data_dir, fprefix):
        idx = 0
        for uid in run_uids:
            if idx == 0:
                first_uid = uid
            idx += 1  # noqa: SIM113
        for uid in run_uids:
            header = self.db[uid]
            primary_docs = header.documents(fill=True)
            suit_nxstxm.export(primary_docs, data_dir, file_prefix=fprefix, first_uid=first_uid)

    def do_point_spec_export(self, run_uids, data_dir, fprefix):
        first_uid = run_uids[0]
        header = self.db[first_uid]
        primary_docs = header.documents(fill=True)
        suit_nxstxm.export(primary_docs, data_dir, file_prefix=fprefix, first_uid=first_uid)


@pytest.mark.parametrize("name", ["osa image", "line spectra", "stack", "tomography", "point spectra", "generic"])
def test_an_export_as_it_is_typed(stxm, read, tmp_path, name):
    case = stxm.make(name)
    program = Program(case.runs, case.number)
    program.do_data_export(list(program.db), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["C0.hdf5"]
    found = read(tmp_path / "C0.hdf5")
    for entry, expected in case.data.items():
        np.testing.assert_array_equal(found[f"{entry}/counter0/data"], expected)
