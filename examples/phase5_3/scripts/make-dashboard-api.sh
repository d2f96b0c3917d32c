#!/bin/sh
# Prints the dashboard API, once it is sure that the metrics which its settings name are exported.
#
# usage: make-dashboard-api.sh TEMPLATE SETTINGS SAMPLE
set -eu

awk '
    part == "settings" && $1 ~ /_metric$/ { wanted[$2] = 1 }
    part == "sample" && !/^#/ { sub(/[{ ].*/, ""); delete wanted[$0] }
    END {
        for (metric in wanted) {
            print "no metric is called " metric | "cat 1>&2"
            failed = 1
        }
        exit failed
    }
' part=settings "$2" part=sample "$3"
sh "${0%/*}/fill.sh" "$1" "$2"
