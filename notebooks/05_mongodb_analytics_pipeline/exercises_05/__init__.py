"""The exercises of lesson 05, one file each."""
