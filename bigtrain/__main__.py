"""`python -m bigtrain`: the same as the `bigtrain` command."""

import sys

from bigtrain.cli import main

sys.exit(main())
