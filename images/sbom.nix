# Bill of materials of each image, as CycloneDX: the crates that the function is compiled from for its target, and the
# certificates.
{
  lib,
  pkgs,
  craneLib,
  functions,
  target,
  src,
  version,
}:
let
  all = craneLib.mkCargoDerivation {
    pname = "switchboard-sboms";
    inherit src version;
    strictDeps = true;
    cargoArtifacts = null;
    doInstallCargoArtifacts = false;
    nativeBuildInputs = [
      pkgs.cargo-cyclonedx
      pkgs.jq
    ];
    buildPhaseCargoCommand = ''
      cargo cyclonedx --format json --spec-version 1.5 --target ${target}
    '';
    installPhaseCommand = ''
      mkdir $out
      for name in ${lib.escapeShellArgs functions}; do
        jq --sort-keys --arg certificates ${lib.escapeShellArg pkgs.cacert.version} --from-file ${./sbom.jq} \
          services/$name/$name.cdx.json >$out/$name.cdx.json
      done
    '';
  };
in
lib.genAttrs functions (
  name:
  pkgs.runCommand "${name}.cdx.json" { meta.description = "What is in the image of ${name}"; } ''
    cp ${all}/${name}.cdx.json $out
  ''
)
