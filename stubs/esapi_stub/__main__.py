"""``python -m esapi_stub``."""

from esapi_stub.cli import main

if __name__ == "__main__":
    main()
