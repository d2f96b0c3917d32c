#!/bin/sh
# Writes the list of functions, one a line and sorted: `service function arguments...`.
#
# usage: make-interfaces.sh SERVICES
set -eu

awk '
    /^[[:space:]]*(#|$)/ { next }
    NF < 2 {
        print FILENAME ":" FNR ": expected `service function arguments...`" | "cat 1>&2"
        exit 1
    }
    { $1 = $1; print | "sort" }
' "$1"
