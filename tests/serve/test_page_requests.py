"""What the page does with late answers, lost connections and views that were left: Chromium and a faked server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import mnist_trainer

pytestmark = pytest.mark.slow

STATIC = Path(mnist_trainer.__file__).parent / "serve" / "static"
ADDRESS = "http://127.0.0.1:1/"

SPIES = """
window.sources = [];
window.EventSource = class extends EventSource {
    constructor(address) { super(address); sources.push(this); }
};
window.themeListeners = 0;
for (const [name, change] of [["addEventListener", 1], ["removeEventListener", -1]]) {
    const own = document[name];
    document[name] = (kind, ...rest) => {
        themeListeners += kind === "themechange" ? change : 0;
        own.call(document, kind, ...rest);
    };
}
"""
HIDE = """(isHidden) => {
    Object.defineProperty(document, "hidden", {value: isHidden, configurable: true});
    document.dispatchEvent(new Event("visibilitychange"));
}"""
OPEN_STREAMS = "sources.filter((source) => source.readyState !== EventSource.CLOSED).length"

ROW = {"folder": "one", "name": "one", "kind": "run", "epochs": 1, "problems": [], "started_at": None, "seconds": 1.0}
ROW |= {"state": "running", "model": "mlp", "task": "digits", "val_accuracy": None, "test_accuracy": None}
RUN = {"name": "one", "state": "running", "row": {**ROW, "planned_epochs": 9, "config": {}}, "run": {}, "config": "x"}
RUN |= {"metrics": [], "members": [], "plots": [], "weights": [], "log": "", "error": ""}
MODEL = {"name": "bundled", "sha256": "0", "classes": ["0", "1"], "trained_on": "mnist", "limits": "", "test": None}
READ = {"model": "bundled", "predictions": [{"path": "-", "text": "7", "digits": [], "confidence": None}]}


def stream(state: str) -> dict[str, Any]:
    body = f'retry: 10\n\nevent: state\ndata: {{"state": "{state}", "error": ""}}\n\n'
    return {"body": body, "content_type": "text/event-stream"}


class Faked:
    """The page, and the answers of its server by path; those of `held` are given by `release`."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.held: dict[str, Any] = {}
        self.answers: dict[str, dict[str, Any] | None] = {
            "v1/models": {"json": {"models": [MODEL]}},
            "v1/runs": {"json": {"runs": [ROW], "can_train": True}},
            "v1/runs/one": {"json": RUN},
            "v1/runs/one/events": stream("running"),
            "v1/runs/one/resume": {"json": {"name": "one"}},
            "v1/read": {"json": READ},
        }
        page.add_init_script(SPIES)
        page.route("**/*", self._route)

    def _route(self, route: Any) -> None:
        path = route.request.url.removeprefix(ADDRESS).partition("?")[0] or "index.html"
        if path in self.held:
            self.held[path] = route
        elif path not in self.answers:
            route.fulfill(path=STATIC / path)
        elif (answer := self.answers[path]) is None:
            route.abort("connectionrefused")
        else:
            route.fulfill(**answer)

    def open(self, tab: str) -> None:
        self.page.goto(f"{ADDRESS}#{tab}")

    def hold(self, path: str, act: Callable[[], None]) -> None:
        """Let the page send a request, which is not answered yet."""
        self.held[path] = None
        act()
        while self.held[path] is None:
            self.page.wait_for_timeout(10)

    def release(self, held: str, **answer: Any) -> None:
        """Answer a request that was held."""
        self.held.pop(held).fulfill(**answer)
        self.page.wait_for_timeout(100)

    def wait_for(self, condition: str) -> None:
        self.page.wait_for_function(f"() => {condition}")

    def wait_for_error(self, text: str) -> None:
        self.wait_for(f"document.getElementById('error').textContent.includes({json.dumps(text)})")


@pytest.fixture
def faked(browser: Any) -> Iterator[Faked]:
    context = browser.new_context()
    context.set_default_timeout(60_000)
    yield Faked(context.new_page())
    context.close()


@pytest.mark.parametrize("tab", ["train", "runs"])
def test_a_page_that_nobody_sees_follows_no_run(faked: Faked, tab: str) -> None:
    """A browser has six connections to a server for all its windows: six of them with streams left none."""
    faked.open(f"{tab}/one")
    faked.wait_for(f"{OPEN_STREAMS} === 1")
    faked.page.evaluate(HIDE, True)
    assert faked.page.evaluate(OPEN_STREAMS) == 0
    faked.page.evaluate(HIDE, False)
    assert faked.page.evaluate(OPEN_STREAMS) == 1


@pytest.mark.parametrize("tab", ["train", "runs"])
def test_a_run_that_is_resumed_late_is_not_followed(faked: Faked, tab: str) -> None:
    faked.answers["v1/runs/one"] = {"json": {**RUN, "state": "stopped"}}
    faked.answers["v1/runs/one/events"] = stream("stopped")
    faked.open(f"{tab}/one")
    faked.hold("v1/runs/one/resume", lambda: faked.page.click("text=Resume"))
    faked.page.evaluate("location.hash = 'read'")
    faked.page.wait_for_selector(".answer")
    faked.answers["v1/runs/one/events"] = stream("running")
    faked.release("v1/runs/one/resume", json={"name": "one"})
    assert faked.page.evaluate(OPEN_STREAMS) == 0


def test_a_lost_connection_is_told_until_it_is_back(faked: Faked) -> None:
    faked.open("train/one")
    faked.page.wait_for_selector(".state.running")
    faked.answers["v1/runs/one/events"] = None
    faked.wait_for_error("The run can't be followed")
    faked.answers["v1/runs/one/events"] = stream("finished")
    faked.page.wait_for_selector(".state.finished")
    assert faked.page.locator("#error").is_hidden()


def test_a_late_sample_does_not_replace_a_picture(faked: Faked) -> None:
    faked.open("read")
    faked.page.wait_for_selector(".answer")
    faked.hold("v1/samples/digit", lambda: faked.page.click("#sample-digit"))
    picture = {"name": "own.svg", "mimeType": "image/svg+xml", "buffer": (STATIC / "icon.svg").read_bytes()}
    faked.page.set_input_files("#files", [picture])
    faked.page.wait_for_selector("#picture:visible")
    shown = faked.page.get_attribute("#picture", "src")
    faked.release("v1/samples/digit", path=STATIC / "icon.svg", headers={"X-Label": "7"})
    assert faked.page.get_attribute("#picture", "src") == shown
    assert faked.page.get_attribute("#sample-digit", "aria-busy") is None


def test_a_tab_that_cannot_be_loaded_can_be_left(faked: Faked) -> None:
    faked.answers["train.js"] = None
    faked.open("read")
    faked.page.wait_for_selector(".answer")
    faked.page.click("#tab-train")
    faked.wait_for_error("train.js")
    faked.page.click("#tab-read")
    faked.page.wait_for_selector(".answer:visible")
    assert faked.page.locator("#error").is_hidden()


def test_an_error_ends_with_its_view(faked: Faked) -> None:
    faked.answers["v1/runs/gone"] = {"status": 404, "json": {"error": "There is no run of this name."}}
    faked.open("runs/gone")
    faked.wait_for_error("There is no run of this name.")
    faked.page.evaluate("location.hash = 'runs'")
    faked.page.wait_for_selector("table.runs")
    assert faked.page.locator("#error").is_hidden()


def test_drawing_surfaces_that_were_left_listen_to_nothing(faked: Faked) -> None:
    faked.open("train/one")
    for tab in ("runs", "train/one", "runs", "train/one"):
        faked.page.evaluate(f"location.hash = '{tab}'")
        faked.page.wait_for_selector("table.runs" if tab == "runs" else "canvas.pad")
    faked.page.click("#theme")
    assert faked.page.evaluate("themeListeners") == 1
