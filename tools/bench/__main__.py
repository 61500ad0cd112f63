"""`python -m tools.bench`, for a checkout that is not installed."""

import sys

from .command import main

sys.exit(main())
