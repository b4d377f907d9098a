#!/bin/bash
# Inside the build: pip into /opt/gnn, or with --wheel FOLDER a wheel of the source. With --torch INDEX
# SPEC SHA256 the one wheel of torch that has this hash, or any where it is empty. Trusts the CA
# bundle that the build was given as the secret `ca`, if any; a secret is never part of a layer.
set -euo pipefail
if [ -s /run/secrets/ca ]; then
  export PIP_CERT=/run/secrets/ca SSL_CERT_FILE=/run/secrets/ca
fi
pip=(/opt/tools/bin/python -m pip --disable-pip-version-check --no-cache-dir --quiet)
if [ "$1" = --wheel ]; then
  "${pip[@]}" wheel --no-deps --wheel-dir "$2" "$3"
elif [ "$1" = --torch ]; then
  echo "$3${4:+ --hash=sha256:$4}" >/tmp/torch.txt
  # what it needs was installed before it, each with its hash
  "${pip[@]}" --python /opt/gnn/bin/python install --index-url "$2" ${4:+--no-deps} -r /tmp/torch.txt
else
  "${pip[@]}" --python /opt/gnn/bin/python install "$@"
fi
