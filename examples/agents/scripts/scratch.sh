# To be sourced: makes a folder for throw-away state, $scratch, and removes it at the end.
# The number after the process id keeps clear of what a killed run may have left behind.
scratch_number=0
until mkdir "${TMPDIR:-/tmp}/phase5_3.$$.$scratch_number" 2>/dev/null; do
    scratch_number=$((scratch_number + 1))
    if [ "$scratch_number" -ge 100 ]; then
        echo "cannot make a folder in ${TMPDIR:-/tmp}" >&2
        exit 1
    fi
done
scratch=${TMPDIR:-/tmp}/phase5_3.$$.$scratch_number
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM
