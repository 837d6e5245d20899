# The program and its functions as static binaries for this system: the folder of a release's archive, and the container
# image of the local run. Zig is the C compiler and the linker, as for the functions' images.
{
  lib,
  pkgs,
  craneLib,
  functions,
  root,
  workspace,
  src,
  target,
}:
let
  packages = [ "switchboard" ] ++ functions;

  common = {
    pname = "switchboard-release";
    inherit (workspace) version;
    inherit src;
    strictDeps = true;
    doCheck = false;
    nativeBuildInputs = [ pkgs.cargo-zigbuild ];
    cargoBuildCommand = "cargo zigbuild --profile lambda";
    cargoExtraArgs =
      "--locked --target ${target} " + lib.concatMapStringsSep " " (name: "--package ${name}") packages;
    # Replaces the options of .cargo/config.toml, which require the processor of the deployed functions.
    RUSTFLAGS = "-C target-feature=+crt-static";
    # Cache of Zig's C library and wrappers: a build has no home folder for it.
    preBuild = ''
      export XDG_CACHE_HOME=$TMPDIR/cache ZIG_GLOBAL_CACHE_DIR=$TMPDIR/zig ZIG_LOCAL_CACHE_DIR=$TMPDIR/zig
      export CARGO_ZIGBUILD_CACHE_DIR=$TMPDIR/zigbuild
    '';
    # Cargo has stripped the binaries.
    dontStrip = true;
    dontPatchELF = true;
  };

  binaries = craneLib.buildPackage (
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
  folder =
    pkgs.runCommand "switchboard-${workspace.version}"
      {
        allowedReferences = [ ];
        meta = {
          description = "The program switchboard with the functions of its local run beside it";
          mainProgram = "switchboard";
        };
      }
      ''
        install -D -m 0555 ${binaries}/bin/switchboard $out/switchboard
        for name in ${lib.escapeShellArgs functions}; do
          install -D -m 0555 ${binaries}/bin/$name $out/functions/$name
        done
        install -m 0444 ${root + "/LICENSE"} ${root + "/CHANGELOG.md"} $out
        install -m 0444 ${pkgs.cacert}/etc/ssl/certs/ca-bundle.crt $out/ca-certificates.crt
      '';

  user = "65532:65532";
in
{
  inherit folder;

  # Plain files in /switchboard instead of a store. The data are in the volume /data.
  image = pkgs.dockerTools.buildLayeredImage {
    name = "switchboard";
    tag = workspace.version;
    includeStorePaths = false;
    mtime = "1970-01-01T00:00:01Z";
    created = "1970-01-01T00:00:01Z";
    extraCommands = ''
      cp -rL ${folder} switchboard
      mkdir -p data tmp
      chmod 1777 tmp
    '';
    fakeRootCommands = ''
      chown ${user} data
    '';
    config = {
      Entrypoint = [
        "/switchboard/switchboard"
        "local"
        # A container's ports are published from outside, which its loopback address does not allow.
        "--all-interfaces"
      ];
      User = user;
      WorkingDir = "/data";
      Volumes."/data" = { };
      Env = [ "SSL_CERT_FILE=/switchboard/ca-certificates.crt" ];
      ExposedPorts = lib.genAttrs [ "3000/tcp" "3001/tcp" "3002/tcp" "8000/tcp" ] (_: { });
      Labels = {
        "org.opencontainers.image.title" = "switchboard";
        "org.opencontainers.image.description" = "Switchboard, a chat back end for AWS, on one machine";
        "org.opencontainers.image.version" = workspace.version;
        "org.opencontainers.image.licenses" = workspace.license;
      }
      // lib.optionalAttrs (workspace ? repository) {
        "org.opencontainers.image.source" = workspace.repository;
      };
    };
  };
}
