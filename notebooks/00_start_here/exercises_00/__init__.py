"""The exercises of lesson 00, one file each."""
