"""The account of a rehearsal, set up as in docs/guides/deploy.md: roles, registry, bucket, and the images in them."""

import base64
import hashlib
import io
import json
import subprocess
import zipfile

from rehearsal import twin
from rehearsal.emulator import ACCOUNT, REGION

REPOSITORY = "octocat@583231/switchboard@1296269"
ISSUER = "token.actions.githubusercontent.com"
BUCKET = f"switchboard-artefacts-{ACCOUNT}-{REGION}"
ENVIRONMENTS = ("staging", "production")


def set_up(emulator, infra):
    """Deploys the twins of `bootstrap.yaml` and `environment.yaml`.

    The emulator has no type for OIDC providers, so one exists before.
    """
    iam = emulator.client("iam")
    provider = iam.create_open_id_connect_provider(Url=f"https://{ISSUER}", ClientIDList=["sts.amazonaws.com"])
    deploy(
        emulator,
        infra / "bootstrap.yaml",
        "switchboard-bootstrap",
        OidcProviderArn=provider["OpenIDConnectProviderArn"],
    )
    for environment in ENVIRONMENTS:
        deploy(emulator, infra / "environment.yaml", f"switchboard-environment-{environment}", Environment=environment)


def deploy(emulator, template, stack, **parameters):
    """Deploys a template by the guide's command, as administrator."""
    parameters = {"GitHubRepository": REPOSITORY, **parameters}
    done = emulator.run(
        "aws",
        "cloudformation",
        "deploy",
        "--stack-name",
        stack,
        "--template-file",
        template,
        "--capabilities",
        "CAPABILITY_NAMED_IAM",
        "--parameter-overrides",
        *(f"{key}={value}" for key, value in parameters.items()),
    )
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)


def subjects(rest):
    """Returns the subjects of GitHub's tokens: with the ids, and of a repository from before July 2026."""
    owner, name = (part.partition("@")[0] for part in REPOSITORY.split("/"))
    return f"repo:{REPOSITORY}:{rest}", f"repo:{owner}/{name}:{rest}"


def assume(emulator, role, subject):
    """Returns the keys of a role for a workflow whose token has a subject. The emulator evaluates the role's trust, but
    verifies no signature."""
    encoded = lambda value: base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")
    claims = {"iss": f"https://{ISSUER}", "aud": "sts.amazonaws.com", "sub": subject}
    keys = emulator.client("sts").assume_role_with_web_identity(
        RoleArn=f"arn:aws:iam::{ACCOUNT}:role/{role}",
        RoleSessionName="rehearsal",
        WebIdentityToken=f"{encoded({'alg': 'RS256'})}.{encoded(claims)}.c2lnbmF0dXJl",
    )["Credentials"]
    return {
        "AWS_ACCESS_KEY_ID": keys["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": keys["SecretAccessKey"],
        "AWS_SESSION_TOKEN": keys["SessionToken"],
    }


class Images:
    """The images of the functions, built from debug binaries, and the archives in their place."""

    def __init__(self, emulator, binaries, folders, work):
        self.keys = assume(emulator, "switchboard-images", subjects("ref:refs/heads/main")[0])
        self.registry = emulator.client("ecr", self.keys)
        self.storage = emulator.client("s3")
        self.folders = folders
        self.binaries = {}
        self.archives = {}
        for folder in folders:
            # Symbols are most of a debug build.
            small = work / folder
            subprocess.run(["strip", "-s", "-o", small, binaries / folder], check=True)
            self.binaries[folder] = small

    def push(self, tag, changed=()):
        """Pushes all images as the role of the build. Those of `changed` differ from the ones of other tags.

        An image has no layers. Its manifest names the binary, so the digest follows the binary.
        """
        for folder in self.folders:
            binary = self.binaries[folder].read_bytes()
            content = hashlib.sha256(binary + (tag.encode() if folder in changed else b"")).hexdigest()
            kind = "application/vnd.oci.image."
            config = {"mediaType": f"{kind}config.v1+json", "digest": f"sha256:{content}", "size": 2}
            manifest = {"schemaVersion": 2, "mediaType": f"{kind}manifest.v1+json", "config": config, "layers": []}
            pushed = self.registry.put_image(
                repositoryName=f"switchboard/{folder}", imageTag=tag, imageManifest=json.dumps(manifest)
            )
            self.place(folder, pushed["image"]["imageId"]["imageDigest"], binary)

    def place(self, folder, digest, binary):
        """Puts the archive for the runtime `provided.al2023` where the twin expects the image of a digest."""
        key = twin.key(folder, digest)
        if key in self.archives.values():
            return
        if folder in self.archives:
            source = {"Bucket": BUCKET, "Key": self.archives[folder]}
            self.storage.copy_object(Bucket=BUCKET, Key=key, CopySource=source)
        else:
            file = io.BytesIO()
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
                info = zipfile.ZipInfo("bootstrap")
                info.external_attr = 0o755 << 16
                archive.writestr(info, binary)
            self.storage.put_object(Bucket=BUCKET, Key=key, Body=file.getvalue())
        self.archives.setdefault(folder, key)
