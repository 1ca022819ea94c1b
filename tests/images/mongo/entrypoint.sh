#!/bin/bash
# What the official image's entrypoint does with the variables and flags that the course uses.
set -euo pipefail
if [ "${1:0:1}" = '-' ]; then set -- mongod "$@"; fi
if [ "$1" = mongod ] && [ "$(id -u)" = 0 ]; then
    chown -R mongodb /data/configdb /data/db
    exec gosu mongodb "$0" "$@"
fi
if [ "$1" = mongod ]; then
    shift
    if [ -n "${MONGO_INITDB_ROOT_USERNAME:-}" ] && [ -z "$(ls -A /data/db)" ]; then
        (umask 077; printf '%s' "$MONGO_INITDB_ROOT_PASSWORD" > /tmp/password)
        python3 /opt/mongodb_user.py "$MONGO_INITDB_ROOT_USERNAME" /tmp/password /data/db
        rm /tmp/password
    fi
    exec python3 /opt/mongod "$@"
fi
exec "$@"
