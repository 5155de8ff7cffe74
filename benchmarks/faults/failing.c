/* Lets one system call on files below a directory fail, or all from one on; loaded with LD_PRELOAD.

   FAULT_BELOW   the directory
   FAULT_WRITES  1: calls that change files are counted; 0: those that read them
   FAULT_AT      which call fails, counted from 1; 0 for none
   FAULT_ERROR   its errno
   FAULT_STAYS   1: so do all after it
   FAULT_COUNT   a file that receives the numbers of calls that read and that change files */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#define FILES 65536
static char watched[FILES];
static long calls[2]; /* that read, that change files */
static const char *below;
static long at, number, stays, writes;

__attribute__((constructor)) static void begin(void) {
  below = getenv("FAULT_BELOW");
  at = atol(getenv("FAULT_AT") ?: "0");
  number = atol(getenv("FAULT_ERROR") ?: "5");
  stays = atol(getenv("FAULT_STAYS") ?: "0");
  writes = atol(getenv("FAULT_WRITES") ?: "0");
}

__attribute__((destructor)) static void end(void) {
  const char *path = getenv("FAULT_COUNT");
  FILE *file = path ? fopen(path, "w") : NULL;
  if (file) {
    fprintf(file, "%ld %ld", calls[0], calls[1]);
    fclose(file);
  }
}

static int fails(int changes) {
  long call = __atomic_add_fetch(&calls[changes], 1, __ATOMIC_SEQ_CST);
  if (!at || changes != writes || (stays ? call < at : call != at)) return 0;
  errno = number;
  return 1;
}

static int is_below(const char *path) {
  return below && path && strncmp(path, below, strlen(below)) == 0;
}

static int is_watched(int file) { return file >= 0 && file < FILES && watched[file]; }

#define NEXT(name) ((typeof(&name))dlsym(RTLD_NEXT, #name))

#define OPEN(name)                                                    \
  int name(const char *path, int flags, ...) {                        \
    va_list rest;                                                     \
    va_start(rest, flags);                                            \
    mode_t mode = va_arg(rest, mode_t);                               \
    va_end(rest);                                                     \
    int here = is_below(path);                                        \
    if (here && fails((flags & (O_CREAT | O_ACCMODE)) != 0)) return -1; \
    int file = NEXT(name)(path, flags, mode);                         \
    if (file >= 0 && file < FILES) watched[file] = here;              \
    return file;                                                      \
  }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                  \
  int name(int folder, const char *path, int flags, ...) {            \
    va_list rest;                                                     \
    va_start(rest, flags);                                            \
    mode_t mode = va_arg(rest, mode_t);                               \
    va_end(rest);                                                     \
    int here = is_below(path) || (path[0] != '/' && is_watched(folder)); \
    if (here && fails((flags & (O_CREAT | O_ACCMODE)) != 0)) return -1; \
    int file = NEXT(name)(folder, path, flags, mode);                 \
    if (file >= 0 && file < FILES) watched[file] = here;              \
    return file;                                                      \
  }
OPENAT(openat)
OPENAT(openat64)

#define ON_FILE(type, name, changes, parameters, ...)                 \
  type name parameters {                                              \
    if (is_watched(file) && fails(changes)) return -1;                \
    return NEXT(name)(__VA_ARGS__);                                   \
  }
ON_FILE(ssize_t, read, 0, (int file, void *to, size_t n), file, to, n)
ON_FILE(ssize_t, pread, 0, (int file, void *to, size_t n, off_t o), file, to, n, o)
ON_FILE(ssize_t, pread64, 0, (int file, void *to, size_t n, off64_t o), file, to, n, o)
ON_FILE(ssize_t, write, 1, (int file, const void *from, size_t n), file, from, n)
ON_FILE(ssize_t, pwrite, 1, (int file, const void *from, size_t n, off_t o), file, from, n, o)
ON_FILE(ssize_t, pwrite64, 1, (int file, const void *from, size_t n, off64_t o), file, from, n, o)
ON_FILE(int, fsync, 1, (int file), file)
ON_FILE(int, ftruncate, 1, (int file, off_t n), file, n)

int rename(const char *from, const char *to) {
  if (is_below(to) && fails(1)) return -1;
  return NEXT(rename)(from, to);
}

int mkdir(const char *path, mode_t mode) {
  if (is_below(path) && fails(1)) return -1;
  return NEXT(mkdir)(path, mode);
}

int close(int file) {
  if (file >= 0 && file < FILES) watched[file] = 0;
  return NEXT(close)(file);
}
