#!/usr/bin/env bash
# Pushes every image of a folder: push.sh FOLDER REGISTRY TAG. A function's repository is REGISTRY/<function>.
#
# Prints a line `<function> <digest>` for each. Tags are never moved. If the tag exists with the same image, it is kept,
# so that a deployment can be repeated. If it exists with another image, the script fails.
#
# Needs skopeo, logged in to the registry (skopeo login or docker login). A registry on this machine is used without
# TLS.
set -euo pipefail

if [ $# -ne 3 ]; then
  echo "usage: push-images REGISTRY TAG" >&2
  exit 2
fi
folder=$1 registry=${2%/} tag=$3

tls=true
case $registry in
  localhost:* | 127.0.0.1:*) tls=false ;;
esac
# Images are not signed with keys that skopeo knows, so no policy applies.
skopeo() { command skopeo --insecure-policy "$@"; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for archive in "$folder"/*.tar.gz; do
  function=$(basename "$archive" .tar.gz)
  target=docker://$registry/$function:$tag
  gzip --decompress --stdout "$archive" >"$work/image.tar"
  skopeo inspect --config --raw "docker-archive:$work/image.tar" >"$work/ours.json"
  if skopeo inspect --tls-verify=$tls --config --raw "$target" >"$work/theirs.json" 2>"$work/absent"; then
    if ! cmp --silent "$work/ours.json" "$work/theirs.json"; then
      echo "error: $registry/$function:$tag exists with another image; choose another tag" >&2
      exit 1
    fi
    digest=$(skopeo inspect --tls-verify=$tls --no-tags --format '{{.Digest}}' "$target")
  else
    skopeo copy --quiet --dest-tls-verify=$tls --digestfile "$work/digest" "docker-archive:$work/image.tar" "$target" >&2
    digest=$(cat "$work/digest")
  fi
  echo "$function $digest"
done
