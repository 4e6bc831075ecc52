"""The front door: `python launch.py --space resnet.yaml`."""

from tuner.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
