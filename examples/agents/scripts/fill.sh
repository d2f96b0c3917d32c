#!/bin/sh
# Fills a template and prints the result.
#
# usage: fill.sh TEMPLATE [SETTINGS | NAME=VALUE]...
#
# A settings file holds `name value` lines; `@name@` in the template becomes the value. Comment lines
# (`#`) and empty lines of both are left out, so that editing a comment never changes what is made:
# the tasks that read the result then stay fresh.
set -eu
template=$1
shift

for setting; do
    case $setting in
    *=*) printf '%s %s\n' "${setting%%=*}" "${setting#*=}" ;;
    *) cat "$setting" ;;
    esac
done | awk '
    function filled(text,    done, name) {
        done = ""
        while (match(text, /@[a-z_]+@/)) {
            name = substr(text, RSTART + 1, RLENGTH - 2)
            if (!(name in value)) {
                print FILENAME ":" FNR ": no setting is called " name | "cat 1>&2"
                exit 1
            }
            done = done substr(text, 1, RSTART - 1) value[name]
            text = substr(text, RSTART + RLENGTH)
        }
        return done text
    }
    part == "template" && FNR == 1 && /^#!/ { print; next }
    /^[[:space:]]*(#|$)/ { next }
    part == "settings" {
        name = $1
        sub(/^[[:space:]]*[^[:space:]]+[[:space:]]*/, "")
        sub(/[[:space:]]+$/, "")
        value[name] = $0
        next
    }
    { print filled($0) }
' part=settings - part=template "$template"
