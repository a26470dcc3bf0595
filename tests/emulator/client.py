"""A plain client for the emulator's own tests: requests over real sockets, nothing of the provider in
between.
"""

from __future__ import annotations

import base64
import io
from typing import Any

import requests
from PIL import Image

from airflow_provider_seedream.emulator import Emulator

SOON_SECONDS = 1000.0  # longer than any job and its late assets in these tests


class Client:
    """What a user of the API would send."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.headers = {"Authorization": f"Bearer {emulator.key}"}
        self.options: dict[str, Any] = {
            "headers": self.headers,
            "timeout": 10,
            "verify": emulator.ca_file or True,
        }

    def post(self, body: object, kind: str = "generate", **options: Any) -> requests.Response:
        url = f"{self.emulator.url}/v1/images/seedream/v5/lite/{kind}/"
        return requests.post(url, **{"json": body, **self.options, **options})

    def submit(self, prompt: str = "a fox", **fields: Any) -> str:
        """An accepted submission's id."""
        answer = self.post({"prompt": prompt, **fields})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["task_id"])

    def status(self, task_id: str, **options: Any) -> requests.Response:
        url = f"{self.emulator.url}/v1/generation-request/{task_id}/status/"
        return requests.get(url, **{**self.options, **options})

    def wallet(self) -> requests.Response:
        return requests.get(f"{self.emulator.url}/account/user/wallet/", **self.options)

    def finished(self, prompt: str = "a fox", **fields: Any) -> dict[str, Any]:
        """The status body of a new generation, long after its end."""
        task_id = self.submit(prompt, **fields)
        self.emulator.clock.advance(SOON_SECONDS)
        return dict(self.status(task_id).json())

    def link(self, prompt: str = "a fox", index: int = 0, **fields: Any) -> str:
        """A pre-signed link to a result of a new generation."""
        return str(self.finished(prompt, **fields)["results"][index]["asset"])

    def admin(self, method: str, path: str, body: object = None) -> requests.Response:
        return requests.request(method, f"{self.emulator.url}/__admin/{path}", json=body, timeout=10)


def get(link: str, **options: Any) -> requests.Response:
    """Fetch a pre-signed link, as one should: without a key."""
    return requests.get(link, **{"timeout": 10, "allow_redirects": False, **options})


def picture(content: bytes) -> Image.Image:
    """The decoded image; fails when a byte is missing."""
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def data_uri(
    width: int = 40, height: int = 30, image_format: str = "PNG", media_type: str | None = None
) -> str:
    """A source image for an edit."""
    target = io.BytesIO()
    Image.new("RGB", (width, height), (200, 90, 40)).save(target, image_format)
    return as_data_uri(target.getvalue(), media_type or f"image/{image_format.lower()}")


def as_data_uri(content: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"
