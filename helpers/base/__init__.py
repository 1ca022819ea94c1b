"""What everything stands on: paths, errors, files, processes, and how a supervisor is found."""
