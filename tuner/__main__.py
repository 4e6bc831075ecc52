"""The front door of the installed package: `python -m tuner --space FILE`."""

from tuner.cli import main

raise SystemExit(main())
