#!/bin/sh
# The retry engine: a command that fails twice succeeds at the third attempt, after 1 s and 2 s.
set -eu
. "$1"
RETRY_SLEEP=no

fails_twice() { [ "$retry_attempts" -gt 2 ]; }

retry_run 4 1 fails_twice
[ "$retry_attempts $retry_waited" = '3 3' ]
if retry_run 2 1 false; then
    echo 'a command that always fails was called a success' >&2
    exit 1
fi
[ "$retry_attempts" = 2 ]
