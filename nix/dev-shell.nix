# All tools that this repository's commands need.
{
  lib,
  pkgs,
  craneLib,
}:
craneLib.devShell {
  packages = [
    pkgs.cargo-deny
    pkgs.cargo-nextest
    pkgs.cargo-zigbuild
    pkgs.zig

    pkgs.awscli2
    pkgs.python3Packages.cfn-lint
    pkgs.skopeo

    pkgs.actionlint
    pkgs.zizmor

    pkgs.jq
    pkgs.mdbook
    pkgs.nixfmt
    pkgs.nodejs
    pkgs.python3
  ]
  # Nixpkgs has no Chromium for macOS; the tests of the page use the one at CHROMIUM_PATH.
  ++ lib.optional pkgs.stdenv.hostPlatform.isLinux pkgs.chromium;

  env = lib.optionalAttrs pkgs.stdenv.hostPlatform.isLinux {
    CHROMIUM_PATH = lib.getExe pkgs.chromium;
  };
}
