"""`python -m core.train`: the same as `python -m core train`."""

import sys

from core.train.cli import main

sys.exit(main(sys.argv[1:]))
