#!/bin/sh
# Sends the requests of a conversation through the gateway and compares the answers.
#
# usage: converse.sh CONVERSATION GATEWAY ANSWERS REPORT
#
# `> TIME CLIENT METHOD PATH BODY...` is a request, the `<` line after it is the answer expected.
# The time is given and nobody sleeps, so that the answers are the same on every run.
set -eu
. "${0%/*}/scratch.sh"
conversation=$1
gateway=$2
answers=$3
report=$4

mkdir "$scratch/state"
export STATE_DIR="$scratch/state" RETRY_SLEEP=no
requests=0
while read -r mark time client method path body; do
    [ "$mark" = '>' ] || continue
    requests=$((requests + 1))
    NOW=$time sh "$gateway" "$client" "$method" "$path" "$body"
done < "$conversation" > "$answers"

sed -n 's/^< //p' "$conversation" > "$scratch/expected"
if ! diff "$scratch/expected" "$answers" >&2; then
    echo "the answers differ: < expected, > given" >&2
    exit 1
fi
printf 'requests %s\nas expected %s\n' "$requests" "$(grep -c . "$answers")" > "$report"
