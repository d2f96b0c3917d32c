#!/bin/sh
# Prints the router: its template with one case per route where it says @routes@.
#
# usage: make-router.sh ROUTES TEMPLATE
set -eu

awk '
    function fail(message) {
        print FILENAME ":" FNR ": " message | "cat 1>&2"
        exit 1
    }
    part == "template" && FNR == 1 && /^#!/ { print; next }
    /^[[:space:]]*(#|$)/ { next }
    part == "routes" {
        if (NF != 4) fail("expected `method path script action`")
        if (($1, $2) in seen) fail($1 " " $2 " is routed twice")
        seen[$1, $2] = 1
        routes = routes "\"" $1 " " $2 "\") route " $3 " " $4 " ;;\n"
        # A path that is known, under a method that is not: after all full matches, so that these win.
        if (!($2 in paths)) others = others "*\" " $2 "\") reply 405 \"$method is not allowed for $path\" ;;\n"
        paths[$2] = 1
        next
    }
    /^@routes@$/ { printf "%s%s", routes, others; next }
    { print }
' part=routes "$1" part=template "$2"
