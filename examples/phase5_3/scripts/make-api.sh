#!/bin/sh
# Prints an API script: its template, filled, and linked to the libraries that it names.
#
# usage: make-api.sh INTERFACES TEMPLATE SETTINGS LIBRARY...
#
# Linking means to refuse here, and not at the first request, a function which the template calls and
# which no library that it was given defines.
set -eu
interfaces=$1
template=$2
settings=$3
shift 3

code=$(grep -v '^[[:space:]]*#' "$template")
while read -r service function arguments; do
    printf '%s\n' "$code" | grep -Eq "(^|[^a-z_])$function([^a-z_]|\$)" || continue
    found=no
    for library; do
        if [ "${library##*/}" = "$service.sh" ] && grep -q "^$function()" "$library"; then
            found=yes
        fi
    done
    if [ "$found" = no ]; then
        echo "$template calls $function($arguments), which no library given to it defines" >&2
        exit 1
    fi
done < "$interfaces"

sources=
for library; do
    sources="$sources${sources:+; }. \"\$lib/${library##*/}\""
done
sh "${0%/*}/fill.sh" "$template" "$settings" "libraries=$sources"
