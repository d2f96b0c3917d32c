#ifndef TABLE_H
#define TABLE_H

#include <stddef.h>

struct table_entry {
    char *word;
    unsigned long count;
};

/* Words with their counts, sorted by word. A zeroed table is an empty one. */
struct table {
    struct table_entry *entries;
    size_t length;
    size_t capacity;
};

/* Counts `word` once more. Returns 0 when there is no memory left; the table is then as before. */
int table_add(struct table *table, const char *word);

void table_free(struct table *table);

#endif
