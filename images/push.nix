# `nix run .#push-images -- REGISTRY TAG`
{
  lib,
  pkgs,
  images,
}:
pkgs.writeShellApplication {
  name = "push-images";
  meta.description = "Pushes every image to a registry";
  runtimeInputs = [
    pkgs.coreutils
    pkgs.diffutils
    pkgs.gzip
    pkgs.skopeo
  ];
  text = ''
    set -- ${images} "$@"
    ${lib.removePrefix "#!/usr/bin/env bash\n" (builtins.readFile ./push.sh)}
  '';
}
