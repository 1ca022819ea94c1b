#!/bin/sh
# What the official image's entrypoint does.
set -e
if [ "${1#-}" != "$1" ] || [ "${1%.conf}" != "$1" ]; then set -- redis-server "$@"; fi
if [ "$1" = redis-server ] && [ "$(id -u)" = 0 ]; then
    find . \! -user redis -exec chown redis '{}' +
    exec gosu redis "$0" "$@"
fi
# The official image does not ask for the protected mode either.
if [ "$1" = redis-server ]; then set -- "$@" --protected-mode no; fi
exec "$@"
