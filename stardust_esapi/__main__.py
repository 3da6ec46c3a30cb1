"""``python -m stardust_esapi``."""

from stardust_esapi.commands.program import main

if __name__ == "__main__":
    main()
