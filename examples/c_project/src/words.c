#include "words.h"

#include <ctype.h>

int words_next(FILE *in, char word[WORD_SIZE])
{
    size_t length = 0;
    int c;

    while ((c = getc(in)) != EOF) {
        if (isalpha(c)) {
            if (length < WORD_SIZE - 1)
                word[length++] = (char)tolower(c);
        } else if (length > 0) {
            break;
        }
    }
    word[length] = '\0';
    return length > 0;
}
