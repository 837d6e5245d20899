"""Tests the scripts of the images on images and lists that this file makes. Needs bash, gzip, jq and tar."""

import io
import json
import os
import pathlib
import subprocess
import tarfile
import tempfile
import unittest

FOLDER = pathlib.Path(__file__).parent
ELF = bytes.fromhex("7f454c460201010000000000000000000200b700")
CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"


def tar(files):
    """Returns a tar archive of names and contents."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


class Images(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        (self.folder / "store").mkdir()
        (self.folder / "images").mkdir()

    def check(self, size=100, labels=None, code=0):
        """Runs check.sh on one image in a folder of symbolic links, as Nix builds it."""
        config = {
            "architecture": "arm64",
            "os": "linux",
            "created": "1970-01-01T00:00:01Z",
            "config": {
                "Entrypoint": ["/bin/health"],
                "User": "65532:65532",
                "Env": [f"SSL_CERT_FILE=/{CERTIFICATES}"],
                "Labels": labels or {"switchboard.sources": "a" * 32, "org.opencontainers.image.licenses": "MIT"},
            },
        }
        image = {
            "manifest.json": json.dumps([{"Config": "config.json", "Layers": ["base.tar", "own.tar"]}]).encode(),
            "config.json": json.dumps(config).encode(),
            "base.tar": tar({CERTIFICATES: b"certificates"}),
            "own.tar": tar({"bin/health": ELF + os.urandom(size)}),
        }
        (self.folder / "image.tar").write_bytes(tar(image))
        packed = subprocess.run(["gzip", "--stdout", self.folder / "image.tar"], capture_output=True, check=True).stdout
        files = {"health.tar.gz": packed, "health.cdx.json": b'{"bomFormat": "CycloneDX", "components": [{}]}'}
        for name, content in files.items():
            (self.folder / "store" / name).write_bytes(content)
            link = self.folder / "images" / name
            link.unlink(missing_ok=True)
            link.symlink_to(self.folder / "store" / name)
        run = ["bash", FOLDER / "check.sh", self.folder / "images", "health"]
        done = subprocess.run(run, capture_output=True, text=True)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stdout + done.stderr, len(packed)

    def test_the_size_is_that_of_the_image_and_not_of_a_link(self):
        said, size = self.check()
        self.assertIn(f"health: {size} bytes", said)

    def test_an_image_above_the_budget_fails(self):
        said, size = self.check(size=15_000_001, code=1)
        self.assertIn(f"{size} bytes, more than the 15000000", said)

    def test_an_image_is_labelled_by_its_sources(self):
        self.check(labels={"org.opencontainers.image.licenses": "MIT"}, code=1)

    def test_a_list_has_the_crates_of_the_tree_only(self):
        ref = lambda name: {"bom-ref": name, "name": name, "version": "1.0.0"}
        listed = {
            "components": [ref("serde"), ref("ring"), ref("quinn"), {**ref("cc"), "scope": "excluded"}],
            "dependencies": [{"ref": "serde", "dependsOn": ["ring"]}, {"ref": "quinn"}],
        }
        (self.folder / "list.json").write_text(json.dumps(listed))
        (self.folder / "tree").write_text("health v0.1.0 (/build/source)\nserde v1.0.0\ncc v1.0.0\nring v0.9.0\n")
        run = ["jq", "--arg", "certificates", "3", "--rawfile", "tree", self.folder / "tree"]
        run += ["--from-file", FOLDER / "sbom.jq", self.folder / "list.json"]
        found = json.loads(subprocess.run(run, capture_output=True, check=True).stdout)
        self.assertEqual([one["name"] for one in found["components"]], ["serde", "ca-certificates"])
        self.assertEqual(found["dependencies"], [{"ref": "serde", "dependsOn": []}])

    def test_members_without_sources_get_their_targets(self):
        member = self.folder / "tools/one"
        member.mkdir(parents=True)
        (member / "Cargo.toml").write_text('[[bin]]\nname = "one"\npath = "src/bin/one.rs"\n')
        subprocess.run(["bash", FOLDER / "stub-members.sh", self.folder / "tools"], check=True)
        self.assertEqual((member / "src/lib.rs").read_text(), "")
        self.assertEqual((member / "src/bin/one.rs").read_text(), "fn main() {}\n")


if __name__ == "__main__":
    unittest.main()
