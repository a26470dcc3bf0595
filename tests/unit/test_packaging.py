"""What is uploaded: the package whole, typed and licensed, and nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from airflow_provider_seedream import __version__

CHECKOUT = Path(__file__).parents[2]
PACKAGE = "airflow_provider_seedream"
BESIDE_THE_PACKAGE = {"README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", "PKG-INFO", ".gitignore"}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist of this checkout."""
    target = tmp_path_factory.mktemp("dist")
    uv = Path(sys.executable).with_name("uv")
    command = [uv if uv.exists() else shutil.which("uv") or "uv", "build", "--quiet", "--out-dir", target]
    subprocess.run(command, cwd=CHECKOUT, check=True, timeout=800)
    return target


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(next(built.glob("*.whl")))


def known_to_git() -> set[str]:
    listed = subprocess.run(
        ["git", "ls-files", PACKAGE], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    return set(listed.stdout.split())


class TestTheWheel:
    def test_it_holds_the_package_and_its_metadata_alone(self, wheel: zipfile.ZipFile) -> None:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
        assert known_to_git() <= names
        assert not [
            name
            for name in names
            if not name.startswith(f"{PACKAGE}/") or "__pycache__" in name or "/test_" in name
        ]

    def test_it_is_typed_and_licensed(self, wheel: zipfile.ZipFile) -> None:
        names = wheel.namelist()
        assert f"{PACKAGE}/py.typed" in names
        assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)

    def test_its_entry_points_are_the_provider_info_and_the_plugin(self, wheel: zipfile.ZipFile) -> None:
        points = wheel.read(
            next(name for name in wheel.namelist() if name.endswith("entry_points.txt"))
        ).decode()
        assert "".join(points.split()) == (
            f"[airflow.plugins]seedream={PACKAGE}.plugins.seedream:SeedreamPlugin"
            f"[apache_airflow_provider]provider_info={PACKAGE}.provider_info:get_provider_info"
        )

    def test_its_metadata_says_what_it_needs(self, wheel: zipfile.ZipFile) -> None:
        text = wheel.read(next(name for name in wheel.namelist() if name.endswith("METADATA"))).decode()
        metadata = Parser().parsestr(text)
        assert (metadata["Name"], metadata["Version"], metadata["License-Expression"]) == (
            "airflow-provider-seedream",
            __version__,
            "Apache-2.0",
        )
        assert metadata["Requires-Python"] == ">=3.11"
        assert {"s3", "gcs", "azure", "emulator"} <= set(metadata.get_all("Provides-Extra") or ())


class TestTheSdist:
    def test_it_holds_the_package_and_what_builds_it(self, built: Path) -> None:
        with tarfile.open(next(built.glob("*.tar.gz"))) as sdist:
            names = {member.name.partition("/")[2] for member in sdist.getmembers() if member.isfile()}
        assert known_to_git() <= names
        assert {name for name in names if not name.startswith(f"{PACKAGE}/")} <= BESIDE_THE_PACKAGE


class TestTheVersion:
    def test_it_is_said_once_and_the_same(self) -> None:
        project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
        assert project.get("version", __version__) == __version__
