"""``python -m procession``."""

import sys

from procession.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
