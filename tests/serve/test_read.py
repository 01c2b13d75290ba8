"""The routes that read pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mnist_trainer.pipeline.predict import predict

SAMPLES = Path(__file__).parents[1] / "pictures" / "samples"


def test_a_picture_is_read_as_by_predict(client: Any) -> None:
    path = SAMPLES / "7_drawing.png"
    response = client.post("/v1/read", content=path.read_bytes())
    assert response.status_code == 200
    answer = response.json()
    (expected,) = predict(path)
    assert answer["predictions"][0]["text"] == expected.text == "7"
    assert answer["predictions"][0]["digits"][0]["probabilities"] == list(expected.digits[0].probabilities)


def test_the_page_is_served(client: Any) -> None:
    response = client.get("/")
    assert response.status_code == 200 and response.headers["content-type"] == "text/html; charset=utf-8"
