# The images: one per function, and a folder with all of them. README.md beside this file describes their content.
{
  lib,
  pkgs,
  functions,
  workspace,
}:
{
  # From binaries.nix: `functions`, `sboms` of them, and the hash `sources`.
  binaries,
  # A folder that becomes /opt. Lambda starts the programs in its `extensions/` beside the function.
  collector ? null,
  # URL of the sources, for the label.
  source ? workspace.repository or null,
}:
let
  inherit (pkgs.dockerTools) buildLayeredImage;

  certificates = "/etc/ssl/certs/ca-certificates.crt";

  layer = {
    architecture = "arm64";
    # Plain files in their usual paths instead of a store.
    includeStorePaths = false;
    mtime = "1970-01-01T00:00:01Z";
    created = "1970-01-01T00:00:01Z";
  };

  # Files common to all functions are the lower layer, which is identical in every image.
  base = buildLayeredImage (
    layer
    // {
      name = "switchboard/base";
      extraCommands = ''
        install -D -m 0444 ${pkgs.cacert}/etc/ssl/certs/ca-bundle.crt .${certificates}
      ''
      + lib.optionalString (collector != null) ''
        test -d ${collector}/extensions || { echo "the collector has no folder extensions" >&2; exit 1; }
        mkdir opt
        cp -rL --no-preserve=ownership,timestamps ${collector}/. opt/
        chmod -R u+w,a+rX,go-w opt
        chmod 0555 opt/extensions/*
      '';
    }
  );

  image =
    name: binary:
    (buildLayeredImage (
      layer
      // {
        name = "switchboard/${name}";
        # Not the commit: one that changes no source must not change the image. push.sh sets the tag of the registry.
        tag = binaries.sources;
        fromImage = base;
        extraCommands = ''
          install -D -m 0555 ${binary}/bin/${name} bin/${name}
        '';
        config = {
          Entrypoint = [ "/bin/${name}" ];
          # An unprivileged user. Lambda chooses its own user for a function.
          User = "65532:65532";
          WorkingDir = "/";
          Env = [
            "SSL_CERT_FILE=${certificates}"
            # In KiB. A smaller arena has fewer pages of its own to touch at start-up: decision 0020.
            "MIMALLOC_ARENA_RESERVE=65536"
          ];
          Labels = {
            "org.opencontainers.image.title" = "switchboard/${name}";
            "switchboard.sources" = binaries.sources;
            "org.opencontainers.image.version" = workspace.version;
            "org.opencontainers.image.licenses" = workspace.license;
          }
          // lib.optionalAttrs (source != null) { "org.opencontainers.image.source" = source; };
        };
      }
    )).overrideAttrs
      (previous: {
        passthru = (previous.passthru or { }) // {
          sbom = binaries.sboms.${name};
        };
      });

  byFunction = lib.mapAttrs image binaries.functions;

  folder = pkgs.linkFarm "switchboard-images" (
    lib.concatMapAttrs (name: image: {
      "${name}.tar.gz" = image;
      "${name}.cdx.json" = image.sbom;
    }) byFunction
  );
in
folder.overrideAttrs (previous: {
  passthru = (previous.passthru or { }) // byFunction // { inherit base byFunction functions; };
})
