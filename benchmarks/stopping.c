/* Loaded before libc: stops the process at each call by which a watched folder changes, and in the midst of writes.

   Who watches continues the process, or sends it a signal, which then comes exactly there: no thread runs meanwhile.
   Each stop is told in a line of a log: the call's number, name and path. Or, after fail_from, nothing stops: from a
   call on, all that would make a file, a folder or a longer file fail, as on a disk that is full. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char folder[PATH_MAX];
static int log_file = -1, number, failing, failure;

void watch(const char *path, const char *told)
{
    strncpy(folder, path, sizeof folder - 1);
    log_file = syscall(SYS_openat, AT_FDCWD, told, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

void fail_from(int call, int error)
{
    failing = call;
    failure = error;
}

static const char *full(int at, const char *path, char *found)
{
    char name[64];
    ssize_t length;
    if (path && path[0] == '/')
        return path;
    snprintf(name, sizeof name, at == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", at);
    length = readlink(name, found, PATH_MAX - 1);
    if (length < 0)
        return "";
    found[length] = 0;
    if (path)
        snprintf(found + length, PATH_MAX - length, "/%s", path);
    return found;
}

static int watched(const char *path)
{
    return log_file >= 0 && strncmp(path, folder, strlen(folder)) == 0;
}

/* Whether the call is to fail. */
static int stop(const char *call, const char *path, int grows)
{
    char line[PATH_MAX + 64];
    int length, now = __sync_add_and_fetch(&number, 1);
    if (failing) {
        if (now < failing || !grows)
            return 0;
        errno = failure;
        return 1;
    }
    length = snprintf(line, sizeof line, "%d %s %s\n", now, call, path);
    syscall(SYS_write, log_file, line, length);
    syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGSTOP);
    return 0;
}

static int before(const char *call, int at, const char *path, int grows)
{
    char found[PATH_MAX];
    const char *where = log_file < 0 ? "" : full(at, path, found);
    return watched(where) && stop(call, where, grows);
}

#define FIND(name) if (!next) next = dlsym(RTLD_NEXT, name)

#define ON_PATH(name, parameters, arguments, at, path, grows) \
    int name parameters                                     \
    {                                                       \
        static int (*next) parameters;                      \
        if (before(#name, at, path, grows))                 \
            return -1;                                      \
        FIND(#name);                                        \
        return next arguments;                              \
    }

ON_PATH(rename, (const char *a, const char *b), (a, b), AT_FDCWD, b, 0)
ON_PATH(renameat, (int d, const char *a, int e, const char *b), (d, a, e, b), e, b, 0)
ON_PATH(renameat2, (int d, const char *a, int e, const char *b, unsigned f), (d, a, e, b, f), e, b, 0)
ON_PATH(link, (const char *a, const char *b), (a, b), AT_FDCWD, b, 1)
ON_PATH(symlink, (const char *a, const char *b), (a, b), AT_FDCWD, b, 1)
ON_PATH(unlink, (const char *a), (a), AT_FDCWD, a, 0)
ON_PATH(unlinkat, (int d, const char *a, int f), (d, a, f), d, a, 0)
ON_PATH(rmdir, (const char *a), (a), AT_FDCWD, a, 0)
ON_PATH(mkdir, (const char *a, mode_t m), (a, m), AT_FDCWD, a, 1)
ON_PATH(mkdirat, (int d, const char *a, mode_t m), (d, a, m), d, a, 1)
ON_PATH(ftruncate, (int d, off_t n), (d, n), d, NULL, 0)
ON_PATH(ftruncate64, (int d, off_t n), (d, n), d, NULL, 0)

#define OPEN(name, parameters, arguments, at)               \
    int name parameters                                     \
    {                                                       \
        static int (*next) parameters;                      \
        mode_t mode = 0;                                    \
        if (flags & (O_CREAT | O_TRUNC)) {                  \
            va_list more;                                   \
            va_start(more, flags);                          \
            mode = va_arg(more, mode_t);                    \
            va_end(more);                                   \
            if (before("open", at, path, flags & O_CREAT))  \
                return -1;                                  \
        }                                                   \
        FIND(#name);                                        \
        return next arguments;                              \
    }

OPEN(open, (const char *path, int flags, ...), (path, flags, mode), AT_FDCWD)
OPEN(open64, (const char *path, int flags, ...), (path, flags, mode), AT_FDCWD)
OPEN(openat, (int at, const char *path, int flags, ...), (at, path, flags, mode), at)
OPEN(openat64, (int at, const char *path, int flags, ...), (at, path, flags, mode), at)

ssize_t writev(int file, const struct iovec *data, int count)
{
    static ssize_t (*next)(int, const struct iovec *, int);
    if (before("write", file, NULL, 1))
        return -1;
    FIND("writev");
    return next(file, data, count);
}

/* A write of which half is done, then the rest. */
#define WRITE(name, parameters, first, rest)                \
    ssize_t name parameters                                 \
    {                                                       \
        static ssize_t (*next) parameters;                  \
        char found[PATH_MAX];                               \
        const char *where = log_file < 0 ? "" : full(file, NULL, found); \
        ssize_t half = 0, done;                             \
        FIND(#name);                                        \
        if (watched(where)) {                               \
            if (stop("write", where, 1))                    \
                return -1;                                  \
            if (size > 1) {                                 \
                half = next first;                          \
                if (half < 0)                               \
                    return half;                            \
                if (stop("half", where, 1))                 \
                    return half;                            \
            }                                               \
        }                                                   \
        done = next rest;                                   \
        return done < 0 ? (half ? half : done) : half + done; \
    }

WRITE(write, (int file, const void *data, size_t size), (file, data, size / 2),
      (file, (const char *)data + half, size - half))
WRITE(pwrite, (int file, const void *data, size_t size, off_t at), (file, data, size / 2, at),
      (file, (const char *)data + half, size - half, at + half))
WRITE(pwrite64, (int file, const void *data, size_t size, off_t at), (file, data, size / 2, at),
      (file, (const char *)data + half, size - half, at + half))
