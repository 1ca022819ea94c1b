"""What is made before anything can be installed. Standard library, and Python 3.8's syntax."""
