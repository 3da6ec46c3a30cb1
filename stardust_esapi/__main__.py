"""``python -m stardust_esapi``."""

from stardust_esapi.cli import main

if __name__ == "__main__":
    main()
