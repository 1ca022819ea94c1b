"""What the make verbs do."""
