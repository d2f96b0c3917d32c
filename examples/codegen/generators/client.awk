# The client: one shell function per call. It sends its request to the command in <SERVICE>_SERVER.

# The path of call i with the shell's ${1}, ${2}, ... in place of its parameters.
function target(i,    parts, part, j, n, text) {
    parts = split(path[i], part, "/")
    for (j = 2; j <= parts; j++) text = text "/" (part[j] ~ /^[{]/ ? "${" (++n) "}" : part[j])
    return text
}

END {
    prefix = service "_"
    server = toupper(service) "_SERVER"
    print "# Generated from api.spec by generators/client.awk. Edit the spec, then run `conductor build`."
    print "#"
    print "# To be sourced. " server " is the command that answers a request; its words are split."
    print prefix "version='" version "'"
    for (i = 1; i <= calls; i++) {
        body = ""
        for (j = 1; j <= fields[i]; j++) body = body " \"" field[i, j] "=${" (params[i] + j) "}\""
        print ""
        print "# " prefix name[i] arguments(i, " ")
        print prefix name[i] "() {"
        print "    $" server " " method[i] " \"" target(i) "\"" body
        print "}"
    }
}
