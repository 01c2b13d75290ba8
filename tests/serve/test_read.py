"""The routes that read pictures."""

from __future__ import annotations

import base64
import json
import tempfile
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import pytest
from jsonschema import validate
from PIL import Image

pytest.importorskip("fastapi", reason="needs the extra [serve]")

from fastapi import HTTPException

from mnist_trainer.pipeline.predict import predict
from mnist_trainer.serve import samples
from mnist_trainer.serve.security import Limits
from mnist_trainer.serve.uploads import form_parts

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "tests" / "pictures" / "samples"
SEVEN = SAMPLES / "7_drawing.png"

Client = Any


def form(*names: str) -> list[tuple[str, tuple[str, bytes]]]:
    return [("files", (name, (SAMPLES / name).read_bytes())) for name in names]


def error_of(response: Any, status: int) -> str:
    assert response.status_code == status, response.text
    (text,) = response.json().values()
    return str(text)


def pixels(uri: str) -> Any:
    head, _, content = uri.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(BytesIO(base64.b64decode(content))))


# --- answers ---


def test_pictures_are_read_as_by_predict(client: Client) -> None:
    names = ["7_drawing.png", "2_photo.jpg", "3_thin28.png"]
    answer = client.post("/v1/read", files=form(*names)).json()
    assert answer["model"] == "bundled" and answer["sha256"] == client.get("/v1/models").json()["models"][0]["sha256"]
    expected = [prediction.to_json() for prediction in predict([SAMPLES / name for name in names])]
    assert answer["predictions"] == json.loads(
        json.dumps([each | {"path": Path(each["path"]).name} for each in expected])
    )
    assert [each["text"] for each in answer["predictions"]] == ["7", "2", "3"]
    validate(answer["predictions"], json.loads((ROOT / "docs" / "predict.schema.json").read_text()))


@pytest.mark.parametrize("kind", ["image/png", "application/octet-stream", "application/x-www-form-urlencoded", None])
def test_a_body_is_one_picture(client: Client, kind: str | None) -> None:
    headers = {} if kind is None else {"content-type": kind}
    (prediction,) = client.post("/v1/read", content=SEVEN.read_bytes(), headers=headers).json()["predictions"]
    assert (prediction["path"], prediction["text"]) == ("-", "7")


def test_expect_says_what_is_on_the_picture(client: Client) -> None:
    row = (SAMPLES / "735426_row.jpg").read_bytes()
    counts = [
        len(client.post("/v1/read", content=row, params={"expect": expect}).json()["predictions"][0]["digits"])
        for expect in ("row", "single")
    ]
    assert counts == [6, 1]


def test_details_show_what_the_network_saw(client: Client) -> None:
    answer = client.post("/v1/read?details=true", content=SEVEN.read_bytes()).json()
    (prediction,) = answer["predictions"]
    assert answer["about"] == client.get("/v1/models").json()["models"][0]
    (expected,) = predict(SEVEN)
    (image,) = prediction["images"]
    np.testing.assert_array_equal(pixels(image), expected.digits[0].image)
    assert [step["name"] for step in prediction["steps"]] == [
        "input, upright",
        "background normalized",
        "detected ink",
    ]
    assert all(max(pixels(step["image"]).shape) > 100 for step in prediction["steps"])
    with Image.open(SEVEN) as picture:
        assert prediction["size"] == list(picture.size)


def test_a_picture_that_cannot_be_read_says_why(client: Client) -> None:
    files = [
        *form("7_drawing.png"),
        ("files", ("notes.png", b"no picture")),
        ("files", ("cut.png", SEVEN.read_bytes()[:200])),
    ]
    first, second, third = client.post("/v1/read?details=1", files=files).json()["predictions"]
    assert first["text"] == "7" and first["error"] is None
    assert second["error"] == "notes.png is no picture in a known format. Save it as PNG or JPEG."
    assert "cut.png" in third["error"] and third["images"] == third["steps"] == []


def test_a_bomb_is_refused(client: Client) -> None:
    stream = BytesIO()
    Image.new("1", (20_000, 10_000)).save(stream, "png")
    assert len(stream.getvalue()) < 100_000
    (prediction,) = client.post("/v1/read", content=stream.getvalue()).json()["predictions"]
    assert prediction["error"] == "- has more than 150 million pixels. Make it smaller, or crop it."


# --- wrong requests ---


def test_wrong_requests_say_what_is_wrong(client: Client) -> None:
    assert "send it as the body" in error_of(client.post("/v1/read"), 400)
    assert "send it as the body" in error_of(client.post("/v1/read", files={"other": b"x"}), 400)
    assert "application/json is no picture" in error_of(client.post("/v1/read", json={"picture": 7}), 415)
    assert "There is no model best" in error_of(client.post("/v1/read?model=best", content=b"x"), 404)
    assert "expect: " in error_of(client.post("/v1/read?expect=many", content=b"x"), 422)
    assert error_of(client.get("/v1/nothing"), 404)


PART = b'--b\r\nContent-Disposition: form-data; name="files"; filename="x"\r\n\r\n'


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=b", b"x"),
        ("multipart/form-data; boundary=b", PART + b"7"),
        ("multipart/form-data; boundary=b", PART + b"7\r\n" + PART + b"7"),  # cut in its second file
        ("multipart/form-data; boundary=b", PART[:-2] + b"x: " + 9000 * b"y" + b"\r\n\r\n7\r\n--b--"),
        ("multipart/form-data; boundary=b", 1000 * b"--b\r\n"),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\n7\r\n--b--\r\n"),
        ("multipart/form-data; boundary=b", b""),
        ("multipart/mixed; boundary=b", b"--b--"),
        ("multipart/form-data; boundary=" + 300 * "b", b"--b--"),
        ("multipart/form-data; charset=none; boundary=b", b"--b\r\n" + b"x" * 100_000),
    ],
)
def test_damaged_forms_are_refused(client: Client, kind: str, body: bytes) -> None:
    response = client.post("/v1/read", content=body, headers={"content-type": kind})
    assert response.status_code in (400, 413, 415) and list(response.json()) == ["error"]


def test_a_form_has_100_pictures_at_most(client: Client) -> None:
    files = [("files", (f"{number}.png", b"x")) for number in range(101)]
    assert error_of(client.post("/v1/read", files=files), 413) == "A request may have 100 pictures at most."


@pytest.mark.parametrize("name", ["ä b.png", "7.png", "語.png", "../../etc/passwd", "a\\b.png"])
def test_names_of_files_are_told_as_they_were_sent(name: str) -> None:
    content = b"content\r\n\r\n--of a file\r\n"
    for encoded in (name.encode(), name.encode("latin-1", "replace")):
        head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="' + encoded.replace(b"\\", b"\\\\")
        body = head + b'"\r\nContent-Type: image/png\r\n\r\n' + content + b"\r\n--b--\r\n"
        ((field, file, found),) = form_parts(body, "multipart/form-data; boundary=b")
        assert field == "files" and found == content
        assert file == encoded.decode("utf-8", "replace")


def test_names_of_files_may_be_percent_encoded() -> None:
    """Older versions of Python's requests send other letters than ASCII so."""
    head = b"--b\r\nContent-Disposition: form-data; name=files; filename*=UTF-8''%C3%A4%20b.png\r\n\r\n"
    assert form_parts(head + b"x\r\n--b--", "multipart/form-data; boundary=b") == [("files", "ä b.png", b"x")]


@pytest.mark.parametrize("fill", [b'; x="' + 7000 * b";", 3500 * b";a", 800 * b"; a*0=b", 3500 * b';"'])
def test_hostile_headers_of_a_form_take_little_time(fill: bytes) -> None:
    """Form parsers that look for the end of each quotation took 21 s of CPU time, in which nobody else was answered."""
    begin, kind = process_time(), b"multipart/form-data; boundary=b" + 8 * fill
    parts = form_parts(100 * (PART.strip() + fill + b"\r\n\r\nx\r\n") + b"--b--", "multipart/form-data; boundary=b")
    with suppress(HTTPException):  # the boundary may be missing
        form_parts(b"x", kind.decode())
    assert process_time() - begin < 2
    assert parts == 100 * [("files", "x", b"x")]


def test_uploads_never_touch_the_disk(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def create(*arguments: object, **options: object) -> None:
        raise AssertionError("a file was written")

    monkeypatch.setattr(tempfile, "TemporaryFile", create)
    monkeypatch.setattr(tempfile, "_mkstemp_inner", create)
    large = SEVEN.read_bytes() + 3_000_000 * b"\0"
    (prediction,) = client.post("/v1/read", files={"files": large}).json()["predictions"]
    assert prediction["text"] == "7"


def test_openapi_describes_the_routes(client: Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/v1/read", "/v1/models", "/healthz", "/v1/samples/{kind}"} <= set(paths)
    assert set(paths["/v1/read"]["post"]["requestBody"]["content"]) == {"multipart/form-data", "image/*"}
    assert error_of(client.get("/docs"), 404)  # it would load scripts from another server


def test_the_page_is_served(client: Client) -> None:
    response = client.get("/")
    assert response.status_code == 200 and response.headers["content-type"] == "text/html; charset=utf-8"


# --- samples ---


@pytest.fixture
def bundled_digits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """MNIST is not on this machine."""
    monkeypatch.setenv("MNIST_TRAINER_DATA", str(tmp_path))
    samples._test_images.cache_clear()


@pytest.mark.usefixtures("bundled_digits")
def test_samples_are_digits(client: Client) -> None:
    response = client.get("/v1/samples/digit")
    assert response.headers["content-type"] == "image/png" and response.headers["cache-control"] == "no-store"
    image = np.asarray(Image.open(BytesIO(response.content)))
    assert image.shape == (28, 28)
    images, labels = samples._test_images()
    assert len(images) == 355
    matching = (images == image).all(axis=(1, 2))
    assert response.headers["x-label"] in map(str, labels[matching])


@pytest.mark.usefixtures("bundled_digits")
def test_samples_are_photographs(client: Client) -> None:
    labels = set()
    for _ in range(4):
        response = client.get("/v1/samples/photograph")
        assert np.asarray(Image.open(BytesIO(response.content))).ndim == 3
        labels.add(response.headers["x-label"])
    assert all(label.isdecimal() and 1 <= len(label) <= 6 for label in labels) and len(labels) > 1
    assert client.get("/v1/samples/letters").status_code == 422


def test_limits_are_those_of_the_server(connect: Any) -> None:
    client = connect(limits=Limits(reads=0))
    response = client.post("/v1/read", content=b"x")
    assert "Try again later" in error_of(response, 429) and response.headers["retry-after"] == "1"
