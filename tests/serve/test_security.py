"""Which requests are answered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

SEVEN = (Path(__file__).parents[1] / "pictures" / "samples" / "7_drawing.png").read_bytes()


def error_of(response: Any) -> str:
    (text,) = response.json().values()
    return str(text)


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "localhost", "[::1]:8000", "127.0.0.5"])
def test_names_of_this_machine_are_answered(client: Any, host: str) -> None:
    assert client.get("/healthz", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1", "", "[::1].evil.example", "[", ":"]
)
def test_a_rebound_name_is_refused(client: Any, host: str) -> None:
    response = client.get("/", headers={"host": host})
    assert response.status_code == 403
    assert "Host header" in error_of(response)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "http://127.0.0.1:8000"}, 200),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"origin": "http://127.0.0.1:8001"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": ""}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
    ],
)
def test_pages_of_other_sites_change_nothing(client: Any, headers: dict[str, str], status: int) -> None:
    assert client.post("/v1/read", content=SEVEN, headers=headers).status_code == status


def test_scripts_and_styles_come_from_the_server_alone(client: Any) -> None:
    for path in ("/", "/v1/models", "/nothing"):
        headers = client.get(path).headers
        policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'" and policy["script-src"] == policy["style-src"] == "'self'"
        assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
