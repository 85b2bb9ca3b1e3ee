/* `violin stream-check`: the process between a foreign stream and libxl's restore helper.
 *
 * What it can still do after lock_up(): read its input, write its output, say a line, end. */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "xen/stream_check.h"

#define CHUNK (256 << 10)

/* A sanitizer's runtime makes system calls of its own. */
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)
static int allow_only_reading_and_writing(void)
{
#define ALLOW(call)                                                                                \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##call, 0, 1), BPF_STMT(BPF_RET | BPF_K,               \
                                                                    SECCOMP_RET_ALLOW)
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        ALLOW(read),
        ALLOW(write),
        ALLOW(exit_group),
        ALLOW(exit),
        ALLOW(rt_sigreturn),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    struct sock_fprog program = {.len = sizeof filter / sizeof *filter, .filter = filter};
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0)
        return 0;
    return errno == EINVAL || errno == ENOSYS ? 0 : -1; /* a kernel without it: the rest must do */
}
#else
static int allow_only_reading_and_writing(void)
{
    return 0;
}
#endif

static int limit(int what, rlim_t most)
{
    struct rlimit r = {.rlim_cur = most, .rlim_max = most};
    return setrlimit((__rlimit_resource_t)what, &r);
}

static int lock_up(void)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || limit(RLIMIT_CORE, 0) < 0 ||
        limit(RLIMIT_FSIZE, 0) < 0 || limit(RLIMIT_NPROC, 0) < 0)
        return -1;
    for (int fd = 3; fd < 256; fd++)
        close(fd);
    if (limit(RLIMIT_NOFILE, 3) < 0)
        return -1;
    return allow_only_reading_and_writing();
}

static int write_all(int fd, const uint8_t *p, size_t len)
{
    while (len) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

static int walk(int in, int out, uint8_t *chunk)
{
    struct stream_check s;

    stream_check_init(&s, 0);
    for (;;) {
        size_t used = 0;
        ssize_t n = read(in, chunk, CHUNK);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return 1;
        if (n == 0)
            return STREAM_CHECK_CUT;
        enum stream_check_status status = stream_check_feed(&s, chunk, (size_t)n, &used);
        if (write_all(out, chunk, used) < 0)
            return 1;
        if (status == STREAM_DONE)
            return 0;
        if (status == STREAM_BAD)
            return STREAM_CHECK_EXIT + (int)s.reason;
    }
}

int stream_check_main(int in, int out)
{
    uint8_t *chunk;

    /* The descriptors' numbers are 0 to 2 from here on, so that the rest can be closed unseen. */
    if ((in != 0 && dup2(in, 0) < 0) || (out != 1 && dup2(out, 1) < 0))
        return 1;
    signal(SIGPIPE, SIG_IGN);
    chunk = malloc(CHUNK);
    if (!chunk || lock_up() < 0) {
        free(chunk);
        return 1;
    }
    _exit(walk(0, 1, chunk)); /* exit() would run handlers that need more than we kept */
}
