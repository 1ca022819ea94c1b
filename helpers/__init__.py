"""The course's helper module: `from helpers import lab, show, shop, check, sessions`."""
