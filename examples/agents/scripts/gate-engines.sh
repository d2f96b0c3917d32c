#!/bin/sh
# The gate after GROUP_B: the libraries can be loaded into one shell without redefining each other.
#
# usage: gate-engines.sh LIBRARY...
set -eu

for library; do
    . "$library"
done
twice=$(cat "$@" | sed -n 's/^\([a-z_]*\)() {.*/\1/p' | sort | uniq -d)
if [ -n "$twice" ]; then
    echo "defined by two libraries: $twice" >&2
    exit 1
fi
