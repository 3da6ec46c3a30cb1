r"""The command line, with the packages of the site folder beside this file and nothing else.

Run it by ``python\python.exe -I -S -B stardust-esapi.py …`` (``py -3.12`` where there is no folder
``python``): isolated, without site-packages, leaving no compiled files behind.
"""

import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).absolute().parent / "site"))

from stardust_esapi.commands.program import main  # noqa: E402 - found in the site folder only

if __name__ == "__main__":
    main()
