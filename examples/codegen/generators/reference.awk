# The reference: one row per call, for people.
END {
    print "# " service " " version
    print ""
    print "Generated from `api.spec` by `generators/reference.awk`. Edit the spec, then run `conductor build`."
    print ""
    print "| call | request | arguments |"
    print "| --- | --- | --- |"
    for (i = 1; i <= calls; i++)
        print "| `" service "_" name[i] "` | `" method[i] " " path[i] "` |" arguments(i, " ") " |"
}
