#!/bin/sh
# Versions are compared number by number, not as text.
set -eu
. "$1"

expect() {
    version_compare "$1" "$2"
    if [ "$version_order" != "$3" ]; then
        echo "version_compare $1 $2: $version_order, expected $3" >&2
        exit 1
    fi
}
expect 1.10 1.9 1
expect 1.2 1.2.0 0
expect 2 2.0.1 -1
