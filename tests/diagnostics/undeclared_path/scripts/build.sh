cc -o out/app src/main.c
