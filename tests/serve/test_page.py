"""The page in a real browser: Debian's chromium, driven by Playwright. Skipped where one of them is missing."""

from __future__ import annotations

import base64
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

SAMPLES = Path(__file__).parents[1] / "pictures" / "samples"
WIDTH = 640
"""The width of the drawing surface in the units of the strokes below."""

SEVEN = [[(230, 110), (300, 112), (380, 108), (355, 170), (325, 230), (305, 300)]]
ROW = [
    [(90, 130), (140, 132), (200, 128), (180, 180), (160, 230), (145, 280)],
    [(340, 130), (342, 180), (345, 230), (347, 280)],
]
SCRIBBLE = [[(200, 80), (400, 280), (220, 280), (400, 70), (300, 320), (180, 180), (420, 180)]]

DROP = """([name, type, content]) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([Uint8Array.from(atob(content), (each) => each.charCodeAt(0))], name, {type}));
    for (const kind of ["dragover", "drop"]) {
        document.querySelector("main").dispatchEvent(
            new DragEvent(kind, {dataTransfer: transfer, bubbles: true, cancelable: true}));
    }
}"""
PASTE = """([name, type, content]) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([Uint8Array.from(atob(content), (each) => each.charCodeAt(0))], name, {type}));
    document.dispatchEvent(new ClipboardEvent("paste", {clipboardData: transfer, bubbles: true}));
}"""
SHIFTS = """() => {
    window.shifts = 0;
    new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) window.shifts += entry.value;
    }).observe({type: "layout-shift", buffered: true});
}"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with the bundled model, and its exported twin as a second one."""
    second = Path(__file__).parents[2] / "mnist_trainer" / "bundled.pt"
    command = [sys.executable, "-m", "mnist_trainer", "serve", "--port", "0", "bundled", str(second)]
    folder = tmp_path_factory.mktemp("served")
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        server.send_signal(signal.SIGINT)
        server.wait(20)


@dataclass
class Visit:
    """A page that is open in the browser, and what it did."""

    page: Any
    requests: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def draw(self, strokes: list[list[tuple[int, int]]]) -> None:
        """Draw with the mouse."""
        frame = self.page.locator("#drawing").bounding_box()
        scale = frame["width"] / WIDTH
        for stroke in strokes:
            points = [(frame["x"] + x * scale, frame["y"] + y * scale) for x, y in stroke]
            self.page.mouse.move(*points[0])
            self.page.mouse.down()
            for point in points[1:]:
                self.page.mouse.move(*point, steps=4)
            self.page.mouse.up()

    def send(self, script: str, path: Path) -> None:
        """Drop or paste a file."""
        kind = "image/jpeg" if path.suffix == ".jpg" else "image/png"
        self.page.evaluate(script, [path.name, kind, base64.b64encode(path.read_bytes()).decode()])

    def expect_text(self, text: str, card: int = 0) -> None:
        """Wait until the answer is `text`."""
        place = self.page.locator(".answer").nth(card).locator(".text")
        wait = "([place, text]) => place.textContent === text"
        self.page.wait_for_function(wait, arg=[place.element_handle(), text])


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Callable[..., Visit]]:
    """Open the page with settings of a browser context. No visit may ask another machine, or log an error."""
    visits: list[Visit] = []

    def open_page(path: str = "", **settings: Any) -> Visit:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **settings})
        context.set_default_timeout(60_000)
        made = Visit(context.new_page())
        made.page.on("request", lambda request: made.requests.append(request.url))
        made.page.on("console", lambda message: made.faults.extend([message.text] * (message.type == "error")))
        made.page.on("pageerror", lambda error: made.faults.append(str(error)))
        visits.append(made)
        made.page.goto(address + path)
        made.page.wait_for_selector(".answer")
        return made

    yield open_page
    for made in visits:
        made.page.context.close()
        assert made.faults == []
        assert [url for url in made.requests if not url.startswith((address, "data:", "blob:"))] == []


def test_a_drawn_seven_is_read_and_explained(visit: Callable[..., Visit]) -> None:
    made = visit()
    made.draw(SEVEN)
    made.expect_text("7")
    page = made.page
    assert page.locator(".bars .best th").text_content() == "7"
    assert page.locator(".bars tbody tr").count() == 10
    assert page.locator("#boxes rect").count() == 1
    assert page.locator(".tile img").evaluate("image => image.naturalWidth") == 28
    assert page.locator("#steps img:visible").count() == 3
    facts = page.locator(".facts").text_content()
    assert "SHA-256" in facts and "Accuracy" in facts
    page.wait_for_function("() => document.getElementById('announcement').textContent.startsWith('7, confidence')")


def test_a_row_is_read_and_each_digit_can_be_looked_at(visit: Callable[..., Visit]) -> None:
    made = visit()
    made.draw(ROW)
    made.expect_text("71")
    tiles = made.page.locator(".tile")
    assert [tiles.nth(index).get_attribute("aria-pressed") for index in range(2)] == ["false", "true"]  # at the pen
    tiles.nth(0).click()
    assert made.page.locator(".bars .best th").text_content() == "7"


def test_a_scribble_is_refused_with_the_reason(visit: Callable[..., Visit]) -> None:
    made = visit()
    made.draw(SCRIBBLE)
    made.expect_text("Refused")
    assert "looks like no digit" in made.page.locator(".notes").text_content()


def test_undo_and_clear(visit: Callable[..., Visit]) -> None:
    made = visit()
    made.draw(ROW)
    made.expect_text("71")
    made.page.keyboard.press("Control+z")
    made.expect_text("7")
    made.page.click("#clear")
    made.expect_text("")
    made.page.click("#undo")
    made.expect_text("7")


def test_one_request_is_in_flight_while_the_pen_moves(visit: Callable[..., Visit]) -> None:
    made = visit()
    in_flight = [0, 0]

    def count(change: int) -> Callable[[Any], None]:
        def add(request: Any) -> None:
            if "/v1/read" in request.url:
                in_flight[0] += change
                in_flight[1] = max(in_flight)

        return add

    made.page.on("request", count(1))
    made.page.on("requestfinished", count(-1))
    made.page.on("requestfailed", count(-1))
    made.draw(ROW)
    made.expect_text("71")
    assert in_flight[1] == 1


def test_a_full_server_is_asked_again(visit: Callable[..., Visit]) -> None:
    made = visit()
    answers = iter([True])

    def refuse_once(route: Any) -> None:
        if next(answers, False):
            route.fulfill(status=429, headers={"Retry-After": "1"}, json={"error": "Too many pictures at once."})
        else:
            route.continue_()

    made.page.route("**/v1/read*", refuse_once)
    made.draw(SEVEN)
    made.expect_text("7")
    assert all("429" in fault for fault in made.faults)
    made.faults.clear()


@pytest.mark.parametrize("way", ["drop", "paste", "choose"])
def test_a_photograph_is_read(visit: Callable[..., Visit], way: str) -> None:
    made, path = visit(), SAMPLES / "735426_row.jpg"
    if way == "choose":
        made.page.set_input_files("#files", path)
    else:
        made.send(DROP if way == "drop" else PASTE, path)
    made.expect_text("735426")
    assert made.page.locator("#boxes rect").count() == 6
    assert made.page.locator("#picture").evaluate("image => image.naturalWidth") > 0
    made.page.click("#clear")
    made.expect_text("")
    made.draw(SEVEN)
    made.expect_text("7")


def test_several_files_are_read_and_their_names_are_text(visit: Callable[..., Visit], tmp_path: Path) -> None:
    made, hostile = visit(), tmp_path / "<img src=x onerror=document.title=1>.png"
    hostile.write_bytes((SAMPLES / "7_drawing.png").read_bytes())
    made.page.set_input_files("#files", [SAMPLES / "3_drawing.png", hostile])
    made.expect_text("3")
    buttons = made.page.locator("#pictures button")
    assert buttons.count() == 2 and "<img" in buttons.nth(1).text_content()
    buttons.nth(1).click()
    made.expect_text("7")
    assert made.page.locator("#pictures img").count() == 0


def test_what_is_no_picture_is_said(visit: Callable[..., Visit], tmp_path: Path) -> None:
    made, path = visit(), tmp_path / "notes.png"
    path.write_text("7")
    made.page.set_input_files("#files", path)
    made.page.wait_for_selector(".notes .doubt")
    made.page.click("#clear")
    made.draw(SEVEN)
    made.expect_text("7")


def test_a_sample_is_compared_with_its_label(visit: Callable[..., Visit]) -> None:
    made = visit()
    made.page.click("#sample-digit")
    made.page.wait_for_function("() => document.querySelector('.notes').textContent.includes('label: ')")


def test_two_models_side_by_side(visit: Callable[..., Visit]) -> None:
    made = visit()
    made.page.click(".compare")
    made.draw(SEVEN)
    made.expect_text("7", card=0)
    made.expect_text("7", card=1)
    names = [made.page.locator(".model").nth(index).input_value() for index in range(2)]
    assert len(set(names)) == 2
    made.page.locator(".compare:visible").click()
    assert made.page.locator(".answer").count() == 1


def test_a_finger_draws_without_scrolling(visit: Callable[..., Visit]) -> None:
    made = visit(viewport={"width": 390, "height": 700}, has_touch=True, is_mobile=True)
    session = made.page.context.new_cdp_session(made.page)

    def swipe(selector: str) -> None:
        frame = made.page.locator(selector).bounding_box()
        x = frame["x"] + frame["width"] / 2
        points = [{"x": x, "y": frame["y"] + frame["height"] * (0.85 - 0.07 * step)} for step in range(11)]
        for kind, point in [("touchStart", points[0]), *(("touchMove", point) for point in points[1:])]:
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
        session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    assert made.page.evaluate("document.documentElement.scrollWidth") <= 390
    swipe("#drawing")
    made.expect_text("1")
    assert made.page.evaluate("scrollY") == 0
    swipe(".bars")
    made.page.wait_for_function("() => scrollY > 0")


def test_the_theme_follows_the_system_until_it_is_chosen(visit: Callable[..., Visit]) -> None:
    made = visit(color_scheme="dark")
    theme = "document.documentElement.dataset.theme"
    assert made.page.evaluate(theme) == "dark"
    made.page.click("#theme")
    assert made.page.evaluate(theme) == "light"
    made.page.reload()
    assert made.page.evaluate(theme) == "light"


def test_controls_are_reached_with_the_keyboard(visit: Callable[..., Visit]) -> None:
    made = visit()
    reached = set()
    for _ in range(20):
        made.page.keyboard.press("Tab")
        reached.add(made.page.evaluate("document.activeElement.id"))
    assert {"theme", "pen-width", "choose", "sample-digit", "sample-photograph", "expect"} <= reached
    made.page.focus("#sample-digit")
    made.page.keyboard.press("Enter")
    made.page.wait_for_function("() => document.querySelector('.notes').textContent.includes('label: ')")


def test_the_answer_moves_nothing(visit: Callable[..., Visit]) -> None:
    made = visit()
    made.page.evaluate(SHIFTS)
    made.draw(SEVEN)
    made.expect_text("7")
    made.page.click("#clear")
    made.expect_text("")
    assert made.page.evaluate("window.shifts") < 0.01


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
def test_no_serious_accessibility_fault(
    visit: Callable[..., Visit], theme: str, phone: bool, accessibility_faults: Callable[[Any], list[str]] | None
) -> None:
    if accessibility_faults is None:
        pytest.skip("needs axe-core: npm pack axe-core, and its axe.min.js in AXE_CORE")
    size = {"width": 390, "height": 844} if phone else {"width": 1280, "height": 800}
    made = visit(color_scheme=theme, viewport=size, has_touch=phone, is_mobile=phone)
    assert accessibility_faults(made.page) == []
    made.send(DROP, SAMPLES / "735426_row.jpg")
    made.expect_text("735426")
    made.page.locator(".compare:visible").click()
    made.expect_text("735426", card=1)
    assert accessibility_faults(made.page) == []
    made.page.click("#clear")
    made.draw(SCRIBBLE)
    made.expect_text("Refused")
    assert accessibility_faults(made.page) == []
