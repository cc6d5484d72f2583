"""`python -m bigtrain` is the `bigtrain` command."""

from bigtrain.cli import entry

if __name__ == "__main__":
    entry()
