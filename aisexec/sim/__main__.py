"""python -m aisexec.sim"""

import sys

from aisexec.sim.main import main

if __name__ == "__main__":
    sys.exit(main())
