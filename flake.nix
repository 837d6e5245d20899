{
  description = "Switchboard, an event-driven chat back end on AWS Lambda";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";
    crane.url = "github:ipetkov/crane";
    rust-overlay = {
      url = "github:oxalica/rust-overlay";
      inputs.nixpkgs.follows = "nixpkgs";
    };
  };

  outputs =
    {
      self,
      nixpkgs,
      crane,
      rust-overlay,
    }:
    let
      inherit (nixpkgs) lib;

      # Images are built on Linux, of either processor, for ARM64. A Mac gets the dev shell.
      linux = [
        "aarch64-linux"
        "x86_64-linux"
      ];
      systems = linux ++ [ "aarch64-darwin" ];

      project =
        system:
        import ./nix {
          inherit lib crane;
          pkgs = import nixpkgs {
            inherit system;
            overlays = [ rust-overlay.overlays.default ];
          };
        };
      onLinux = output: lib.genAttrs linux (system: output (project system));
      everywhere = output: lib.genAttrs systems (system: output (project system));
    in
    {
      packages = onLinux (project: project.packages);
      apps = onLinux (project: project.apps);
      checks = onLinux (project: project.checks);
      # `lib.<system>.mkImages { collector = ./folder; }`: the images with an extension, see images/README.md.
      lib = onLinux (project: {
        inherit (project) mkImages;
      });
      devShells = everywhere (project: {
        default = project.devShell;
      });
      formatter = everywhere (project: project.formatter);
    };
}
