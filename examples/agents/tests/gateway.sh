#!/bin/sh
# A client's burst ends in a 429, a second later one more request passes; other clients do not notice.
set -eu
. "${0%/*}/../scripts/scratch.sh"
gateway=$1
export STATE_DIR="$scratch"

# status NOW CLIENT: the status of a request that passes the limit and that no route knows
status() {
    answer=$(NOW=$1 sh "$gateway" "$2" GET /api/nowhere)
    echo "${answer%% *}"
}
expect() {
    given=$(status "$1" "$2")
    if [ "$given" != "$3" ]; then
        echo "$2 at $1: $given, expected $3" >&2
        exit 1
    fi
}
tries=0
until [ "$(status 100 alice)" = 429 ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 50 ]
done
expect 100 bob 404
expect 101 alice 404
expect 101 alice 429
