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
  postPatch,
}:
let
  all = craneLib.mkCargoDerivation {
    pname = "switchboard-sboms";
    inherit src version postPatch;
    strictDeps = true;
    cargoArtifacts = null;
    doInstallCargoArtifacts = false;
    nativeBuildInputs = [
      pkgs.gawk
      pkgs.cargo-cyclonedx
      pkgs.jq
    ];
    buildPhaseCargoCommand = ''
      cargo cyclonedx --format json --spec-version 1.5 --target ${target}
      # cargo-cyclonedx lists the crates of all features of the workspace. The tree has those of this build. It
      # separates the packages by empty lines.
      mkdir trees
      cargo tree --locked --offline --target ${target} --edges no-dev,no-build,no-proc-macro --no-dedupe --prefix none \
        ${lib.concatMapStringsSep " " (name: "--package ${name}") functions} |
        awk -v RS= '{ split($0, words, " "); print > ("trees/" words[1]); close("trees/" words[1]) }'
    '';
    installPhaseCommand = ''
      mkdir $out
      for name in ${lib.escapeShellArgs functions}; do
        jq --sort-keys --arg certificates ${lib.escapeShellArg pkgs.cacert.version} --rawfile tree trees/$name \
          --from-file ${./sbom.jq} services/$name/$name.cdx.json >$out/$name.cdx.json
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
