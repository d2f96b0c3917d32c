#!/bin/sh
# Runs the program on a text and compares what it prints; prints a report of one line.
#
# usage: run.sh PROGRAM INPUT EXPECTED
set -eu

printed=$("$1" < "$2")
if ! printf '%s\n' "$printed" | diff "$3" - >&2; then
    echo "$1 prints something else: < expected, > printed" >&2
    exit 1
fi
echo "$2: as expected"
