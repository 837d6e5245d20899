# `nix fmt`: the Rust code and the Nix expressions.
{ pkgs, craneLib }:
pkgs.writeShellApplication {
  name = "format";
  meta.description = "Formats Rust and Nix";
  runtimeInputs = [
    craneLib.cargo
    craneLib.rustfmt
    pkgs.findutils
    pkgs.nixfmt
  ];
  text = ''
    cargo fmt --all
    find flake.nix nix images -name '*.nix' -exec nixfmt {} +
  '';
}
