"""What is set on the page of a live server, in a browser."""

from __future__ import annotations

import bluesky.plans as bp
import pytest
from ophyd.sim import det

from bluesky_ext import LiveAnalysis
from bluesky_ext.engine.documents.live_runs import live_streams
from bluesky_ext.live import BinaryParameter, BoolParameter, FloatParameter, IntParameter, StrParameter
from bluesky_ext.view import app

pytestmark = pytest.mark.browser


class Worker:
    @staticmethod
    def describe_parameters():
        return [
            IntParameter("till_x", 2, "the last column", "px", limits=(0, 10)),
            FloatParameter("scale", 1.0),
            StrParameter("how", choices=("sum", "mean")),
            BoolParameter("dark", True),
            BinaryParameter("poni", b"\x00\xff"),
            StrParameter("<b>ab<b>", "<i>c</i>"),
        ]

    def process_event(self, event, parameters):
        return event.data["det"] * parameters["scale"].value


class Reducer:
    def __init__(self):
        self.publish = {"latest": 0.0}

    def process_result(self, result):
        self.publish["latest"] = result.payload


def test_parameters_are_set_and_seen_in_the_next_results(documents_of, served, browser, tmp_path):
    (tmp_path / "my.poni").write_bytes(bytes(range(256)) * 1000)
    docs = documents_of(bp.count([det], 4))
    with LiveAnalysis(Worker, Reducer) as analysis:
        page = browser(f"{served(analysis).url}?path=latest")
        for name, doc in docs[:4]:
            analysis(name, doc)
        shown = page.get_by_test_id("viewer")
        page.expect(shown).to_contain_text("1")
        scale = page.get_by_test_id("parameter scale")
        scale.get_by_role("textbox").fill("123.5")
        scale.get_by_role("button", name="Set").click()
        page.expect(scale).to_contain_text("set")
        for name, doc in docs[4:]:
            analysis(name, doc)
        page.expect(shown).to_contain_text("123.5")

        till = page.get_by_test_id("parameter till_x")
        page.expect(till).to_contain_text("the last column · 0 to 10 px · default 2")
        for bad, reason in (("11", "till_x = 11 px is out of its limits: 0 <= till_x <= 10"), ("x", "no whole number")):
            till.get_by_role("textbox").fill(bad)
            page.keyboard.press("Enter")
            page.expect(till.get_by_role("alert")).to_contain_text(reason)
        assert analysis.settings["till_x"].value == 2
        till.get_by_role("button", name="Cancel").click()
        page.expect(till.get_by_role("textbox")).to_have_value("2")
        analysis.set_parameters({"till_x": 7})  # by somebody else
        page.expect(till.get_by_role("textbox")).to_have_value("7")

        page.get_by_test_id("parameter how").get_by_role("combobox").select_option("mean")
        page.get_by_test_id("parameter dark").get_by_role("checkbox").click()
        page.get_by_test_id("parameter poni").locator("input").set_input_files(tmp_path / "my.poni")
        page.expect(page.get_by_test_id("parameter poni")).to_contain_text("256000 bytes")
        odd = page.get_by_test_id("parameter <b>ab<b>")
        odd.get_by_role("textbox").fill("<u>")
        page.keyboard.press("Enter")
        page.expect(odd).to_contain_text("set")
        values = {name: setting.value for name, setting in analysis.settings.items()}
        assert (values["how"], values["dark"], values["<b>ab<b>"]) == ("mean", False, "<u>")
        assert len(values["poni"]) == 256_000


def test_changes_from_elsewhere_take_the_token(served, browser):
    with LiveAnalysis(Worker, Reducer) as analysis:
        url = served(analysis, address="0.0.0.0", token="sesame").url
        page = browser(f"http://127.0.0.1:{url.rsplit(':', 1)[1]}")
        box = page.get_by_test_id("parameter dark").get_by_role("checkbox")
        box.click()
        page.expect(page.get_by_test_id("parameter dark").get_by_role("alert")).to_contain_text("need the token")
        page.get_by_text("Access", exact=True).click()
        page.get_by_label("token").fill("sesame")
        page.keyboard.press("Enter")
        box.click()
        page.expect(box).not_to_be_checked()
        assert analysis.settings["dark"].value is False


def test_the_plain_page_sets_parameters_too(served, browser, monkeypatch, tmp_path):
    (tmp_path / "my.poni").write_bytes(b"123")
    with LiveAnalysis(Worker, Reducer) as analysis:
        url = served(analysis, address="0.0.0.0", token="sesame").url
        monkeypatch.setattr(app, "BUILT", tmp_path)
        page = browser(f"http://127.0.0.1:{url.rsplit(':', 1)[1]}")
        till, odd = (page.locator("form").filter(has_text=text) for text in ("till_x", "<b>ab<b>"))
        page.expect(till).to_have_text("till_x the last column · 0 to 10 · px")
        page.expect(page.locator("form").filter(has_text="scale")).to_have_text("scale")
        till.get_by_role("textbox").fill("3")
        page.keyboard.press("Enter")
        page.expect(till).to_contain_text("need the token")
        page.get_by_label("token").fill("sesame")
        for bad, reason in (("11", "till_x = 11 px is out of its limits"), ("x", "no whole number"), ("3", "")):
            till.get_by_role("textbox").fill(bad)
            page.keyboard.press("Enter")
            page.expect(till.locator(".bad")).to_contain_text(reason)
        page.expect(till.locator(".bad")).to_be_empty()
        page.locator("form").filter(has_text="poni").locator("input").set_input_files(tmp_path / "my.poni")
        odd.get_by_role("textbox").fill("<u>")
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        analysis.set_parameters({"scale": 7.5})  # by somebody else
        page.expect(page.locator("form").filter(has_text="scale").get_by_role("textbox")).to_have_value("7.5")
        values = {name: setting.value for name, setting in analysis.settings.items()}
        assert (values["till_x"], values["poni"], values["<b>ab<b>"]) == (3, b"123", "<u>")


def test_a_detector_of_a_live_run_is_switched_off(served, shows, browser, monkeypatch):
    monkeypatch.setattr(live_streams, "_is_on", {})
    stage = shows(lambda n: {"n": n}, purpose="live")
    stage.feed(1)
    page = browser(served(stage).url)
    switch = page.get_by_role("switch", name="primary")
    page.expect(switch).to_be_checked()
    switch.click()
    page.expect(switch).not_to_be_checked()
    assert not live_streams.is_on("primary")
