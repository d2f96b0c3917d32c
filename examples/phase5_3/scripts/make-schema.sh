#!/bin/sh
# Writes the schema, one migration per table and, when there is something to say, notes.
#
# usage: make-schema.sh TABLES SCHEMA MIGRATIONS NOTES
set -eu

awk -v schema="$2" -v migrations="$3" -v notes="$4" '
    function fail(message) {
        print FILENAME ":" FNR ": " message | "cat 1>&2"
        failed = 1
        exit 1
    }
    function end_table(    sql, migration) {
        if (table == "") return
        sql = "CREATE TABLE " table " (\n" columns "\n);"
        print sql > schema
        migration = sprintf("%s/%04d_%s.sql", migrations, ++tables, table)
        print "BEGIN;\n" sql "\nCOMMIT;" > migration
        close(migration)
    }
    /^[[:space:]]*(#|$)/ { next }
    $1 == "table" && NF == 2 {
        end_table()
        table = $2
        columns = ""
        next
    }
    $1 == "column" && NF >= 3 && table != "" {
        line = "    " $2 " " $3
        for (i = 4; i <= NF; i++) {
            if ($i == "key") line = line " PRIMARY KEY"
            else if ($i == "required") line = line " NOT NULL"
            else if ($i == "references" && i < NF) line = line " REFERENCES " $(++i)
            else if ($i == "deprecated") deprecated = deprecated "- `" table "." $2 "`\n"
            else fail("unknown word: " $i)
        }
        columns = columns (columns == "" ? "" : ",\n") line
        next
    }
    { fail("expected `table NAME` or `column NAME TYPE ...`") }
    END {
        if (failed) exit 1
        end_table()
        if (deprecated != "") printf "# Deprecated columns\n\n%s", deprecated > notes
    }
' "$1"
