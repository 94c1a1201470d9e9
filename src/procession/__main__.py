"""``python -m procession``."""

from procession.cli.main import command

if __name__ == "__main__":
    command()
