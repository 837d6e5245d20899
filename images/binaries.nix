# Every function as a static binary for ARM64 on musl. Zig is the C compiler and the linker: it compiles for ARM64 on
# both systems in the same way, without a cross compiler.
{
  lib,
  pkgs,
  craneLib,
  functions,
  root,
  workspace,
}:
let
  target = "aarch64-unknown-linux-musl";

  manifests = lib.fileset.fileFilter (file: file.name == "Cargo.toml");

  common = {
    pname = "switchboard-functions";
    inherit (workspace) version;
    src = lib.fileset.toSource {
      inherit root;
      fileset = lib.fileset.unions [
        (root + "/Cargo.toml")
        (root + "/Cargo.lock")
        (root + "/.cargo")
        (root + "/services")
        (root + "/crates")
        # No function contains these, but Cargo reads the manifests of all members.
        (manifests (root + "/clients"))
        (manifests (root + "/emulator"))
        (manifests (root + "/testing"))
        (manifests (root + "/tools"))
      ];
    };
    postPatch = ''
      bash ${./stub-members.sh} clients emulator testing tools
    '';
    strictDeps = true;
    doCheck = false;
    nativeBuildInputs = [ pkgs.cargo-zigbuild ];
    cargoBuildCommand = "cargo zigbuild --profile lambda";
    cargoExtraArgs =
      "--locked --target ${target} " + lib.concatMapStringsSep " " (name: "--package ${name}") functions;
    # Cache of Zig's C library and wrappers: a build has no home folder for it.
    preBuild = ''
      export XDG_CACHE_HOME=$TMPDIR/cache ZIG_GLOBAL_CACHE_DIR=$TMPDIR/zig ZIG_LOCAL_CACHE_DIR=$TMPDIR/zig
      export CARGO_ZIGBUILD_CACHE_DIR=$TMPDIR/zigbuild
    '';
    # Cargo has stripped the binaries; the available tools may be for another processor.
    dontStrip = true;
    dontPatchELF = true;
  };

  all = craneLib.buildPackage (
    common
    // {
      cargoArtifacts = craneLib.buildDepsOnly (
        common
        // {
          buildPhaseCargoCommand = "${common.cargoBuildCommand} ${common.cargoExtraArgs}";
        }
      );
    }
  );

  # A static binary has no dependencies: a reference to the store would be an error.
  one =
    name:
    pkgs.runCommand name
      {
        inherit (all) version;
        allowedReferences = [ ];
        meta.description = "The function ${name}, for ARM64";
      }
      ''
        install -D -m 0555 ${all}/bin/${name} $out/bin/${name}
      '';
in
all.overrideAttrs (previous: {
  passthru = (previous.passthru or { }) // {
    functions = lib.genAttrs functions one;
    # Hash of the sources, from their path in the store. A commit that changes no source of a function keeps it.
    sources = builtins.substring 0 32 (
      baseNameOf (builtins.unsafeDiscardStringContext (toString common.src))
    );
    sboms = import ./sbom.nix {
      inherit
        lib
        pkgs
        craneLib
        functions
        target
        ;
      inherit (common) src version postPatch;
    };
  };
})
