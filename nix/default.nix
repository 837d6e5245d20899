# The flake's outputs for one system.
{
  lib,
  pkgs,
  crane,
}:
let
  root = ../.;

  # The list of functions: the folders in services/.
  functions = lib.attrNames (
    lib.filterAttrs (_: type: type == "directory") (builtins.readDir ../services)
  );

  workspace = (lib.importTOML ../Cargo.toml).workspace.package;

  # The toolchain from rustup's file; `targets` are its targets besides the system's own.
  toolchain =
    targets: pkgs:
    pkgs.rust-bin.fromRustupToolchain (
      (lib.importTOML ../rust-toolchain.toml).toolchain // { inherit targets; }
    );
  craneLib = (crane.mkLib pkgs).overrideToolchain (toolchain [ ]);

  rust = import ./rust.nix {
    inherit
      lib
      pkgs
      craneLib
      root
      workspace
      functions
      ;
  };

  release =
    let
      target = "${pkgs.stdenv.hostPlatform.parsed.cpu.name}-unknown-linux-musl";
    in
    import ./release.nix {
      inherit
        lib
        pkgs
        functions
        root
        workspace
        target
        ;
      craneLib = (crane.mkLib pkgs).overrideToolchain (toolchain [ target ]);
      src = rust.code;
    };

  # `nix run .` is the local run and its tokens, as `cargo local` is, and `nix run .#switchboard` the whole program.
  local = pkgs.writeShellApplication {
    name = "switchboard-local";
    meta.description = "Switchboard on this machine";
    text = ''
      if [ "''${1-}" = token ]; then
        exec ${lib.getExe rust.switchboard} "$@"
      fi
      exec ${lib.getExe rust.switchboard} local "$@"
    '';
  };

  binaries = import ../images/binaries.nix {
    inherit
      lib
      pkgs
      functions
      root
      workspace
      ;
    craneLib = (crane.mkLib pkgs).overrideToolchain (toolchain [ "aarch64-unknown-linux-musl" ]);
  };

  mkImages = lib.makeOverridable (
    import ../images {
      inherit
        lib
        pkgs
        functions
        workspace
        ;
    }
  );
  images = mkImages { inherit binaries; };

  push-images = import ../images/push.nix { inherit lib pkgs images; };

  app = package: {
    type = "app";
    program = lib.getExe package;
    inherit (package) meta;
  };
in
{
  mkImages = options: mkImages ({ inherit binaries; } // options);

  packages =
    binaries.functions
    // lib.mapAttrs' (name: lib.nameValuePair "${name}-image") images.byFunction
    // {
      inherit images push-images local;
      inherit (rust) switchboard;
      release = release.folder;
      local-image = release.image;
      functions = binaries;
      default = local;
    };

  apps = {
    default = app local;
    switchboard = app rust.switchboard;
    push-images = app push-images;
  };

  checks = import ./checks.nix {
    inherit
      lib
      pkgs
      functions
      images
      root
      rust
      ;
  };

  devShell = import ./dev-shell.nix { inherit lib pkgs craneLib; };

  formatter = import ./formatter.nix { inherit pkgs craneLib; };
}
