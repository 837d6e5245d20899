#!/usr/bin/env bash
# Creates empty sources for the workspace members whose folder has a manifest only: stub-members.sh FOLDER...
#
# Cargo reads the manifests of all members and fails for one without a target. With the stubs, a change of a tool's
# source does not change the sources of the functions.
set -euo pipefail
shopt -s globstar nullglob

for folder in "$@"; do
  for manifest in "$folder"/**/Cargo.toml; do
    member=$(dirname "$manifest")
    for source in src/lib.rs $(sed -n 's/^path = "\(.*\.rs\)"$/\1/p' "$manifest"); do
      [ -e "$member/$source" ] && continue
      mkdir -p "$(dirname "$member/$source")"
      [ "$source" = src/lib.rs ] && : >"$member/$source" || echo 'fn main() {}' >"$member/$source"
    done
  done
done
