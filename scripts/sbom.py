"""What an image holds, as a CycloneDX 1.6 bill of materials.

    docker export "$(docker create gnn-service:cpu)" | python scripts/sbom.py > sbom.json

Reads the file system of a container as a tar stream: Debian's list of packages and the metadata of
every Python package. Equal images give equal bytes: there is no time and no random number in it.
"""

from __future__ import annotations

import json
import re
import sys
import tarfile
from collections.abc import Iterator
from email.parser import HeaderParser
from typing import IO, Any
from urllib.parse import quote

METADATA = re.compile(r".*/(site|dist)-packages/[^/]+\.dist-info/METADATA$")
MAX_FILE_BYTES = 64 << 20


def bill(stream: IO[bytes]) -> dict[str, Any]:
    """The bill of materials of a file system.

    Args:
        stream: a tar of it.

    Raises:
        ValueError: there is no package in it.
    """
    components: dict[str, dict[str, Any]] = {}
    system, packages = {"ID": "linux"}, ""
    with tarfile.open(fileobj=stream, mode="r|") as tar:
        for member in tar:
            name = member.name.removeprefix("./")
            if not member.isfile() or member.size > MAX_FILE_BYTES:
                continue
            if name in ("usr/lib/os-release", "etc/os-release"):
                system = os_release(text_of(tar, member))
            elif name == "var/lib/dpkg/status":
                packages = text_of(tar, member)
            elif METADATA.match(name):
                made = python_component(text_of(tar, member))
                components[made["bom-ref"]] = made
    for made in debian_components(packages, system):
        components[made["bom-ref"]] = made
    if not components:
        raise ValueError("the stream holds no list of packages; give what `docker export` prints")
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "container", "bom-ref": "image", "name": "gnn-service"}},
        "components": [components[key] for key in sorted(components)],
        "dependencies": [{"ref": "image", "dependsOn": sorted(components)}],
    }


def text_of(tar: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    file = tar.extractfile(member)
    return "" if file is None else file.read().decode(errors="replace")


def os_release(text: str) -> dict[str, str]:
    """Fields of os-release, as in ID and VERSION_ID."""
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line)
    return {name: value.strip('"') for name, value in pairs}


def python_component(metadata: str) -> dict[str, Any]:
    """One Python package, from its METADATA file."""
    head = HeaderParser().parsestr(metadata)
    name, version = head["Name"], head["Version"]
    canonical = re.sub(r"[-_.]+", "-", name).lower()
    purl = f"pkg:pypi/{canonical}@{quote(version)}"
    made = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
    if expression := head["License-Expression"]:
        made["licenses"] = [{"expression": expression}]
    elif named := licenses_of(head.get_all("Classifier", [])):
        made["licenses"] = [{"license": {"name": one}} for one in named]
    return made


def licenses_of(classifiers: list[str]) -> list[str]:
    """Names of licenses among trove classifiers."""
    own = [line.split(" :: ")[-1] for line in classifiers if line.startswith("License :: ")]
    return sorted(set(own) - {"OSI Approved"})


def debian_components(status: str, system: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Installed packages of Debian, from dpkg's status file."""
    distribution = f"{system['ID']}-{system.get('VERSION_ID', '')}".strip("-")
    for entry in status.split("\n\n"):
        head = HeaderParser().parsestr(entry.strip())
        if head["Package"] is None or "installed" not in (head["Status"] or "").split():
            continue
        name, version, machine = head["Package"], head["Version"], head["Architecture"]
        purl = (
            f"pkg:deb/{system['ID']}/{name}@{quote(version)}?arch={machine}&distro={distribution}"
        )
        yield {
            "type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl,
        }  # fmt: skip


if __name__ == "__main__":
    try:
        made = bill(sys.stdin.buffer)
    except (ValueError, tarfile.TarError) as error:
        sys.exit(f"no bill of materials was made: {error}")
    json.dump(made, sys.stdout, indent=1)
    print()
