"""`python -m mast` is `mast`."""

import sys

from mast.cli import main

sys.exit(main())
