"""The description of the API, and requests made at random from it: none is answered by a failure of the server."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from view_tree import EVERY

from bluesky_ext import LiveAnalysis
from bluesky_ext.live import IntParameter

schemathesis = pytest.importorskip("schemathesis")
checks = schemathesis.checks
CHECKS = [checks.not_a_server_error, checks.status_code_conformance, checks.content_type_conformance]


class Worker:
    @staticmethod
    def describe_parameters():
        return [IntParameter("till_x", 2, limits=(0, 10))]

    def process_event(self, event):
        return None


class Reducer:
    def process_result(self, result):
        pass


@pytest.mark.timeout(180)
def test_requests_at_random_are_answered_as_is_described(served, shows):
    client = served(shows(lambda n: EVERY), LiveAnalysis(Worker, Reducer))
    described = client.get("/api/openapi.json")
    schema = schemathesis.openapi.from_dict(described)
    root = client.get("/")["root"]
    ids = [root, "d-x"]
    for link in client.get(f"/groups/{root}/links")["links"]:
        ids.append(link["id"])
        ids += [one["id"] for one in client.get(f"/groups/{link['id']}/links")["links"]]
    operations = [one.ok() for one in schema.get_all_operations()]
    # One of them has no end.
    asked = [one for one in operations if one.path != "/api/v1/changes"]
    assert len(asked) > 20
    for operation in asked:

        @given(case=operation.as_strategy(), id_=st.sampled_from(ids), is_known=st.booleans())
        @settings(max_examples=15, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        def ask(case, id_, is_known):
            if is_known and "id" in case.path_parameters:
                case.path_parameters["id"] = id_
            answer = case.call(base_url=client.url.rstrip("/"))
            case.validate_response(answer, checks=CHECKS)

        ask()
