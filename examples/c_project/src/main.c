/* Counts the words of standard input and prints them in alphabetical order. */
#include "table.h"
#include "words.h"

#include <stdio.h>
#include <stdlib.h>

int main(void)
{
    struct table table = {0};
    char word[WORD_SIZE];

    while (words_next(stdin, word)) {
        if (!table_add(&table, word)) {
            fputs("tally: out of memory\n", stderr);
            return EXIT_FAILURE;
        }
    }
    for (size_t i = 0; i < table.length; i++)
        printf("%lu %s\n", table.entries[i].count, table.entries[i].word);
    table_free(&table);
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
