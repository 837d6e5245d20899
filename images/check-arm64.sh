#!/usr/bin/env bash
# Runs the end-to-end tests against the functions' ARM64 binaries, each as in its image: as an unprivileged user, on a
# read-only file system with only the binary and the certificates. On other processors it uses an emulator. Prints the
# size of each binary.
#
#     images/check-arm64.sh [FOLDER]
#
# FOLDER has the binaries, such as result/bin of `nix build .#functions`. Without it the script compiles them like
# binaries.nix. Without a cache that takes more than half an hour, so .ci/run does not run this script.
#
# Needs from Debian: bubblewrap, qemu-user-static, ca-certificates. To compile: cargo-zigbuild and zig (both on PyPI:
# cargo-zigbuild, ziglang) and Rust's standard library for the target, by `rustup target add
# aarch64-unknown-linux-musl` or as sources (`rust-src`), which are compiled too.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."

target=aarch64-unknown-linux-musl
functions=()
for folder in services/*/; do functions+=("$(basename "$folder")"); done

compile() {
  local sysroot options=()
  sysroot=$("${RUSTC:-rustc}" --print sysroot)
  if [ ! -d "$sysroot/lib/rustlib/$target" ]; then
    [ -d "$sysroot/lib/rustlib/src/rust/library" ] || {
      echo "error: no standard library for $target, and no sources of it, in $sysroot" >&2
      exit 1
    }
    # Cargo compiles the standard library on nightly only. The linker's own start files replace those of the compiled
    # library.
    export RUSTC_BOOTSTRAP=1
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_RUSTFLAGS='-C link-self-contained=no'
    options+=(-Z 'build-std=std,panic_abort,panic_unwind')
  fi
  for function in "${functions[@]}"; do options+=(--package "$function"); done
  cargo zigbuild --profile lambda --locked --target $target --target-dir "$1" "${options[@]}"
}

if [ $# -gt 0 ]; then
  binaries=$1
else
  binaries=target/arm64/$target/lambda
  (compile target/arm64)
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
mkdir "$work/bin" "$work/sandbox"
certificates=/etc/ssl/certs/ca-certificates.crt
emulator=()
[ "$(uname -m)" = aarch64 ] || emulator=("$(command -v qemu-aarch64-static)")
# Root drops its privileges first.
user=()
[ "$(id -u)" != 0 ] || user=("$(command -v setpriv)" --reuid 65532 --regid 65532 --clear-groups)

printf '| function | binary | compressed |\n| --- | --- | --- |\n'
for function in "${functions[@]}"; do
  root=$work/$function
  mkdir -p "$root/bin" "$root/etc/ssl/certs"
  install -m 555 "$binaries/$function" "$root/bin/$function"
  install -m 444 $certificates "$root$certificates"
  printf '| %s | %s | %s |\n' "\`$function\`" "$(stat -c %s "$root/bin/$function")" \
    "$(tar -C "$root" -c . | gzip | wc -c)"

  # The tests identify the sandbox by the function's name.
  ln -s "$(command -v bwrap)" "$work/sandbox/$function"
  enter=("${user[@]}" "$work/sandbox/$function" --unshare-user --uid 65532 --gid 65532 --die-with-parent
    --tmpfs / --ro-bind "$root/bin" /bin --ro-bind "$root/etc" /etc --proc /proc --tmpfs /tmp)
  [ ${#emulator[@]} -eq 0 ] || enter+=(--ro-bind "${emulator[0]}" /emulator)
  enter+=(--remount-ro / --chdir / --setenv SSL_CERT_FILE "$certificates" --)
  [ ${#emulator[@]} -eq 0 ] || enter+=(/emulator)
  enter+=("/bin/$function")
  {
    echo '#!/bin/sh'
    printf 'echo %q >>%q\n' "$function" "$work/started"
    printf 'exec'
    printf ' %q' "${enter[@]}"
    printf ' "$@"\n'
  } >"$work/bin/$function"
  chmod 755 "$work/bin/$function"
done

# The tests start the runner. `--test` selects no test of its package, so Cargo does not build it with them.
cargo build --locked --bin local
SWITCHBOARD_TEST_BIN_DIR=$work/bin cargo test --workspace --locked --test end_to_end -- \
  --test-threads 1 conversation:: deletion:: presence:: connections::nothing_is_left problems::no_route_but_health
missing=$(comm -13 <(sort -u "$work/started") <(printf '%s\n' "${functions[@]}" | sort))
if [ -n "$missing" ]; then
  echo "error: no test called ${missing//$'\n'/, }" >&2
  exit 1
fi
echo "every function was tested"
