"""
C{docs/install.md}, line by line, on an empty machine; and what the units make of the relay there.

The steps of a class are one story: each begins where the one before has ended, in the order of their names.
"""

from __future__ import annotations

import json
import re
import shlex
from functools import cache
from pathlib import Path
from unittest import TestCase, TestResult

import trustme

from tests.deploy.machine import CHECKOUT, Machine, tree
from tests.deploy.tools import ROOT, eventually
from tests.envelopes import Author

HOST = "relay.example"
NODE = "pod.example"
ALICE = Author("alice@author.example")
CERTIFICATE = f"/etc/letsencrypt/live/{HOST}"

REPLACED = {
    r"certbot certonly .*": f"install -D -m 600 -t {CERTIFICATE} /srv/certificate/*.pem",
    r"socialrelay doctor": "socialrelay doctor || true",
}
"""Lines of the document that are others here: there is no internet."""

_HEADING = re.compile(r"^## (.*)$", re.MULTILINE)
_BOX = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NODE = f"""
server {{
    listen 443 ssl;
    server_name {NODE};
    ssl_certificate {CERTIFICATE}/fullchain.pem;
    ssl_certificate_key {CERTIFICATE}/privkey.pem;
    default_type application/json;
    location = /.well-known/x-social-relay {{ return 200 '{{"subscribe": true, "scope": "all", "tags": []}}'; }}
    location = /receive/public {{ return 202; }}
}}
"""
_ASK_MEANWHILE = """
import json, ssl, sys, threading, time, urllib.request
context = ssl.create_default_context()
answers, over = [], threading.Event()
def ask():
    while not over.is_set():
        try:
            answers.append(urllib.request.urlopen("https://relay.example/health/live", context=context, timeout=60).status)
        except Exception as error:
            answers.append(repr(error))
        time.sleep(0.01)
threads = [threading.Thread(target=ask) for _ in range(4)]
[each.start() for each in threads]
import subprocess
subprocess.run(["systemctl", "restart", "socialrelay.service"], check=True)
time.sleep(0.5)
over.set()
[each.join() for each in threads]
print(json.dumps([len(answers), [each for each in answers if each != 200]]))
"""


@cache
def sections() -> dict[str, str]:
    """By heading, what is to be typed there, with what is replaced."""
    text = (ROOT / "docs" / "install.md").read_text("utf-8")
    parts = _HEADING.split(text)
    scripts = {title: "".join(_BOX.findall(body)) for title, body in zip(parts[1::2], parts[2::2], strict=True)}
    whole = "\n".join(scripts.values())
    for pattern in REPLACED:
        assert re.search(f"^{pattern}$", whole, re.MULTILINE), f"no line of docs/install.md is {pattern!r} any more"
    for title, script in scripts.items():
        for pattern, line in REPLACED.items():
            script = re.sub(f"^{pattern}$", line, script, flags=re.MULTILINE)  # noqa: PLW2901
        scripts[title] = script
    return {title: script for title, script in scripts.items() if script}


def wanted() -> tuple[str, ...]:
    """The packages of Debian that the document installs."""
    lines = re.findall(r"^apt-get install (.*)$", "".join(sections().values()), re.MULTILINE)
    return tuple(word for line in lines for word in line.split() if not word.startswith("-"))


def files() -> Path:
    """The machine's, before anything is typed."""
    return tree((*wanted(), "logrotate", "python3-apt"), (f"ansible-core --constraint {CHECKOUT}/requirements/deploy.txt",))


class Site:
    """The machine of an operator who follows the document, and what she has typed before."""

    def __init__(self) -> None:
        self.machine = Machine(files())
        authority = trustme.CA()
        issued = authority.issue_cert(HOST, NODE)
        self.put("/usr/local/share/ca-certificates/authority.crt", authority.cert_pem.bytes().decode())
        self.put("/srv/certificate/fullchain.pem", "".join(each.bytes().decode() for each in issued.cert_chain_pems))
        self.put("/srv/certificate/privkey.pem", issued.private_key_pem.bytes().decode())
        self.put("/root/.gitconfig", f'[url "{CHECKOUT}"]\n    insteadOf = https://code.example/socialrelay\n')
        self.run(f"update-ca-certificates && echo 127.0.0.1 {HOST} {NODE} >> /etc/hosts")
        self._place = "/root"
        self._said = sections()["Before you begin"]

    def put(self, path: str, text: str, mode: str = "644") -> None:
        """Write a file."""
        self.machine.run(f"install -D -m {mode} /dev/stdin {shlex.quote(path)}", given=text)

    def run(self, script: str, *, check: bool = True, given: str = "") -> str:
        """Run a script; what it prints."""
        return self.machine.run(script, check=check, given=given).stdout

    def follow(self, title: str) -> str:
        """Type what a section of the document says; what is printed."""
        script = f"set -e\ncd {self._place}\n{self._said}\nexec 2>&1\n{sections()[title]}\npwd > /tmp/place\n"
        printed = self.machine.run(script, shell="/bin/bash").stdout
        self._place = self.machine.run("cat /tmp/place").stdout.strip()
        return printed

    def json(self, command: str) -> dict[str, object]:
        """What a command of the relay says."""
        answer: dict[str, object] = json.loads(self.run(f"socialrelay {command} --json"))
        return answer

    def get(self, path: str, *options: str) -> tuple[int, str]:
        """Status and body, over https from the machine itself."""
        printed = self.run(f"curl --silent --write-out '\\n%{{http_code}}' {' '.join(options)} https://{HOST}{path}")
        body, _, status = printed.rpartition("\n")
        return int(status), body

    def property(self, name: str) -> str:
        """One of the service's."""
        return self.run(f"systemctl show --property={name} --value socialrelay.service").strip()

    def status_of(self, pid: str) -> dict[str, str]:
        """The kernel's word on a process."""
        return dict(line.split(":\t", 1) for line in self.run(f"cat /proc/{pid}/status").splitlines() if ":\t" in line)

    def ready(self) -> bool:
        """Whether the relay takes posts."""
        return '"ready"' in self.run(f"curl --silent https://{HOST}/health/ready", check=False).replace("'", '"')

    def drop_in(self, name: str, text: str, unit: str = "socialrelay.service") -> None:
        """An operator's own choice for a unit."""
        self.put(f"/etc/systemd/system/{unit}.d/{name}.conf", text)
        self.run("systemctl daemon-reload")


_sites: list[Site] = []


def site() -> Site:
    """The one machine of the story."""
    if not _sites:
        _sites.append(Site())
    return _sites[0]


class FollowedTests(TestCase):
    maxDiff = None
    _broken = ""

    def run(self, result: TestResult | None = None) -> TestResult | None:
        """As every test, but that no step is tried after one that failed."""
        done = super().run(result)
        if done is not None and any(test is self for test, _ in (*done.failures, *done.errors)):
            FollowedTests._broken = FollowedTests._broken or self.id().rpartition(".")[2]
        return done

    def setUp(self) -> None:
        if self._broken:
            self.fail(f"{self._broken} failed before")
        self.site = site()

    def test_01_install(self) -> None:
        """From the first line to the first look: each line succeeds, and the relay is ready behind nginx with TLS."""
        for title in ("Install", "Configure", "Start", "Certificate", "nginx"):
            self.site.follow(title)
        seen = self.site.follow("First look")
        self.assertRegex(seen, r'"status": ?"ready"')
        self.assertIn(f"acct:relay@{HOST}", seen)
        self.assertIn("HTTP/1.1 400", seen)
        self.assertIn("HTTP/1.1 404", seen)
        self.assertEqual(self.site.property("ActiveState"), "active")

    def test_02_units(self) -> None:
        """The units as installed are understood whole, and the service is exposed by 2 of 10 at most."""
        self.assertEqual(self.site.run("systemd-analyze verify --man=no /etc/systemd/system/socialrelay.*[et]"), "")
        rated = self.site.run("systemd-analyze security --no-pager --threshold=20 socialrelay.service")
        self.assertIn("Overall exposure level", rated)

    def test_03_post(self) -> None:
        """A post that comes in over https is acknowledged."""
        self.site.put("/srv/post.xml", ALICE.post("Hello #cats").decode())
        status, _ = self.site.get(
            "/receive/public", "--data-binary @/srv/post.xml", "--header 'Content-Type: application/magic-envelope+xml'"
        )
        self.assertEqual(status, 202)

    def test_04_operators_site(self) -> None:
        """The operators' pages and the metrics are at their socket for root, and nowhere for the web server and the public."""
        for path in ("/admin/", "/admin/login", "/metrics", "/bus/v1/messages"):
            self.assertEqual(self.site.get(path)[0], 404, path)
        socket = "curl --silent --fail --unix-socket /run/socialrelay/admin.sock http://relay"
        self.assertIn("socialrelay_", self.site.run(f"{socket}/metrics"))
        self.assertIn("<html", self.site.run(f"{socket}/admin/login"))
        refused = self.site.machine.run(f"runuser -u www-data -- {socket}/metrics", check=False)
        self.assertEqual(refused.returncode, 7, refused.stdout)
        self.assertIn("/run/socialrelay/admin.sock", self.site.follow("The operators' site"))

    def test_05_live(self) -> None:
        """Events come through nginx at once, not when a page full of them is there."""
        printed = self.site.run(f"curl --silent --no-buffer --include --max-time 8 https://{HOST}/live", check=False)
        self.assertIn("text/event-stream", printed)
        self.assertRegex(printed, r"(?m)^data: ")

    def test_06_hardening(self) -> None:
        """The kernel holds the relay and its PostgreSQL and Valkey to what the unit says."""
        main = self.site.property("MainPID")
        children = self.site.run(f"pgrep --parent {main}").split()
        names = {self.site.status_of(pid)["Name"] for pid in children}
        self.assertEqual(names, {"postgres", "valkey-server"})
        for pid in (main, *children):
            status = self.site.status_of(pid)
            self.assertEqual((status["Seccomp"], status["NoNewPrivs"], int(status["CapBnd"], 16)), ("2", "1", 0), status["Name"])
        self.assertEqual(self.site.run("stat -c '%U %a' /var/lib/socialrelay/identity.pem").split(), ["socialrelay", "600"])
        self.assertEqual(self.site.run("stat -c '%U %G %a' /etc/socialrelay.toml").split(), ["root", "socialrelay", "640"])

    def test_07_way_of_a_post(self) -> None:
        """Under all of that a node is polled, and a post is verified and delivered to it, over TLS."""
        self.site.put("/etc/nginx/sites-enabled/node", _NODE)
        self.site.put(f"/etc/socialrelay-keys/{ALICE.handle}.pem", ALICE.pem)
        self.site.drop_in(
            "check",
            '[Service]\nEnvironment="SOCIALRELAY_NETWORK__ALLOW_ADDRESSES=127.0.0.0/8"\n'
            "Environment=SOCIALRELAY_NETWORK__AUTHOR_KEYS=/etc/socialrelay-keys\n",
        )
        self.site.run("systemctl reload nginx && systemctl restart socialrelay.service")
        self.site.run(f"socialrelay poll {NODE}")
        self.site.put("/srv/post.xml", ALICE.post("Hello #dogs").decode())
        self.site.get("/receive/public", "--data-binary @/srv/post.xml", "--header 'Content-Type: application/magic-envelope+xml'")
        journal = "journalctl --unit socialrelay --no-pager"
        eventually(lambda: self._delivered() > 0, "a delivery")
        self.assertNotIn("Traceback", self.site.run(journal))
        self.assertNotIn("MemoryError", self.site.run(journal))
        self.assertNotIn("Operation not permitted", self.site.run(journal))

    def _delivered(self) -> int:
        return int(re.search(r'"delivered": (\d+)', self.site.run(f"socialrelay node {NODE} --json"))[1])  # type: ignore[index]

    def test_08_restart(self) -> None:
        """While the relay restarts, requests wait: none is refused."""
        asked, failed = json.loads(self.site.run("python3 -", given=_ASK_MEANWHILE).splitlines()[-1])
        self.assertEqual(failed, [])
        self.assertGreater(asked, 0)

    def test_09_reload(self) -> None:
        """A reload takes the same configuration again without a restart."""
        before = self.site.property("MainPID")
        self.site.run("systemctl reload socialrelay.service")
        self.assertTrue(self.site.ready())
        self.assertEqual(self.site.property("MainPID"), before)

    def test_10_hangs(self) -> None:
        """A relay whose main loop hangs is ended and started again."""
        self.site.drop_in("watchdog", "[Service]\nWatchdogSec=3\nTimeoutAbortSec=1\nRestartSec=1\n")
        self.site.run("systemctl restart socialrelay.service")
        before = self.site.property("MainPID")
        self.site.run(f"kill -STOP {before}")
        eventually(lambda: self.site.property("MainPID") not in ("0", before) and self.site.ready(), "another relay")
        self.assertEqual(self.site.property("NRestarts"), "1")

    def test_11_backup(self) -> None:
        """The backup is written while the relay runs, for root's eyes alone."""
        self.site.follow("First backup")
        self.assertEqual(self.site.run("stat -c %a /root/relay-backup").strip(), "600")

    def test_12_log_file(self) -> None:
        """With the drop-in the log is in a file, which logrotate turns."""
        self.site.run(f"cp {CHECKOUT}/etc/systemd/socialrelay.service.d/logfile.conf /etc/systemd/system/socialrelay.service.d/")
        self.site.run("systemctl daemon-reload && systemctl restart socialrelay.service")
        self.site.run(f"cp {CHECKOUT}/etc/logrotate/socialrelay /etc/logrotate.d/")
        self.site.run("logrotate --force /etc/logrotate.d/socialrelay")
        self.assertIn("is ready", self.site.run("cat /var/log/socialrelay/relay.log.1"))
        self.site.run("systemctl stop socialrelay.socket socialrelay.service")
        self.assertIn("Stopping.", self.site.run("cat /var/log/socialrelay/relay.log"))
        self.assertEqual(self.site.run("stat -c '%U' /var/log/socialrelay/relay.log").strip(), "socialrelay")
        self.site.run("rm /etc/systemd/system/socialrelay.service.d/logfile.conf && systemctl daemon-reload")

    def test_13_secrets(self) -> None:
        """With the drop-in a secret comes from a file that root alone can read."""
        hashed = self.site.run("socialrelay password | cut -d '\"' -f 2", given="a long pass phrase\n")
        self.site.put("/etc/socialrelay.admin", hashed, "600")
        secrets = (ROOT / "etc/systemd/socialrelay.service.d/secrets.conf").read_text()
        self.site.drop_in("secrets", "".join(line for line in secrets.splitlines(keepends=True) if "dsn" not in line.lower()))
        self.site.run("systemctl start socialrelay.socket socialrelay.service")
        environment = self.site.run(f"tr '\\0' '\\n' < /proc/{self.site.property('MainPID')}/environ")
        self.assertIn("SOCIALRELAY_ADMIN__PASSWORD_FILE=/run/credentials/", environment)
        self.assertNotIn("$argon2id$", environment)

    def test_14_unix_socket(self) -> None:
        """With the drop-in nginx reaches the relay over a UNIX socket, and other users do not."""
        socket = "/run/socialrelay-web/relay.sock"
        self.site.run("systemctl disable --now socialrelay.socket; systemctl stop socialrelay.service")
        self.site.run(f"install -D -t /etc/systemd/system/socialrelay.service.d {CHECKOUT}/etc/systemd/socialrelay.service.d/unix.conf")
        self.site.run(f"sed -i 's,^listen.*,listen = [\"unix:{socket}:mode=660\"],' /etc/socialrelay.toml")
        nginx = "/etc/nginx/sites-available/socialrelay"
        self.site.run(f"sed -i 's/^    server 127.0.0.1:8080;//; s/#server unix/server unix/' {nginx} && nginx -t")
        self.site.run("systemctl daemon-reload && systemctl start socialrelay.service && systemctl restart nginx")
        self.assertTrue(self.site.ready())
        self.assertEqual(self.site.run(f"stat -c '%U %G %a' {socket}").split(), ["socialrelay", "www-data", "660"])
        stranger = self.site.machine.run(f"runuser -u nobody -- curl --silent --unix-socket {socket} http://relay/health/live", check=False)
        self.assertEqual(stranger.returncode, 7)

    def test_15_bus(self) -> None:
        """Under the unit the bus works over its ports for every user, and with the drop-in over sockets for those of one group."""
        self.site.run("groupadd --system scripts && useradd --groups scripts ada && useradd eve")
        self.site.put("/etc/fedmsg.d/socialrelay.py", (ROOT / "etc/fedmsg.d/socialrelay.py").read_text())
        self.site.run("printf '[bus]\\nenabled = true\\n' >> /etc/socialrelay.toml && systemctl restart socialrelay.service")
        self.assertEqual(self._emitted("eve"), 0)
        self.site.run(f"install -D -t /etc/systemd/system/socialrelay.service.d {CHECKOUT}/etc/systemd/socialrelay.service.d/bus.conf")
        for name in ("inbound", "ingest", "outbound"):
            address = f'relay_{name} = ["ipc:///run/socialrelay-bus/{name}"]'
            self.site.run(f"echo '{address}' >> /etc/socialrelay.toml")
            found = f"""s,"relay_{name}": .*,"relay_{name}": ["ipc:///run/socialrelay-bus/{name}"]\\,,"""
            self.site.run(f"sed -i '{found}' /etc/fedmsg.d/socialrelay.py")
        self.site.run("systemctl daemon-reload && systemctl restart socialrelay.service")
        self.assertEqual((self._emitted("ada"), self._emitted("eve")), (0, 3))

    def _emitted(self, user: str) -> int:
        """How `socialrelay emit` ends for a user."""
        script = f"runuser -u {user} -- socialrelay emit --topic check --message hello --timeout 3"
        return self.site.machine.run(script, check=False).returncode

    def test_16_upgrade(self) -> None:
        """The upgrade's lines succeed, and the relay is who it was."""
        before = self.site.json("identity")
        self.site.follow("Upgrade")
        self.assertTrue(self.site.ready())
        self.assertEqual(self.site.json("identity"), before)

    def test_17_removal(self) -> None:
        """Nothing is left but what belongs to others."""
        self.site.follow("Removal")
        left = self.site.run("find / -xdev -name '*socialrelay*' -not -path '/proc/*' -not -path '/srv/*'", check=False).split()
        own = (
            "/etc/systemd/system/socialrelay.",
            "/etc/logrotate.d/",
            "/etc/fedmsg.d/",
            "/etc/socialrelay",
            "/var/log/socialrelay",
            "/root/",
            "/tmp/",
            "/var/tmp/",
        )
        self.assertEqual([path for path in left if not path.startswith(own)], [])
        self.assertEqual(self.site.run("pgrep --list-full --uid socialrelay", check=False).count("postgres"), 0)
        self.assertIn("no such user", self.site.run("id socialrelay", check=False))
