#!/bin/sh
# Writes one HTML file per component into a folder.
#
# usage: make-components.sh COMPONENTS TEMPLATE FOLDER
set -eu
components=$1
template=$2
folder=$3

while read -r name value title; do
    case $name in
    '' | '#'*) continue ;;
    esac
    sh "${0%/*}/fill.sh" "$template" "name=$name" "value=$value" "title=$title" > "$folder/$name.html"
done < "$components"
