#!/bin/sh
# Generated from api.spec by generators/server.awk. Edit the spec, then run `conductor build`.
#
# usage: server.sh HANDLERS METHOD PATH [FIELD=VALUE...]
#
# HANDLERS is a script that defines on_CALL for every call; the function gets the parameters of
# the path, then the fields, as its arguments.
set -eu
handlers=$1
method=$2
path=$3
shift 3
. "$handlers"

# part NUMBER: a part of the path; the first is what stands before its leading slash, nothing
part() {
    printf '%s\n' "$path" | cut -d / -f "$1"
}

# A star in a pattern would take slashes too; with their number in front there is none to take.
slashes=$(($(printf '%s' "$path" | tr -cd / | wc -c)))
case "$slashes $method $path" in
'1 GET '/items) on_list "$@" ;;
'2 GET '/items/?*) on_show "$(part 3)" "$@" ;;
'1 POST '/items) on_add "$@" ;;
'3 POST '/items/?*/shelf) on_move "$(part 3)" "$@" ;;
'2 DELETE '/items/?*) on_remove "$(part 3)" "$@" ;;
*)
    echo "no call answers $method $path" >&2
    exit 1
    ;;
esac
