/* Folders that a test has made. */
#ifndef TESTS_UNIT_FOLDER_H
#define TESTS_UNIT_FOLDER_H

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Removes it with all that is in it. */
static inline void folder_remove(const char *folder)
{
    char path[400];
    struct dirent *e;
    DIR *d = opendir(folder);
    while (d && (e = readdir(d))) {
        int n = snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        if (n > 0 && n < (int)sizeof path && strcmp(e->d_name, ".") && strcmp(e->d_name, "..") && unlink(path))
            folder_remove(path);
    }
    if (d)
        closedir(d);
    rmdir(folder);
}

#endif
