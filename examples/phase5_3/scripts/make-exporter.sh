#!/bin/sh
# Writes the metrics exporter, and what it says about the recorded traffic.
#
# usage: make-exporter.sh TEMPLATE SETTINGS TRAFFIC EXPORTER SAMPLE
set -eu
sh "${0%/*}/fill.sh" "$1" "$2" > "$4"
sh "$4" "$3" > "$5"
