"""
The relay behind nginx, Apache and Caddy: each with its site from C{etc/}, over TLS on loopback, with other ports and paths.
"""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import ssl
import subprocess
from atexit import register
from collections.abc import Mapping
from functools import cache
from tempfile import TemporaryFile
from typing import Any
from unittest import TestCase

import trustme
from argon2 import PasswordHasher

from tests.daemon import ENVELOPE, Daemon
from tests.deploy.tools import ETC, eventually, folder, found, free_port, replaced, run
from tests.envelopes import Author
from tests.servers import take_away

HOST, ADMIN = "relay.example", "admin.relay.example"
PASSWORD = "correct horse battery"
ALICE = Author("alice@author.example")
FRIEND, STRANGER = "127.0.0.2", "127.0.0.3"
"""Clients: the first is one of those who may come to the operators' site."""

_CONFIGURATION = """
admin_listen = ["tcp:{admin}:interface=127.0.0.1"]
[receive]
trusted_proxies = ["127.0.0.1"]
[dashboard]
streams_per_address = 1
[admin]
user_header = "X-Remote-User"
password = "{password}"
[network]
author_keys = "{keys}"
"""
_NGINX = """
daemon off;
pid {folder}/pid;
error_log {folder}/log;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/sites/*;
}}
"""
_APACHE = """
ServerName localhost
PidFile {folder}/pid
ErrorLog {folder}/log
DefaultRuntimeDir {folder}
User www-data
Group www-data
{modules}
Listen 127.0.0.1:{port}
Listen 127.0.0.1:{plain}
IncludeOptional {folder}/sites/*
"""
_APACHE_MODULES = ("mpm_event", "authz_core", "authz_host", "authn_core", "alias", "headers", "proxy", "proxy_http", "socache_shmcb", "ssl")
_CADDY = """
{{
	admin off
	auto_https disable_redirects
}}
import {folder}/sites/*
"""


class Relay:
    """The relay behind all of them, with an author whose key it has."""

    def __init__(self) -> None:
        self.port, self.admin = str(free_port()), str(free_port())
        self._daemon = Daemon(None, listen=(f"tcp:{self.port}:interface=127.0.0.1",))
        keys = self._daemon.folder / "keys"
        keys.mkdir()
        (keys / f"{ALICE.handle}.pem").write_text(ALICE.pem)
        self._daemon.configuration = _CONFIGURATION.format(keys=keys, admin=self.admin, password=PasswordHasher().hash(PASSWORD))
        self.socket = str(self._daemon.folder / "web")
        register(self.stop)
        self._daemon.launch()
        eventually(self._ready, f"The relay is ready\n{self._daemon.log[-2000:]}")

    def _ready(self) -> bool:
        process = self._daemon.process
        if process is not None and process.poll() is not None:
            raise AssertionError(self._daemon.log[-3000:])
        try:
            connection = http.client.HTTPConnection("127.0.0.1", int(self.port), timeout=5)
            connection.request("GET", "/health/ready")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def accepted(self, guid: str) -> bool:
        """Whether a post is in the log."""
        return f"Accepted {guid}" in self._daemon.log

    def stop(self) -> None:
        """End it."""
        process, self._daemon.process = self._daemon.process, None
        if process is not None:
            process.terminate()
            process.wait(60)
            take_away(self._daemon.folder, self._daemon.state)


@cache
def relay() -> Relay:
    """The one of this run."""
    return Relay()


@cache
def authority() -> trustme.CA:
    """Whose certificates clients trust."""
    return trustme.CA()


class Case:
    """
    What every proxy does; mixed into a test case for each, and for each way from it to the relay.

    @ivar over_socket: the relay is reached over a UNIX socket.
    """

    over_socket = False

    def setUp(self) -> None:
        self.relay = relay()
        self.folder = folder(self)  # type: ignore[arg-type]
        self.port, self.plain = str(free_port()), str(free_port())
        issued = authority().issue_cert(HOST, ADMIN)
        self.chain, self.key = self.folder / "chain.pem", self.folder / "key.pem"
        self.chain.write_bytes(b"".join(each.bytes() for each in issued.cert_chain_pems))
        self.key.write_bytes(issued.private_key_pem.bytes())
        (self.folder / "sites").mkdir()
        self.prepare()
        self.start()

    def start(self) -> None:
        with TemporaryFile() as log:
            environment = {**os.environ, "XDG_DATA_HOME": str(self.folder), "XDG_CONFIG_HOME": str(self.folder), "HOME": str(self.folder)}
            process = subprocess.Popen(self.command(), stdout=log, stderr=log, env=environment)
            self.addCleanup(process.wait, 30)
            self.addCleanup(process.send_signal, signal.SIGTERM)
            eventually(lambda: self._listens(process, log), "The proxy listens")

    def _listens(self, process: subprocess.Popen[bytes], log: Any) -> bool:
        if process.poll() is not None:
            log.seek(0)
            raise AssertionError(log.read().decode())
        try:
            socket.create_connection(("127.0.0.1", int(self.port))).close()
        except OSError:
            return False
        return True

    def site(self, name: str, text: str, replacements: Mapping[str, str]) -> None:
        (self.folder / "sites" / name).write_text(replaced(text, replacements))

    @property
    def certificate(self) -> dict[str, str]:
        """The paths of the sites, and those here."""
        live = f"/etc/letsencrypt/live/{HOST}"
        return {f"{live}/fullchain.pem": str(self.chain), f"{live}/privkey.pem": str(self.key)}

    @property
    def admin_certificate(self) -> dict[str, str]:
        return {path.replace(HOST, ADMIN): here for path, here in self.certificate.items()}

    # Each has these

    def prepare(self) -> None:
        """Write its configuration, and see that it finds no fault with it."""
        raise NotImplementedError

    def command(self) -> list[str]:
        raise NotImplementedError

    # What a client does

    def connect(self, client: str = FRIEND, host: str = HOST) -> http.client.HTTPConnection:
        context = ssl.create_default_context()
        authority().configure_trust(context)
        connection = http.client.HTTPConnection(host, timeout=30)
        raw = socket.create_connection(("127.0.0.1", int(self.port)), 30, source_address=(client, 0))
        connection.sock = context.wrap_socket(raw, server_hostname=host)
        self.addCleanup(connection.close)
        return connection

    def ask(self, method: str, path: str, body: bytes | None = None, **options: Any) -> http.client.HTTPResponse:
        headers = options.pop("headers", {})
        connection = self.connect(**options)
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        self.addCleanup(response.close)
        return response

    def status(self, path: str, **options: Any) -> int:
        return self.ask("GET", path, **options).status

    def live(self, client: str, forwarded: str = "") -> http.client.HTTPResponse:
        """Open the stream of events."""
        return self.ask("GET", "/live", client=client, headers={"X-Forwarded-For": forwarded} if forwarded else {})

    # What is so of each

    def test_post(self) -> None:
        """A post comes through, whole: it verifies."""
        guid = os.urandom(16).hex()
        answer = self.ask("POST", "/receive/public", ALICE.post("Hello #cats", guid=guid), headers={"Content-Type": ENVELOPE})
        self.assertEqual(answer.status, 202)
        eventually(lambda: self.relay.accepted(guid), "The post is accepted")

    def test_pages(self) -> None:
        """The first page, the identity, and health are served under the relay's name, without a redirect."""
        for path in ("/", "/.well-known/host-meta", "/health/ready"):
            self.assertEqual(self.status(path), 200, path)

    def test_limits(self) -> None:
        """A post may be as large as the relay says, and one that is larger is answered as such."""
        small = self.ask("POST", "/receive/public", b"x" * 1_048_576, headers={"Content-Type": ENVELOPE})
        self.assertEqual(small.status, 400)
        large = self.ask("POST", "/receive/public", b"x" * 1_100_000, headers={"Content-Type": ENVELOPE})
        self.assertEqual(large.status, 413)

    def test_operators_are_elsewhere(self) -> None:
        """What is the operators' is not there, however it is spelt."""
        for path in (
            "/admin",
            "/admin/",
            "/admin/login",
            "/metrics",
            "/bus/v1/messages",
            "//admin/",
            "/%61dmin/",
            "/x/../metrics",
            "/Metrics",
        ):
            self.assertEqual(self.status(path), 404, path)

    def test_live(self) -> None:
        """Events are passed on as they come."""
        stream = self.live(FRIEND)
        self.assertEqual(stream.getheader("Content-Type", "").partition(";")[0], "text/event-stream")
        while not (line := stream.readline()).startswith(b"data:"):
            self.assertNotEqual(line, b"", "the stream ended before its first event")

    def test_client(self) -> None:
        """The relay sees who the client is, and not what it says that it is: one who has a stream gets no second one, another does."""
        first = self.live(FRIEND)
        self.assertEqual(first.status, 200)
        self.assertNotEqual(self.live(FRIEND, forwarded="203.0.113.9").status, 200)
        self.assertEqual(self.live(STRANGER).status, 200)

    def test_operators(self) -> None:
        """Under a name of their own operators get in from their networks, others do not, and nobody says himself who he is."""
        self.assertEqual(self.status("/admin/login", client=FRIEND, host=ADMIN), 200)
        self.assertEqual(self.status("/admin/login", client=STRANGER, host=ADMIN), 403)
        claimed = self.ask("GET", "/admin/", client=FRIEND, host=ADMIN, headers={"X-Remote-User": "eve"})
        self.assertIn(claimed.status, (302, 303))
        self.assertIn("/admin/login", claimed.getheader("Location", ""))

    def test_cookie(self) -> None:
        """The cookie of who logs in there is for https alone, whatever the client says that it came by."""
        headers = {"Content-Type": "application/x-www-form-urlencoded", "X-Forwarded-Proto": "http"}
        body = f"password={PASSWORD.replace(' ', '+')}".encode()
        answer = self.ask("POST", "/admin/login", body, client=FRIEND, host=ADMIN, headers=headers)
        self.assertEqual(answer.status, 303)
        self.assertRegex(answer.getheader("Set-Cookie", ""), r"\A__Host-[^;]+; Path=/; HttpOnly; SameSite=Strict; Secure\Z")


class NginxTests(Case, TestCase):
    """nginx, over TCP."""

    def prepare(self) -> None:
        ports = {"listen 443 ssl;": f"listen 127.0.0.1:{self.port} ssl;", "    listen [::]:443 ssl;\n": ""}
        site = {**self.certificate, **ports, "listen 80;": f"listen 127.0.0.1:{self.plain};", "    listen [::]:80;\n": ""}
        if self.over_socket:
            site |= {"server 127.0.0.1:8080;": "", "#server unix:/run/socialrelay-web/relay.sock;": f"server unix:{self.relay.socket};"}
        else:
            site |= {"127.0.0.1:8080": f"127.0.0.1:{self.relay.port}"}
        self.site("public", (ETC / "nginx/socialrelay.conf").read_text(), site)
        admin = {
            **self.admin_certificate,
            **ports,
            "127.0.0.1:8081": f"127.0.0.1:{self.relay.admin}",
            "allow 127.0.0.1;": f"allow {FRIEND};",
        }
        self.site("admin", (ETC / "nginx/socialrelay-admin.conf").read_text(), admin)
        (self.folder / "nginx.conf").write_text(_NGINX.format(folder=self.folder))
        said = run(*self.command(), "-t").stdout
        self.assertNotIn("[warn]", said)

    def command(self) -> list[str]:
        return [found("nginx"), "-p", str(self.folder), "-e", str(self.folder / "log"), "-c", str(self.folder / "nginx.conf")]


class NginxSocketTests(NginxTests):
    """nginx, over a UNIX socket."""

    over_socket = True


class ApacheTests(Case, TestCase):
    """Apache, over TCP."""

    def prepare(self) -> None:
        ports = {"*:443": f"127.0.0.1:{self.port}"}
        site = {**self.certificate, **ports, "*:80": f"127.0.0.1:{self.plain}"}
        text = (ETC / "apache/socialrelay.conf").read_text()
        if self.over_socket:
            text = re.sub(r"(?m)^    ProxyPass /.* http://127\.0\.0\.1:8080.*\n", "", text)
            site |= {"#ProxyPass": "ProxyPass", "/run/socialrelay-web/relay.sock": self.relay.socket}
        else:
            site |= {"127.0.0.1:8080": f"127.0.0.1:{self.relay.port}"}
        self.site("public", text, site)
        admin = {**self.admin_certificate, **ports, "127.0.0.1:8081": f"127.0.0.1:{self.relay.admin}", "ip 127.0.0.1 ": f"ip {FRIEND} "}
        self.site("admin", (ETC / "apache/socialrelay-admin.conf").read_text(), admin)
        modules = "\n".join(f"LoadModule {each}_module /usr/lib/apache2/modules/mod_{each}.so" for each in _APACHE_MODULES)
        text = _APACHE.format(folder=self.folder, modules=modules, port=self.port, plain=self.plain)
        (self.folder / "apache.conf").write_text(text)
        self.assertEqual(run(*self.command(), "-t").stdout.strip(), "Syntax OK")

    def command(self) -> list[str]:
        return [found("apache2"), "-D", "FOREGROUND", "-d", str(self.folder), "-f", str(self.folder / "apache.conf")]


class ApacheSocketTests(ApacheTests):
    """Apache, over a UNIX socket."""

    over_socket = True


class CaddyTests(Case, TestCase):
    """Caddy, over TCP."""

    def prepare(self) -> None:
        here = f":{self.port} {{\n\tbind 127.0.0.1\n\ttls {self.chain} {self.key}"
        public, admin = re.split(r"(?m)^# The operators' site under a name of its own", (ETC / "caddy/Caddyfile").read_text())
        upstream = f"unix/{self.relay.socket}" if self.over_socket else f"127.0.0.1:{self.relay.port}"
        self.site("public", public, {f"\n{HOST} {{": f"\n{HOST}{here}", "reverse_proxy 127.0.0.1:8080": f"reverse_proxy {upstream}"})
        commented = "\n".join(line[1:] for line in admin.splitlines() if re.match(r"#(\t|[a-z}])", line))
        addresses = {"127.0.0.1:8081": f"127.0.0.1:{self.relay.admin}", "remote_ip 127.0.0.1": f"remote_ip {FRIEND}"}
        self.site("admin", commented, {f"{ADMIN} {{": f"{ADMIN}{here}", **addresses})
        (self.folder / "Caddyfile").write_text(_CADDY.format(folder=self.folder))
        said = run("caddy", "validate", "--adapter", "caddyfile", "--config", self.folder / "Caddyfile").stdout
        self.assertIn("Valid configuration", said)

    def command(self) -> list[str]:
        return [found("caddy"), "run", "--adapter", "caddyfile", "--config", str(self.folder / "Caddyfile")]


class CaddySocketTests(CaddyTests):
    """Caddy, over a UNIX socket."""

    over_socket = True
