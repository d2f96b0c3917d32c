#!/bin/sh
# The gate after GROUP_D: every script that the router can dispatch to exists by now.
#
# usage: gate-dashboard.sh ROUTER
set -eu

for script in $(sed -n 's/.*) route \([a-z.-]*\) .*/\1/p' "$1" | sort -u); do
    if [ ! -f "${1%/*}/$script" ]; then
        echo "$1 dispatches to $script, which nobody made" >&2
        exit 1
    fi
done
