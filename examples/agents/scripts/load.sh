#!/bin/sh
# Sends many requests through the gateway and judges the time they took.
#
# usage: load.sh SETTINGS GATEWAY REPORT
#
# The times themselves go to stdout, into the task's log. The report holds the verdict alone, so that
# it is the same on every run.
set -eu
. "${0%/*}/scratch.sh"
requests=$(sed -n 's/^requests  *//p' "$1")
bound=$(sed -n 's/^bound_seconds  *//p' "$1")
gateway=$2
report=$3

mkdir "$scratch/state"
export STATE_DIR="$scratch/state" RETRY_SLEEP=no
start=$(date +%s)
sent=0
good=0
while [ "$sent" -lt "$requests" ]; do
    # Every request has a second of its own, or the rate limit would refuse it.
    answer=$(NOW=$((100 + sent)) sh "$gateway" load POST /api/retry "job$sent:1")
    case $answer in
    200*) good=$((good + 1)) ;;
    esac
    sent=$((sent + 1))
done
elapsed=$(($(date +%s) - start))

echo "$sent requests in ${elapsed}s of wall clock; CPU time of the shell, then of its children:"
times
if [ "$elapsed" -le "$bound" ]; then
    verdict=pass
else
    verdict=fail
fi
{
    echo "requests $sent"
    echo "answered 200: $good"
    echo "within ${bound}s: $verdict"
} > "$report"
