# Reads api.spec; what is common to all generators, which follow it on awk's command line.
#
# Sets service, version and calls, and for call i: name[i], method[i], path[i], the parameters of its
# path param[i, 1..params[i]] and its fields field[i, 1..fields[i]].

function fail(message) {
    print FILENAME ":" FNR ": " message | "cat 1>&2"
    failed = 1
    exit 1
}

/^[[:space:]]*(#|$)/ { next }
$1 == "service" && NF == 2 { service = $2; next }
$1 == "version" && NF == 2 { version = $2; next }
$1 == "call" && NF >= 4 {
    if ($2 in known) fail("the call " $2 " is there twice")
    known[$2] = 1
    calls++
    name[calls] = $2
    method[calls] = $3
    path[calls] = $4
    rest = $4
    while (match(rest, /[{][a-z_]+[}]/)) {
        param[calls, ++params[calls]] = substr(rest, RSTART + 1, RLENGTH - 2)
        rest = substr(rest, RSTART + RLENGTH)
    }
    for (i = 5; i <= NF; i++) field[calls, ++fields[calls]] = $i
    next
}
{ fail("expected `service NAME`, `version NUMBER` or `call NAME METHOD PATH [FIELD...]`") }

END {
    if (failed) exit 1
    if (service == "" || version == "" || calls == 0) fail("a service, a version and a call are needed")
}

# The arguments of call i: the parameters of its path, then its fields.
function arguments(i, before,    j, text) {
    for (j = 1; j <= params[i]; j++) text = text before param[i, j]
    for (j = 1; j <= fields[i]; j++) text = text before field[i, j]
    return text
}
