# The workspace for the build system, in the profile that `cargo local` and the tests use. Its dependencies are compiled
# once, for the checks and for the local run.
{
  lib,
  pkgs,
  craneLib,
  root,
  workspace,
  functions,
}:
let
  # Without the files that only Nix reads: a change of the flake does not recompile the workspace.
  files = lib.fileset.difference root (
    lib.fileset.unions [
      (root + "/flake.nix")
      (root + "/nix")
      (lib.fileset.maybeMissing (root + "/flake.lock"))
      (lib.fileset.maybeMissing (root + "/result"))
      (lib.fileset.maybeMissing (root + "/target"))
      (lib.fileset.fileFilter (file: file.hasExt "nix" || file.hasExt "sh") (root + "/images"))
    ]
  );

  src = lib.fileset.toSource {
    inherit root;
    fileset = files;
  };

  # The sources of the programs: without pages and pictures, which only the tests read. Two pages are compiled in.
  code = lib.fileset.toSource {
    inherit root;
    fileset = lib.fileset.unions [
      (root + "/docs/reference/telemetry.md")
      (root + "/clients/rust/README.md")
      (lib.fileset.difference files (
        lib.fileset.union (lib.fileset.fileFilter (file: file.hasExt "md") root) (
          lib.fileset.fileFilter (file: file.hasExt "png" || file.hasExt "svg") (root + "/docs")
        )
      ))
    ];
  };

  common = {
    src = code;
    inherit (workspace) version;
    pname = "switchboard";
    strictDeps = true;
    CARGO_PROFILE = "dev";
    # The SDK's clients read the system's certificates when they are created.
    SSL_CERT_FILE = "${pkgs.cacert}/etc/ssl/certs/ca-bundle.crt";
  };
  cargoArtifacts = craneLib.buildDepsOnly common;
  shared = common // {
    inherit cargoArtifacts;
  };

  programs = craneLib.buildPackage (
    shared
    // {
      cargoExtraArgs = "--locked --workspace --bins";
      # The check `tests` runs them.
      doCheck = false;
    }
  );
in
{
  inherit
    craneLib
    src
    code
    shared
    ;

  # The program, with the functions of the local run where it finds them. It finds nothing through a link to itself.
  switchboard =
    pkgs.runCommand "switchboard"
      {
        meta = {
          description = "Switchboard: the local run, and an operator's commands";
          mainProgram = "switchboard";
        };
      }
      ''
        install -D ${programs}/bin/switchboard $out/bin/switchboard
        mkdir -p $out/lib/switchboard/functions
        for name in ${lib.escapeShellArgs functions}; do
          ln -s ${programs}/bin/$name $out/lib/switchboard/functions/$name
        done
      '';
}
