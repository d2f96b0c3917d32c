#!/bin/sh
# Answers a question about the schema that make-schema.sh wrote.
#
# usage: schema-query.sh SCHEMA columns TABLE          the columns' names, in order
#        schema-query.sh SCHEMA length TABLE COLUMN    N of a varchar(N)
set -eu

awk -v question="$2" -v wanted="$3" -v column="${4:-}" '
    /^CREATE TABLE / { table = $3 }
    !/^    / || table != wanted { next }
    question == "columns" { found = found (found == "" ? "" : " ") $1 }
    question == "length" && $1 == column && match($2, /[0-9]+/) { found = substr($2, RSTART, RLENGTH) }
    END {
        if (found == "") {
            print "the schema has no " wanted " " column | "cat 1>&2"
            exit 1
        }
        print found
    }
' "$1"
