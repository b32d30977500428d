"""The Ansible role: read by ansible-lint, and run on an empty machine, twice."""

from __future__ import annotations

import json
import re
from unittest import TestCase

from tests.deploy.check_install import files
from tests.deploy.machine import CHECKOUT, Machine
from tests.deploy.tools import ETC, ROOT, folder, run

ANSIBLE = ETC / "ansible"


class ReadTests(TestCase):
    def test_lint(self) -> None:
        """ansible-lint finds nothing, by the rules for production."""
        run("ansible-lint", "--offline", "--profile=production", "--strict", cwd=ANSIBLE, environ=self.environ())

    def test_syntax(self) -> None:
        """The example, inventory and all, can be read."""
        run("ansible-playbook", "--inventory=inventory.yml", "--syntax-check", "site.yml", cwd=ANSIBLE, environ=self.environ())

    def test_documented(self) -> None:
        """Each variable of the role is explained, and what is explained has the default that is said."""
        listed = run("ansible-doc", "--type=role", "--roles-path=roles", "--json", "socialrelay", cwd=ANSIBLE, environ=self.environ())
        options = json.loads(listed.stdout[listed.stdout.index("{") :])["socialrelay"]["entry_points"]["main"]["options"]
        defaults = (ANSIBLE / "roles/socialrelay/defaults/main.yml").read_text()
        for name in re.findall(r"^(socialrelay_\w+):", defaults, re.MULTILINE):
            self.assertTrue(options[name]["description"], name)
            if "default" in options[name]:
                self.assertRegex(defaults, rf"(?im)^{name}: {re.escape(json.dumps(options[name]['default']).strip(chr(34)))}$")
        used = set(re.findall(r"socialrelay_\w+", "".join(path.read_text() for path in ANSIBLE.rglob("tasks/*.yml"))))
        registered = set(re.findall(r"register: (\w+)", "".join(path.read_text() for path in ANSIBLE.rglob("tasks/*.yml"))))
        self.assertEqual(used - registered - set(options) - {"socialrelay_wanted"}, set())

    def environ(self) -> dict[str, str]:
        return {"HOME": str(folder(self)), "ANSIBLE_NOCOLOR": "1"}


class RunTests(TestCase):
    def test_run(self) -> None:
        """The role makes a relay behind nginx of an empty machine; run again it changes nothing, and with another option only what it must."""
        machine = Machine(files(), {"ANSIBLE_NOCOLOR": "1"})
        self.addCleanup(machine.stop)
        # What apt would look for has been there all the time, and nothing else can be looked for.
        machine.run("mkdir -p /var/lib/apt/periodic && touch /var/lib/apt/periodic/update-success-stamp")
        machine.run("python3 -m venv /srv/ansible && /srv/ansible/bin/pip install --quiet ansible-core", within=300)
        machine.run(
            "openssl req -x509 -newkey rsa:2048 -nodes -keyout /srv/key.pem -out /srv/chain.pem -days 2 -subj /CN=relay.example "
            "-addext subjectAltName=DNS:relay.example 2>&1 && echo 127.0.0.1 relay.example >> /etc/hosts"
        )
        variables = {
            "socialrelay_repository": CHECKOUT,
            "socialrelay_version": run("git", "rev-parse", "HEAD", cwd=ROOT).stdout.strip(),
            "socialrelay_nginx": True,
            "socialrelay_certificate": "/srv/chain.pem",
            "socialrelay_certificate_key": "/srv/key.pem",
            "socialrelay_operators": ["ada"],
            "socialrelay_config": {"operator": {"name": 'Ada "A." Lovelace'}, "polling": {"lists": []}},
        }
        machine.run("useradd ada")
        self.assertGreater(self.changed(self.play(machine, variables)), 0)
        ready = machine.run("curl --silent --fail --cacert /srv/chain.pem https://relay.example/health/ready").stdout
        self.assertIn("ready", ready)
        self.assertIn("ready", machine.run("runuser -u ada -- socialrelay --state-dir /var/lib/socialrelay status").stdout)
        self.assertEqual(self.changed(self.play(machine, variables)), 0)
        process = machine.run("systemctl show --property=MainPID --value socialrelay").stdout
        self.play(machine, {**variables, "socialrelay_config": {"operator": {"name": "Ada"}}})
        self.assertNotEqual(machine.run("systemctl show --property=MainPID --value socialrelay").stdout, process)
        self.assertIn("ready", machine.run("curl --silent --fail --cacert /srv/chain.pem https://relay.example/health/ready").stdout)

    def play(self, machine: Machine, variables: dict[str, object]) -> str:
        """Run the role on the machine itself."""
        playbook = [{"name": "Relay", "hosts": "all", "roles": [{"role": "socialrelay"}], "vars": variables}]
        machine.run("cat > /srv/play.yml", given=json.dumps(playbook))
        return machine.run(
            f"ANSIBLE_ROLES_PATH={CHECKOUT}/etc/ansible/roles /srv/ansible/bin/ansible-playbook "
            "--inventory relay.example, --connection local /srv/play.yml",
            within=400,
        ).stdout

    def changed(self, printed: str) -> int:
        """How many tasks changed something."""
        [recap] = re.findall(r"^relay\.example +: ok=\d+ +changed=(\d+) ", printed, re.MULTILINE)
        return int(recap)
