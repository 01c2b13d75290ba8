"""The tabs Train and Runs in a real browser. Skipped where Chromium or Playwright is missing."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mnist_trainer.storage.run_folder import RunFolder

pytestmark = pytest.mark.slow

FindFaults = Callable[[Any], list[str]] | None


class Served:
    """A server of its own, and its page in a browser."""

    def __init__(self, folder: Path, address: str, page: Any, find_faults: FindFaults) -> None:
        self.folder, self.address, self.page, self.find_faults = folder, address, page, find_faults
        self.faults: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.faults.extend([message.text] * (message.type == "error")))
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    def open(self, tab: str) -> None:
        self.page.goto(f"{self.address}#{tab}")

    def set_key(self, key: str, value: str) -> None:
        self.page.fill(f"[id='field-{key}']", value)

    def draw(self, points: list[tuple[float, float]]) -> None:
        """Draw a line on the small drawing surface; points are fractions of its sides."""
        frame = self.page.locator("canvas.pad").bounding_box()
        places = [(frame["x"] + x * frame["width"], frame["y"] + y * frame["height"]) for x, y in points]
        self.page.mouse.move(*places[0])
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*place, steps=5)
        self.page.mouse.up()

    def wait_for_text(self, selector: str, text: str) -> None:
        check = "([place, text]) => document.querySelector(place)?.textContent === text"
        self.page.wait_for_function(check, arg=[selector, text])

    def check_accessibility(self) -> None:
        """No fault of axe-core's serious kinds, where it is installed."""
        assert self.find_faults is None or self.find_faults(self.page) == []

    def run(self) -> RunFolder:
        """The only run."""
        (path,) = (self.folder / "runs").iterdir()
        return RunFolder(path)


@pytest.fixture
def served(tmp_path: Path, browser: Any, accessibility_faults: FindFaults) -> Iterator[Served]:
    """A server, and a browser that may ask no other machine, and logs no error."""
    command = [sys.executable, "-m", "mnist_trainer", "serve", "--port", "0"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        context = browser.new_context()
        context.set_default_timeout(60_000)
        made = Served(tmp_path, address, context.new_page(), accessibility_faults)
        yield made
        context.close()
        server.send_signal(signal.SIGINT)
        assert server.wait(20) == 0
    assert made.faults == []
    assert [url for url in made.requests if not url.startswith((address, "data:", "blob:"))] == []


def points(page: Any, chart: int) -> int:
    return int(page.locator(".chart").nth(chart).locator("circle.line-0").count())


def test_a_training_is_started_and_watched_to_its_end(served: Served) -> None:
    page = served.page
    served.open("train")
    served.set_key("training.epochs", "0")
    page.wait_for_function("() => document.getElementById('field-training.epochs-error').textContent")
    assert page.locator("[id='field-training.epochs-error']").text_content() == "must be greater than 0, got 0"
    assert page.locator("button.primary").is_disabled()
    served.set_key("training.epochs", "15")
    served.set_key("data.limit", "40")
    page.select_option("#field-model", "mlp")
    served.set_key("model.hidden", "16")
    page.check("[id='field-report.weights_by_epoch']")
    command = "mnist-train quickstart data.limit=40 model=mlp 'model.hidden=[16]' training.epochs=15 "
    served.wait_for_text("code.command", command + "report.weights_by_epoch=true")
    served.check_accessibility()
    page.click("button.primary:enabled")
    page.wait_for_selector(".state.running")
    served.draw([(0.3, 0.2), (0.7, 0.2), (0.45, 0.8)])
    page.wait_for_function("() => document.querySelectorAll('.chart circle.line-0').length >= 4")  # two in each chart
    page.wait_for_selector(".state.finished")
    page.wait_for_function("() => document.querySelectorAll('.chart circle.line-0').length === 30")
    assert [points(page, 0), points(page, 1)] == [15, 15]
    page.wait_for_selector(".pad-area .best")
    assert page.locator(".pad-area .text").text_content() in "0123456789"
    page.wait_for_selector("img[alt='First-layer weights after epoch 15']")
    label = page.locator(".chart svg").nth(1).get_attribute("aria-label")
    assert label.startswith("Accuracy over epochs 1 to 15: training from ")
    served.check_accessibility()
    record = served.run().read_record()
    assert (record["status"], record["epochs"], record["model"]) == ("finished", 15, "mlp 784-16-10, relu")

    page.click("text=All about this run")
    page.wait_for_selector(".figure")
    page.locator("input[type=range]").last.fill("0")
    page.wait_for_selector("img[alt='First-layer weights after epoch 1']")
    picture = page.locator("img[alt='Confusion matrix']")
    assert picture.evaluate("each => each.decode().then(() => each.naturalWidth)") > 0
    assert [points(page, 0), points(page, 1)] == [15, 15]
    served.check_accessibility()
    page.click("text=All runs")
    page.wait_for_selector("table.runs .state.finished")
    served.check_accessibility()


def test_form_and_yaml_are_one_config(served: Served) -> None:
    page = served.page
    served.open("train")
    served.set_key("training.epochs", "0")
    served.wait_for_text("[id='field-training.epochs-error']", "must be greater than 0, got 0")
    page.select_option("#field-model", "mlp")
    page.click("text=YAML")
    page.wait_for_function("() => document.querySelector('textarea').value.includes('\\nmodel: mlp\\n')")
    served.wait_for_text(".problems .doubt", "^ training.epochs: must be greater than 0, got 0")
    lines = page.locator("textarea").input_value().split("\n")
    wrong = int(page.locator(".gutter .wrong").text_content())
    assert lines[wrong - 1] == "  epochs: 0              # passes over all training images"
    page.locator("textarea").fill("\n".join(lines).replace("epochs: 0", "epochs: 7").replace("lr: 0.01", "lr: 0.5"))
    served.wait_for_text("code.command", "mnist-train quickstart model=mlp optimizer.lr=0.5 training.epochs=7")
    page.click("button:text-is('Form')")
    fields = ("training.epochs", "optimizer.lr", "model")
    assert [page.input_value(f"[id='field-{key}']") for key in fields] == ["7", "0.5", "mlp"]
    page.click("[aria-label='Take back model']")
    served.wait_for_text("code.command", "mnist-train quickstart optimizer.lr=0.5 training.epochs=7")
    served.set_key("model.hidden", "[16,")
    page.wait_for_function("() => document.getElementById('field-model.hidden-error').textContent")
    assert page.input_value("[id='field-model.hidden']") == "[16,"
    assert page.locator("button.primary").is_disabled()


def test_a_training_is_stopped_and_resumed_from_the_page(served: Served) -> None:
    page = served.page
    served.open("train")
    page.click("text=YAML")
    page.locator("textarea").fill("name: long\nmodel: {architecture: mlp, hidden: [8]}\ndata: digits\ntrainin: {}\n")
    page.wait_for_selector(".problems")
    page.wait_for_selector("text=trainin: unknown key; did you mean 'training'?")
    assert page.locator(".gutter .wrong").text_content() == "4\n"
    assert page.locator("button.primary").is_disabled()
    page.locator("textarea").fill(
        "name: long\nmodel: {architecture: mlp, hidden: [8]}\ndata: {name: digits, limit: 20}\n"
        "training: {epochs: 100000}\nthreads: 1\n"
    )
    page.click("button.primary:enabled")
    page.wait_for_selector(".chart circle.line-0")
    page.click("button:text-is('Stop')")
    page.wait_for_selector(".state.stopped")
    assert served.run().read_record()["status"] == "interrupted"
    page.click("button:text-is('Resume')")
    page.wait_for_selector(".state.running")
    served.open("runs")
    page.wait_for_selector("table.runs .state.running")  # the fixture ends the server, and so the training


def test_runs_are_compared_and_their_names_are_text(served: Served, fake_run: Callable[..., Path]) -> None:
    page = served.page
    fake_run("runs/one", {}, "optimizer.lr=0.5")
    fake_run("runs/<img src=x>", {"name": "<b>bold</b>", "data": {"name": "kmnist"}})
    served.open("runs")
    page.wait_for_selector("text=<b>bold</b>")
    for box in page.locator("table.runs input").all():
        box.check()
    page.click("button:text-is('Compare')")
    page.wait_for_selector("text=neither accuracies nor losses can be compared")
    rows = page.locator("section", has_text="Differences of the configs").locator("tr").all_text_contents()
    assert "optimizer.lr0.0010.5" in rows or "optimizer.lr0.50.001" in rows
    assert page.locator("main b:text-is('bold'), main img[src=x]").count() == 0
    with page.expect_download() as download:
        page.click("text=Report")
    download.value.save_as(served.folder / "report.html")
    check_report(served, served.folder / "report.html")


def check_report(served: Served, path: Path) -> None:
    """On a phone and on paper the report shows its pictures, and asks nobody for more."""
    page, requests = served.page.context.new_page(), []
    page.on("request", lambda request: requests.append(request.url))
    page.set_viewport_size({"width": 390, "height": 844})
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.goto(path.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        assert page.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth > 100)")
        assert served.find_faults is None or served.find_faults(page) == []
    assert len(re.findall(rb"/Type\s*/Page\b", page.pdf(prefer_css_page_size=True))) in (3, 4, 5)
    assert {url for url in requests if not url.startswith("data:image/")} == {path.as_uri()}


def test_on_a_phone_nothing_is_wider_than_the_screen(served: Served) -> None:
    page = served.page
    page.set_viewport_size({"width": 390, "height": 800})
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for tab, ready in (("train", ".field"), ("runs", "h1:text-is('Runs')")):
            served.open(tab)
            page.wait_for_selector(ready)
            assert page.evaluate("document.documentElement.scrollWidth") == 390
            served.check_accessibility()
