#!/bin/sh
# The gate after GROUP_A: every table that a column refers to exists before it, and every interface
# belongs to a service whose functions carry a prefix of their own.
#
# usage: gate-foundation.sh SCHEMA INTERFACES
set -eu

awk '
    /^CREATE TABLE / { made[$3] = 1 }
    {
        for (i = 1; i < NF; i++) {
            table = $(i + 1)
            sub(/,$/, "", table)
            if ($i == "REFERENCES" && !(table in made)) {
                print FILENAME ":" FNR ": no table " table " before this line" | "cat 1>&2"
                failed = 1
            }
        }
    }
    END { exit failed }
' "$1"

awk '
    {
        prefix = $2
        sub(/_.*/, "", prefix)
        if ((prefix in owner) && owner[prefix] != $1) {
            print $1 " and " owner[prefix] " share the prefix " prefix "_" | "cat 1>&2"
            failed = 1
        }
        owner[prefix] = $1
    }
    END { exit failed }
' "$2"
