#!/bin/sh
# The gate after GROUP_C: every API script is a shell script without a syntax error, and refuses an
# action that it does not know with a 400.
#
# usage: gate-apis.sh API...
set -eu
. "${0%/*}/scratch.sh"

for api; do
    sh -n "$api"
    answer=$(STATE_DIR=$scratch NOW=100 sh "$api" no-such-action)
    case $answer in
    400*) ;;
    *)
        echo "$api answers to an unknown action: $answer" >&2
        exit 1
        ;;
    esac
done
