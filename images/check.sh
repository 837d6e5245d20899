#!/usr/bin/env bash
# Checks every image of a folder: check.sh FOLDER FUNCTION... The folder must contain an image and a bill of materials
# for each function, and no other file. An image is small, for ARM64 and an unprivileged user, and has exactly the
# expected content.
#
# Needs jq.
set -euo pipefail
export LC_ALL=C

# Compressed size in bytes, as in a registry; a collector does not count.
budget=15000000

folder=$1
shift
failed=0
fail() {
  echo "error: $*" >&2
  failed=1
}

expected=$(for function in "$@"; do printf '%s.cdx.json\n%s.tar.gz\n' "$function" "$function"; done | sort)
diff <(echo "$expected") <(find "$folder/" -mindepth 1 -printf '%f\n' | sort) >&2 || fail "$folder does not hold an image and a list for each function"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
shared=
for function in "$@"; do
  image=$work/$function
  mkdir "$image"
  tar -xzf "$folder/$function.tar.gz" -C "$image"
  config=$image/$(jq -r '.[0].Config' "$image/manifest.json")
  mapfile -t layers < <(jq -r '.[0].Layers[]' "$image/manifest.json")

  jq -e --arg entrypoint "/bin/$function" '
    .architecture == "arm64" and .os == "linux"
    and .config.Entrypoint == [$entrypoint] and .config.Cmd == null
    and (.config.User | test("^[1-9][0-9]*:[1-9][0-9]*$"))
    and (.config.Env | index("SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt")) != null
    and (.config.Labels["switchboard.sources"] // "" | test("^[0-9a-z]{32}$"))
    and (.config.Labels["org.opencontainers.image.licenses"] | length) > 0
    and (.created | startswith("1970-01-01T00:00:01"))
  ' "$config" >/dev/null || fail "$function: not the configuration it should have: $(jq -c .config "$config")"

  [ ${#layers[@]} -eq 2 ] || fail "$function: ${#layers[@]} layers, not 2"
  [ "${shared:=${layers[0]}}" = "${layers[0]}" ] || fail "$function: its lower layer is not the one of the others"

  extension=0
  for layer in "${layers[@]}"; do
    while read -r file; do
      case ${file#./} in
        "" | */ | "bin/$function" | etc/ssl/certs/ca-certificates.crt) ;;
        opt/*) extension=1 ;;
        *) fail "$function: $file has no business in the image" ;;
      esac
    done < <(tar -tf "$image/$layer")
  done
  tar -xf "$image/${layers[1]}" -C "$image"
  # The header of an ELF file: 64 bits, little-endian, ARM64 (b7).
  elf=$(od -An -tx1 -N20 "$image/bin/$function" | tr -d ' \n')
  [[ $elf == 7f454c460201*b700 ]] || fail "$function: no program for ARM64"

  if [ $extension = 0 ]; then
    # The folder of Nix has symbolic links to the images.
    size=$(stat --dereference --format %s "$folder/$function.tar.gz")
  else
    size=$(gzip --stdout "$image/${layers[1]}" | wc -c)
  fi
  [ "$size" -le $budget ] || fail "$function: $size bytes, more than the $budget allowed"
  jq -e '.bomFormat == "CycloneDX" and (.components | length) > 0' "$folder/$function.cdx.json" >/dev/null ||
    fail "$function: its list of contents is empty"
  echo "$function: $size bytes"
  rm -rf "$image"
done
exit $failed
