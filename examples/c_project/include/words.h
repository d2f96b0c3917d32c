#ifndef WORDS_H
#define WORDS_H

#include <stdio.h>

/* The longest word in bytes, with the zero at its end; what is longer is cut. */
enum { WORD_SIZE = 64 };

/* Reads the next word of `in`, in lower case, into `word`. Returns 0 at the end of the file. */
int words_next(FILE *in, char word[WORD_SIZE]);

#endif
