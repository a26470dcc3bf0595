"""What a folder of landed images must look like: every file whole, nothing half-written, the manifest true
to the bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import ssl
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import requests
from PIL import Image

from airflow_provider_seedream.emulator import Emulator


def read_files(folder: Path) -> dict[str, bytes]:
    """Every file of a folder by its relative name, the ledger's left out; hidden and temporary ones
    included.
    """
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: data for name, data in sorted(found.items()) if not name.startswith("_seedream/")}


def assert_whole(files: dict[str, bytes]) -> None:
    """Every file is an image that decodes to its last pixel, or a manifest; there is no other file."""
    for name, data in files.items():
        if name.endswith(".json"):
            json.loads(data)
            continue
        with Image.open(io.BytesIO(data)) as image:
            image.load()
        assert name.endswith({"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp"}[str(image.format)]), name


def the_manifest(files: dict[str, bytes]) -> dict[str, Any]:
    """The only manifest there is, found to agree with the files beside it."""
    assert_whole(files)
    (name,) = [name for name in files if name.endswith(".json")]
    manifest: dict[str, Any] = json.loads(files[name])
    assert manifest["images_landed"] == len(manifest["images"])
    for image in manifest["images"]:
        data = files[image["file"]]
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (image["sha256"], image["size_bytes"])
        assert image["thumbnail"] is None or image["thumbnail"] in files
    return manifest


def served_bytes(emulator: Emulator, seedream_task_id: str) -> list[bytes]:
    """The images as the server serves them to anybody with a link, in the API's order."""
    status = requests.get(
        f"{emulator.url}/v1/generation-request/{seedream_task_id}/status/",
        headers={"Authorization": f"Bearer {emulator.key}"},
        timeout=10,
        verify=emulator.ca_file or True,
    ).json()
    links = [result["asset"] or result["asset_url"] for result in status["results"]]
    context = ssl.create_default_context(cafile=emulator.ca_file)
    # requests would rewrite them
    return [urlopen(link, timeout=10, context=context).read() for link in links]
