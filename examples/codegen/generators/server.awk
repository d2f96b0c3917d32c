# The server's front: it finds the call for a request and runs the function that answers it.
END {
    print "#!/bin/sh"
    print "# Generated from api.spec by generators/server.awk. Edit the spec, then run `conductor build`."
    print "#"
    print "# usage: server.sh HANDLERS METHOD PATH [FIELD=VALUE...]"
    print "#"
    print "# HANDLERS is a script that defines on_CALL for every call; the function gets the parameters of"
    print "# the path, then the fields, as its arguments."
    print "set -eu"
    print "handlers=$1"
    print "method=$2"
    print "path=$3"
    print "shift 3"
    print ". \"$handlers\""
    print ""
    print "# part NUMBER: a part of the path; the first is what stands before its leading slash, nothing"
    print "part() {"
    print "    printf '%s\\n' \"$path\" | cut -d / -f \"$1\""
    print "}"
    print ""
    print "# A star in a pattern would take slashes too; with their number in front there is none to take."
    print "slashes=$(($(printf '%s' \"$path\" | tr -cd / | wc -c)))"
    print "case \"$slashes $method $path\" in"
    for (i = 1; i <= calls; i++) {
        parts = split(path[i], part, "/")
        pattern = ""
        values = ""
        for (j = 2; j <= parts; j++) {
            if (part[j] ~ /^[{]/) {
                pattern = pattern "/?*"
                values = values " \"$(part " j ")\""
            } else {
                pattern = pattern "/" part[j]
            }
        }
        print "'" (parts - 1) " " method[i] " '" pattern ") on_" name[i] values " \"$@\" ;;"
    }
    print "*)"
    print "    echo \"no call answers $method $path\" >&2"
    print "    exit 1"
    print "    ;;"
    print "esac"
}
