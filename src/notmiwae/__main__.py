"""``python -m notmiwae`` is the command line."""

import sys

from notmiwae.cli import main

if __name__ == "__main__":
    sys.exit(main())
