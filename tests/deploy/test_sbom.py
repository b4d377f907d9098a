"""The bill of materials: what a container's file system says of itself, in valid CycloneDX."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

SCRIPT = Path(__file__).resolve().parent.parent.parent / "scripts/sbom.py"
STATUS = """Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36-9+deb12u14
Description: a library
 of several lines

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1.0
"""
SITE = "opt/gnn/lib/python3.11/site-packages"
FILES = {
    "usr/lib/os-release": 'ID=debian\nVERSION_ID="12"\n',
    "var/lib/dpkg/status": STATUS,
    f"{SITE}/torch-2.13.0+cpu.dist-info/METADATA": "Metadata-Version: 2.4\nName: torch\n"
    "Version: 2.13.0+cpu\nLicense-Expression: BSD-3-Clause\n\nName: not this\n",
    f"{SITE}/a_b-1.dist-info/METADATA": "Name: A.b\nVersion: 1\n"
    "Classifier: License :: OSI Approved :: MIT License\n",
    f"{SITE}/a_b/METADATA": "Name: no package\nVersion: 1\n",
}


def tar_of(files: dict[str, str]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
    return stream.getvalue()


def run(stream: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, SCRIPT], input=stream, capture_output=True, check=False)


def components(document: dict[str, Any]) -> dict[str, str]:
    return {one["purl"]: one["version"] for one in document["components"]}


def test_every_installed_package_is_listed_once():
    document = json.loads(run(tar_of(FILES)).stdout)
    assert components(document) == {
        "pkg:deb/debian/libc6@2.36-9%2Bdeb12u14?arch=amd64&distro=debian-12": "2.36-9+deb12u14",
        "pkg:pypi/a-b@1": "1",
        "pkg:pypi/torch@2.13.0%2Bcpu": "2.13.0+cpu",
    }
    licenses = [one.get("licenses") for one in document["components"]]
    assert licenses == [
        None,
        [{"license": {"name": "MIT License"}}],
        [{"expression": "BSD-3-Clause"}],
    ]


def test_it_is_valid_cyclonedx():
    text = run(tar_of(FILES)).stdout.decode()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


def test_the_order_of_files_changes_nothing():
    backwards = dict(reversed(FILES.items()))
    assert run(tar_of(FILES)).stdout == run(tar_of(backwards)).stdout


def test_what_is_no_file_system_is_refused_in_a_sentence():
    for stream in (b"", b"junk" * 1000, tar_of({"etc/hosts": "127.0.0.1"})):
        done = run(stream)
        assert done.returncode == 1
        assert done.stdout == b""
        assert done.stderr.startswith(b"no bill of materials was made: ")
