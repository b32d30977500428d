"""C{python -m socialrelay} is C{socialrelay}."""

from socialrelay.cli.command import main

if __name__ == "__main__":
    main()
