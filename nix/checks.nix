# The checks of `nix flake check`.
{
  lib,
  pkgs,
  functions,
  images,
  root,
  rust,
}:
let
  inherit (rust) craneLib shared;

  # A check that runs a command, and passes if the command succeeds.
  command =
    name: packages: text:
    pkgs.runCommand name { nativeBuildInputs = packages; } ''
      export HOME=$TMPDIR
      cd ${rust.src}
      ${text}
      touch $out
    '';

  # The image repositories that the template uses.
  deployed = lib.unique (
    map (text: lib.head (builtins.match "([a-z0-9-]+).*" (lib.head (lib.splitString "\n" text)))) (
      lib.tail (
        lib.splitString "\${ImageRepositoryPrefix}" (builtins.readFile (root + "/infra/backend.yaml"))
      )
    )
  );
in
{
  format = craneLib.cargoFmt { inherit (shared) src pname version; };

  format-nix = command "format-nix" [ pkgs.nixfmt ] ''
    find ${root + "/flake.nix"} ${root + "/nix"} ${root + "/images"} -name '*.nix' -exec nixfmt --check {} +
  '';

  clippy = craneLib.cargoClippy (
    shared // { cargoClippyExtraArgs = "--workspace --all-targets -- --deny warnings"; }
  );

  # The tests read the pages too.
  tests = craneLib.cargoTest (
    shared
    // {
      inherit (rust) src;
      cargoTestExtraArgs = "--workspace";
    }
  );

  docs = craneLib.cargoDoc (
    shared
    // {
      cargoDocExtraArgs = "--workspace --no-deps";
      RUSTDOCFLAGS = "--deny warnings";
    }
  );

  # Licences, sources and bans; advisories need the network: .github/workflows/advisories.yml.
  deny = craneLib.cargoDeny { inherit (shared) src pname version; };

  template = command "template" [ pkgs.python3Packages.cfn-lint ] ''
    cfn-lint infra/*.yaml
  '';

  workflows =
    command "workflows"
      [
        pkgs.actionlint
        pkgs.zizmor
      ]
      ''
        actionlint -shellcheck= -pyflakes= .github/workflows/*.yml
        zizmor --offline .github
      '';

  # Requires no build: the evaluation fails here if the lists differ.
  functions =
    assert lib.assertMsg (lib.sort lib.lessThan deployed == functions) ''
      services/ and infra/backend.yaml do not name the same functions:
        only in services/: ${toString (lib.subtractLists deployed functions)}
        only in the template: ${toString (lib.subtractLists functions deployed)}'';
    command "functions" [ ] "";

  images = command "images" [ pkgs.jq ] ''
    bash ${root + "/images/check.sh"} ${images} ${lib.escapeShellArgs functions}
  '';
}
