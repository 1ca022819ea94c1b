"""What the verbs of `python -m helpers` do, inside the environment."""
