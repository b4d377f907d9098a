#!/usr/bin/env bash
# Builds the image: scripts/image.sh [cpu|cuda], with the engine that `docker` reaches.
#
#   IMAGE=gnn-service:cpu     what to call it
#   BASE=…                    another base with Python 3.11 or newer; `debian` makes one of Debian's
#                             packages (mmdebstrap), where no image registry can be reached
#   TORCH_INDEX=URL           where torch comes from
#   TORCH_WHEELS=FOLDER       the same: a folder that holds its wheel, served on loopback meanwhile
#   TORCH_SHA256=…            the hash that torch's wheel has to have (target cpu)
#   CA_BUNDLE=FILE            certificates that pip trusts during the build
#   REVISION=…, CREATED=…     labels; of git when left out
#
# docker/pins.env, where `make pin` wrote it, gives BASE and TORCH_SHA256 to a build that names neither
# another base nor another torch.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${1:-cpu}
image=${IMAGE:-gnn-service:$target}
given=(--build-arg "REVISION=${REVISION:-$(git rev-parse HEAD 2>/dev/null || echo unknown)}"
       --build-arg "CREATED=${CREATED:-$(git log -1 --format=%cI 2>/dev/null || echo unknown)}"
       --build-arg "VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)")
index_argument=TORCH_INDEX
[ "$target" = cuda ] && index_argument=TORCH_CUDA_INDEX

if [ -f docker/pins.env ]; then
  pinned() { sed -n "s/^$1=//p" docker/pins.env; }
  BASE=${BASE:-$(pinned BASE)}
  [ -n "${TORCH_WHEELS:-}${TORCH_INDEX:-}" ] || TORCH_SHA256=${TORCH_SHA256:-$(pinned TORCH_SHA256)}
fi
if ! docker info >/dev/null 2>&1; then
  echo "docker reaches no engine; start one, set DOCKER_HOST, or on Debian as root:" \
    "scripts/engine.sh start" >&2
  exit 2
fi
if [ "${BASE:-}" = debian ]; then
  BASE=gnn-base:debian
  docker image inspect "$BASE" >/dev/null 2>&1 || scripts/debian-base.sh "$BASE"
  given+=(--build-arg "BUILD_PACKAGES=g++ python3-dev")
fi
if [ -n "${TORCH_WHEELS:-}" ]; then
  folder=$(mktemp -d)
  mkdir "$folder/torch"
  ln -s "$(realpath "$TORCH_WHEELS")"/torch-*.whl "$folder/torch/"
  exec 3< <(exec python3 -u -m http.server --bind 127.0.0.1 --directory "$folder" 0 2>/dev/null)
  server=$!
  trap 'kill $server; rm -rf "$folder"' EXIT
  read -r line <&3
  TORCH_INDEX=http://127.0.0.1:$(sed 's/.* port \([0-9]*\) .*/\1/' <<<"$line")
fi
[ -n "${BASE:-}" ] && given+=(--build-arg "BASE=$BASE")
[ -n "${TORCH_INDEX:-}" ] && given+=(--build-arg "$index_argument=$TORCH_INDEX")
[ -n "${TORCH_SHA256:-}" ] && given+=(--build-arg "TORCH_SHA256=$TORCH_SHA256")
[ -n "${CA_BUNDLE:-}" ] && given+=(--secret "id=ca,src=$CA_BUNDLE")

# The network of the host: the loopback index above is there, and an engine without a bridge works.
DOCKER_BUILDKIT=1 docker build --network host --file docker/Dockerfile --target "$target" \
  --tag "$image" "${given[@]}" .
docker image inspect --format "$image: {{.Size}} bytes" "$image"
