"""Create the lab's user in a new SecantusDB data folder.

Usage: python mongodb_user.py USER PASSWORD_FILE FOLDER

SecantusDB's manual creates the first user through a server that runs without authentication.
This writes the same record straight into the storage, so that no open server ever listens.
"""

import sys
from pathlib import Path

from secantus.auth import derive_credentials
from secantus.storage import Storage

if __name__ == "__main__":
    user, password_file, folder = sys.argv[1:]
    password = Path(password_file).read_text(encoding="utf-8").strip()
    mechanism = "SCRAM-SHA-256"
    storage = Storage(folder)
    added = storage.add_user(
        "admin",
        user,
        {
            "_id": f"admin.{user}",
            "user": user,
            "db": "admin",
            "credentials": derive_credentials(
                password, mechanism=mechanism, username=user
            ).to_doc(),
            "roles": [{"role": "root", "db": "admin"}],
            "mechanisms": [mechanism],
        },
        replace=False,
    )
    storage.close()
    sys.exit(0 if added else f"The user {user} exists already in {folder}.")
