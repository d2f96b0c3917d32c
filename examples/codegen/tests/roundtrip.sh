#!/bin/sh
# Every call of the generated client, answered by the generated server; prints what came back.
#
# usage: roundtrip.sh CLIENT SERVER HANDLERS
set -eu
. "$1"
INVENTORY_SERVER="sh $2 $3"

inventory_list
inventory_add bolt 12
inventory_show 7
inventory_move 7 B3
inventory_remove 7

# What the spec does not know is refused, also where a pattern of the shell might let it pass.
for path in /items/7/extra /items/ /nowhere; do
    if $INVENTORY_SERVER GET "$path" 2> /dev/null; then
        echo "GET $path was answered" >&2
        exit 1
    fi
    echo "GET $path is refused"
done
