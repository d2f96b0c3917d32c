#!/bin/sh
# Prints the dashboard: the page with its theme, its cards in the layout's order, and in them the
# numbers that the dashboard API gives for the recorded traffic.
#
# usage: assemble.sh PAGE THEME COMPONENTS LAYOUT DASHBOARD-API TRAFFIC
set -eu
. "${0%/*}/scratch.sh"
page=$1
theme=$2
components=$3
layout=$4

STATE_DIR=$scratch REQUEST_LOG=$6 sh "$5" show > "$scratch/answer"

while read -r name; do
    case $name in
    '' | '#'*) continue ;;
    esac
    cat "$components/$name.html"
done < "$layout" > "$scratch/cards"

awk '
    # The answer is `200 OK: {"name":number,...,"name":"text"}`; its values hold no quote or comma.
    part == "answer" {
        sub(/^[^{]*[{]/, "")
        sub(/[}][^}]*$/, "")
        gsub(/"/, "")
        fields = split($0, field, ",")
        for (i = 1; i <= fields; i++)
            value[substr(field[i], 1, index(field[i], ":") - 1)] = substr(field[i], index(field[i], ":") + 1)
        next
    }
    part == "theme" { css = css $0 "\n"; next }
    part == "cards" {
        while (match($0, /[{][{][a-z]+[}][}]/)) {
            name = substr($0, RSTART + 2, RLENGTH - 4)
            if (!(name in value)) {
                print "the dashboard API has no field " name | "cat 1>&2"
                exit 1
            }
            $0 = substr($0, 1, RSTART - 1) value[name] substr($0, RSTART + RLENGTH)
        }
        cards = cards $0 "\n"
        next
    }
    /<!-- slot:theme -->/ { printf "<style>\n%s</style>\n", css; next }
    /<!-- slot:components -->/ { printf "%s", cards; next }
    { print }
' part=answer "$scratch/answer" part=theme "$theme" part=cards "$scratch/cards" part=page "$page"
