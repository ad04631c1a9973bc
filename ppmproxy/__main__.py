"""`python -m ppmproxy`: the same as the command `ppmproxy`."""

from __future__ import annotations

import sys

from ppmproxy.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
