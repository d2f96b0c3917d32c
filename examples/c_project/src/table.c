#include "table.h"

#include <stdlib.h>
#include <string.h>

/* The index of the first entry that is not before `word`. */
static size_t position(const struct table *table, const char *word)
{
    size_t low = 0, high = table->length;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(table->entries[middle].word, word) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int table_add(struct table *table, const char *word)
{
    size_t at = position(table, word);
    char *copy;

    if (at < table->length && strcmp(table->entries[at].word, word) == 0) {
        table->entries[at].count++;
        return 1;
    }
    if (table->length == table->capacity) {
        size_t capacity = table->capacity ? 2 * table->capacity : 16;
        struct table_entry *entries = realloc(table->entries, capacity * sizeof *entries);
        if (!entries)
            return 0;
        table->entries = entries;
        table->capacity = capacity;
    }
    copy = malloc(strlen(word) + 1);
    if (!copy)
        return 0;
    strcpy(copy, word);
    memmove(table->entries + at + 1, table->entries + at,
            (table->length - at) * sizeof *table->entries);
    table->entries[at].word = copy;
    table->entries[at].count = 1;
    table->length++;
    return 1;
}

void table_free(struct table *table)
{
    for (size_t i = 0; i < table->length; i++)
        free(table->entries[i].word);
    free(table->entries);
    *table = (struct table){0};
}
