/* The supervisor: its children, which are this program again, are killed and come back; SIGTERM ends
 * everything in order; a configuration that can't work ends it; nothing is left behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <stdio.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "peer/base/clock.h"
#include "peer/base/err.h"
#include "peer/base/log.h"
#include "peer/supervisor.h"

static char base[64], state_dir[96], run_dir[96];

/* ---- the children ------------------------------------------------------------------------------------------------- */

/* Each start appends its pid to a file, each orderly end the word. */
static void note(const char *what, const char *dir, int n)
{
    char path[160], text[64];
    snprintf(path, sizeof path, "%s/%s", dir, what);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    int len = snprintf(text, sizeof text, "%d\n", n);
    if (fd < 0 || write(fd, text, (size_t)len) != len)
        _exit(90);
    close(fd);
}

static volatile sig_atomic_t told;

static void on_signal(int n)
{
    told = n;
}

/* Waits until the other end of descriptor 3 closes or a signal comes; counts links that come. */
static int child(const char *role, const char *dir)
{
    char c[512];
    struct sigaction sa = {.sa_handler = on_signal};
    sigset_t held, none;
    sigemptyset(&none);
    sigemptyset(&held);
    sigaddset(&held, SIGTERM);
    sigaddset(&held, SIGHUP);
    sigprocmask(SIG_BLOCK, &held, NULL); /* they come while it waits, and are never missed just before */
    sigaction(SIGTERM, &sa, NULL);
    sigaction(SIGHUP, &sa, NULL);
    note(role, dir, (int)getpid());
    if (access(dir, W_OK) == 0) {
        snprintf(c, sizeof c, "%s/bad-config", dir);
        if (!strcmp(role, "peer") && access(c, F_OK) == 0)
            return EXIT_CONFIGURATION;
    }
    while (told != SIGTERM) {
        struct iovec iov = {c, sizeof c};
        char control[64];
        struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
                           .msg_controllen = sizeof control};
        struct pollfd there = {.fd = 3, .events = POLLIN};
        ssize_t n = ppoll(&there, 1, NULL, &none) > 0 ? recvmsg(3, &m, 0) : -1;
        if (told == SIGHUP) {
            note("hup", dir, 1);
            told = 0;
        } else if (n == 0) {
            return 1;
        } else if (n > 0 && CMSG_FIRSTHDR(&m)) {
            note("link", dir, 1);
        }
    }
    note("ended", dir, !strcmp(role, "agent") ? 2 : 1);
    return 0;
}

/* ---- watching ------------------------------------------------------------------------------------------------------- */

/* The numbers in a file; how many. */
static int numbers(const char *what, int *out, int cap)
{
    char path[160];
    int n = 0;
    snprintf(path, sizeof path, "%s/%s", base, what);
    FILE *f = fopen(path, "r");
    while (f && n < cap && fscanf(f, "%d", &out[n]) == 1)
        n++;
    if (f)
        fclose(f);
    return n;
}

static int wait_numbers(const char *what, int n, int *out)
{
    for (int i = 0; i < 1000; i++) {
        if (numbers(what, out, 64) >= n)
            return out[n - 1];
        usleep(20000);
    }
    fail_msg("waited in vain for %d × %s", n, what);
    return 0;
}

static bool is_gone(int pid)
{
    for (int i = 0; i < 500; i++) {
        if (kill(pid, 0))
            return true;
        usleep(20000);
    }
    return false;
}

static pid_t start(void)
{
    pid_t pid = fork();
    if (pid)
        return pid;
    const char *const agent[] = {"test", "agent", base, NULL}, *const peer[] = {"test", "peer", base, NULL};
    struct supervisor_options o = {.agent_argv = agent, .peer_argv = peer, .state_dir = state_dir,
                                   .run_dir = run_dir, .user = "nobody", .group = "nogroup",
                                   .simulated = true};
    vi_log_level(VI_LOG_ERROR);
    _exit(supervisor_main(&o));
}

static int set_up(void **state)
{
    (void)state;
    snprintf(base, sizeof base, "/tmp/violin-supervisor-XXXXXX");
    assert_non_null(mkdtemp(base));
    snprintf(state_dir, sizeof state_dir, "%s/state", base);
    snprintf(run_dir, sizeof run_dir, "%s/run", base);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    char cmd[128];
    snprintf(cmd, sizeof cmd, "rm -rf %s", base);
    return system(cmd);
}

static void children_come_back(void **state)
{
    (void)state;
    int agents[64], peers[64], n[64], status;
    pid_t s = start();
    int agent = wait_numbers("agent", 1, agents), peer = wait_numbers("peer", 1, peers);
    struct stat st;
    wait_numbers("link", 1, n);
    assert_int_equal(stat(state_dir, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    kill(s, SIGHUP);
    wait_numbers("hup", 1, n);
    /* the peer alone: the agent lives and gets another link */
    kill(peer, SIGKILL);
    peer = wait_numbers("peer", 2, peers);
    wait_numbers("link", 2, n);
    assert_int_equal(numbers("agent", agents, 64), 1);
    /* the agent: both */
    kill(agent, SIGKILL);
    agent = wait_numbers("agent", 2, agents);
    assert_true(is_gone(peer));
    peer = wait_numbers("peer", 3, peers);
    wait_numbers("link", 3, n);
    kill(s, SIGTERM);
    assert_int_equal(waitpid(s, &status, 0), s);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    int count = numbers("ended", n, 64); /* peer 1, agent 2; the peer of the dead agent may be there */
    assert_true(count >= 2 && n[count - 2] == 1 && n[count - 1] == 2);
    assert_true(is_gone(agent) && is_gone(peer));
}

static void a_killed_supervisor_leaves_no_children(void **state)
{
    (void)state;
    int agents[64], peers[64], status;
    pid_t s = start();
    int agent = wait_numbers("agent", 1, agents), peer = wait_numbers("peer", 1, peers);
    kill(s, SIGKILL);
    waitpid(s, &status, 0);
    assert_true(is_gone(agent));
    assert_true(is_gone(peer)); /* its link ended with the agent */
}

static void a_second_one_ends(void **state)
{
    (void)state;
    int agents[64], peers[64], status;
    pid_t s = start();
    wait_numbers("agent", 1, agents);
    wait_numbers("peer", 1, peers);
    pid_t second = start();
    assert_int_equal(waitpid(second, &status, 0), second);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_FAILURE);
    assert_int_equal(numbers("agent", agents, 64), 1);
    assert_int_equal(numbers("peer", peers, 64), 1);
    kill(s, SIGTERM);
    assert_int_equal(waitpid(s, &status, 0), s);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void a_bad_configuration_ends_it(void **state)
{
    (void)state;
    char path[128];
    int n[64], status;
    snprintf(path, sizeof path, "%s/bad-config", base);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    pid_t s = start();
    assert_int_equal(waitpid(s, &status, 0), s);
    assert_int_equal(WEXITSTATUS(status), EXIT_CONFIGURATION);
    assert_int_equal(numbers("peer", n, 64), 1);
    assert_true(is_gone(n[0]));
}

static void folders_of_everybody_are_refused(void **state)
{
    (void)state;
    char why[256] = "";
    assert_int_equal(make_owned_folder("/tmp", 0700, "nobody", "nogroup", why, sizeof why), VI_EINVAL);
    assert_int_equal(make_owned_folder("/", 0700, "nobody", "nogroup", why, sizeof why), VI_EINVAL);
    assert_int_equal(symlink("/etc", state_dir), 0);
    assert_int_equal(make_owned_folder(state_dir, 0700, "nobody", "nogroup", why, sizeof why), VI_EIO);
    if (geteuid() == 0)
        assert_int_equal(make_owned_folder(run_dir, 0700, "no-such-user", "", why, sizeof why),
                         VI_ENOTFOUND);
}

static void root_is_given_up(void **state)
{
    (void)state;
    int status;
    if (geteuid() != 0)
        skip();
    pid_t pid = fork();
    if (pid == 0) {
        char why[256];
        if (peer_child_prepare("root", "root", why, sizeof why) != VI_EINVAL)
            _exit(1);
        if (peer_child_prepare("nobody", "nogroup", why, sizeof why))
            _exit(2);
        if (geteuid() == 0 || getegid() == 0 || setuid(0) == 0 || setgid(0) == 0)
            _exit(3);
        char line[128];
        unsigned long long caps = 1;
        FILE *f = fopen("/proc/self/status", "r");
        while (f && fgets(line, sizeof line, f))
            if (sscanf(line, "CapBnd: %llx", &caps) == 1 || sscanf(line, "CapEff: %llx", &caps) == 1)
                if (caps)
                    _exit(4);
        _exit(f ? 0 : 5);
    }
    waitpid(pid, &status, 0);
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(children_come_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_killed_supervisor_leaves_no_children, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_second_one_ends, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_bad_configuration_ends_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(folders_of_everybody_are_refused, set_up, tear_down),
        cmocka_unit_test(root_is_given_up),
    };
    if (argc == 3 && (!strcmp(argv[1], "agent") || !strcmp(argv[1], "peer")))
        return child(argv[1], argv[2]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
