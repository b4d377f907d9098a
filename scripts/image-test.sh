#!/usr/bin/env bash
# Runs an image as it runs in production and asks it everything: scripts/image-test.sh IMAGE.
# Nobody's user, a read-only root, no capabilities, no network but its own loopback.
set -euo pipefail
cd "$(dirname "$0")/.."
image=$1
name=gnn-image-test-$$
trap 'docker rm --force "$name" >/dev/null 2>&1 || true
      docker volume rm --force "$name" "$name-jobs" >/dev/null 2>&1 || true' EXIT
confined=(--read-only --cap-drop ALL --security-opt no-new-privileges --tmpfs /tmp:size=256m,mode=1777
          --network none --memory 2g --pids-limit 512)

echo "making the demo's graph and model" >&2
docker run --rm "${confined[@]}" --env GNN_HOST=127.0.0.1 --volume "$name:/data/graphs" "$image" \
  demo --keep /data/graphs/demo >/dev/null
docker run --detach --name "$name" "${confined[@]}" \
  --volume "$name:/data/graphs:ro" --volume "$name-jobs:/data/jobs" \
  --env GNN_GRAPH=/data/graphs/demo/graph --env GNN_MODELS=/data/graphs/demo/models \
  --env GNN_ALLOW_ANONYMOUS=true "$image" >/dev/null

echo "waiting until it is healthy" >&2
for _ in $(seq 120); do
  health=$(docker inspect --format '{{.State.Health.Status}}' "$name")
  [ "$health" = starting ] || break
  sleep 1
done
user=$(docker exec "$name" id -u)
if [ "$health" != healthy ] || [ "$user" != 10001 ]; then
  docker logs "$name" >&2
  echo "$image is $health and runs as user $user" >&2
  exit 1
fi
docker exec --interactive "$name" python3 -I - 17 <scripts/image_asks.py

docker stop --time 40 "$name" >/dev/null
code=$(docker inspect --format '{{.State.ExitCode}}' "$name")
if [ "$code" != 0 ]; then
  echo "$image ended with $code after SIGTERM" >&2
  exit 1
fi
echo "$image runs as user $user, answers, and ends when it is told to"
