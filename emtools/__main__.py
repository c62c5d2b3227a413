"""``python -m emtools``: the command line, where the script is not on the path."""

from emtools.cli import entry

if __name__ == "__main__":
    entry()
