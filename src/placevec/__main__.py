"""``python -m placevec`` is ``placevec``."""

from placevec.cli.main import main

if __name__ == "__main__":
    main()
