#!/bin/sh
# The frames are those of RFC 6455, section 5.7: an unmasked text frame that says "Hello".
set -eu

given=$(echo Hello | sh "$1" | od -A n -t x1 | tr -d ' \n')
if [ "$given" != 810548656c6c6f ]; then
    echo "the frame of Hello is $given" >&2
    exit 1
fi
# 126 bytes need the longer header, with the length in two bytes.
given=$(printf '%0126d\n' 0 | sh "$1" | od -A n -t x1 -N 5 | tr -d ' \n')
if [ "$given" != 817e007e30 ]; then
    echo "the frame of 126 zeros begins with $given" >&2
    exit 1
fi
