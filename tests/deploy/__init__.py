"""
What is needed to deploy the relay, tried as far as one machine allows: C{make check-deploy}.

Each C{check_*} module tries one part of C{etc/} with the tools that read it where it is deployed.  They are no part of C{make test}: they
want root, Debian or Ubuntu, and the packages that L{tests.deploy.tools} names.
"""
