# Answers for the round trip: every handler says what it was called with.
on_list() { echo "list of all items"; }
on_show() { echo "item $1"; }
on_add() { echo "added: $*"; }
on_move() { echo "moved item $1: $2"; }
on_remove() { echo "removed item $1"; }
