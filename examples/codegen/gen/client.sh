# Generated from api.spec by generators/client.awk. Edit the spec, then run `conductor build`.
#
# To be sourced. INVENTORY_SERVER is the command that answers a request; its words are split.
inventory_version='1.2.0'

# inventory_list
inventory_list() {
    $INVENTORY_SERVER GET "/items"
}

# inventory_show id
inventory_show() {
    $INVENTORY_SERVER GET "/items/${1}"
}

# inventory_add name count
inventory_add() {
    $INVENTORY_SERVER POST "/items" "name=${1}" "count=${2}"
}

# inventory_move id shelf
inventory_move() {
    $INVENTORY_SERVER POST "/items/${1}/shelf" "shelf=${2}"
}

# inventory_remove id
inventory_remove() {
    $INVENTORY_SERVER DELETE "/items/${1}"
}
