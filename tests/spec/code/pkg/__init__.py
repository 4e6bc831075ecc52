from .inner import train
from .inner import train as fit

__all__ = ["fit", "train"]
