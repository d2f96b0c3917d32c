#!/bin/sh
# Fails unless a library defines every function that the interfaces promise for its service.
#
# usage: check-interface.sh SERVICE LIBRARY INTERFACES
set -eu
. "$2"

missing=0
while read -r service function arguments; do
    [ "$service" = "$1" ] || continue
    if ! command -v "$function" > /dev/null; then
        echo "$2 does not define $function($arguments)" >&2
        missing=1
    fi
done < "$3"
exit "$missing"
