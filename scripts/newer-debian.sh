#!/usr/bin/env bash
# Unpacks programs of a newer Debian into a folder, beside the system and without touching it:
# scripts/newer-debian.sh FOLDER PACKAGE[=VERSION] …
set -euo pipefail
folder=$(realpath -m "$1")
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$folder"
codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' "Codename: $codename" | head -1)
if [ -z "$mirror" ]; then
  echo "apt has no lists of Debian's packages; run apt-get update first" >&2
  exit 2
fi
cat >"$work/sources.sources" <<END
Types: deb
URIs: $mirror
Suites: ${SUITES:-trixie}
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
END
cat >"$work/apt.conf" <<END
Dir::State::lists "$work/lists";
Dir::Cache "$work/cache";
Dir::Etc::sourcelist "$work/sources.sources";
Dir::Etc::sourceparts "/dev/null";
APT::Sandbox::User "root";
END
cd "$work"
APT_CONFIG=$work/apt.conf apt-get update -qq
APT_CONFIG=$work/apt.conf apt-get download -qq "$@"
for package in *.deb; do
  dpkg -x "$package" "$folder"
done
