"""The exercises of lesson 01, one file each."""
