/* violin: one program, several roles. This file reads the options before the command and hands over.
 *
 *   violin peer          the supervisor (root)        → agent, peer-child
 *   violin agent         the agent (root)             started by the supervisor
 *   violin peer-child    the peer (unprivileged)      started by the supervisor
 *   violin stream-check  a migration stream's walker  started by the agent
 *   violin init, join    make this host a member; authority export, import
 *   violin config        the configuration
 *   anything else        a client of the running peer's control socket */
#include <argp.h>
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "peer/agent.h"
#include "peer/base/log.h"
#include "peer/base/trace.h"
#include "peer/cli.h"
#include "peer/config.h"
#include "peer/daemon.h"
#include "peer/setup.h"
#include "peer/supervisor.h"
#include "peer/version.h"
#include "xen/stream_check.h"

static const char *config_file = CONFIG_FILE;

static void help(FILE *out)
{
    fprintf(out, "Usage: violin [-c FILE] [-s SOCKET] COMMAND [ARGUMENTS]\n\n"
                 "Keeps environments of virtual machines running well across Xen hosts.\n\n"
                 "  -c, --config FILE   configuration (default " CONFIG_FILE ")\n"
                 "  -s, --socket SOCKET the peer's control socket (default: as configured)\n"
                 "  -h, --help          this text\n"
                 "  -V, --version       the version\n\n"
                 "On a host:\n"
                 "  init --domain NAME        make a domain, with this host as its first member\n"
                 "  join TOKEN                be admitted to a domain\n"
                 "  authority export|import   the domain's secret key, encrypted in a file\n"
                 "  peer                      run the peer (systemd does it: violin.service)\n"
                 "  config check|print        the configuration\n\n"
                 "With a running peer:\n");
    for (const struct cli_command *c = cli_commands; c->name; c++)
        fprintf(out, "  %s %-*s %s\n", c->name, (int)(strlen(c->name) < 24 ? 24 - strlen(c->name) : 0), c->args, c->what);
    fprintf(out, "\n`violin COMMAND --help` tells more.\n");
}

/* 0, or the exit status with a line printed. */
static int load(struct config *c)
{
    static const struct {
        const char *word;
        enum vi_level level;
    } levels[] = {{"error", VI_LOG_ERROR}, {"warn", VI_LOG_WARN}, {"info", VI_LOG_INFO}, {"debug", VI_LOG_DEBUG}};
    char why[600] = "";
    if (config_load(c, config_file, why, sizeof why)) {
        fprintf(stderr, "violin: %s\n", why);
        return EXIT_CONFIGURATION;
    }
    for (unsigned i = 0; i < 4; i++)
        if (!strcmp(c->log_level, levels[i].word))
            vi_log_level(levels[i].level);
    return 0;
}

static int help_of(const char *command, const char *text)
{
    printf("Usage: violin %s\n\n%s\n", command, text);
    return 0;
}

static bool wants_help(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-?"))
            return true;
    return false;
}

static int run_supervisor(int argc, char **argv)
{
    struct config c;
    int err;
    if (wants_help(argc, argv))
        return help_of("peer", "Runs the peer in the foreground: a supervisor, an agent with root's rights and the\n"
                               "unprivileged process that faces the network. SIGTERM ends it in order.");
    if (argc > 1) {
        fprintf(stderr, "violin: peer takes no argument `%s`\n", argv[1]);
        return 2;
    }
    err = load(&c);
    if (err)
        return err;
    if (!setup_is_member(c.state_dir)) {
        fprintf(stderr, "violin: %s: this host is in no domain yet; run `violin init --domain NAME` on the first "
                        "host, `violin join TOKEN` on every other\n", c.state_dir);
        return EXIT_CONFIGURATION;
    }
    const char *const agent_argv[] = {"violin", "-c", config_file, "agent", NULL};
    const char *const peer_argv[] = {"violin", "-c", config_file, "peer-child", NULL};
    struct supervisor_options o = {.agent_argv = agent_argv,
                                   .peer_argv = peer_argv,
                                   .state_dir = c.state_dir,
                                   .run_dir = c.run_dir,
                                   .user = c.user,
                                   .group = c.group,
                                   .simulated = !strcmp(c.hypervisor, "simulated")};
    return supervisor_main(&o);
}

/* So that ps and top don't call all three the same. */
static void call_process(const char *name)
{
    (void)prctl(PR_SET_NAME, name);
    trace_on_crash(name);
}

static int run_agent(void)
{
    struct config c;
    const char *folders[CONFIG_LIST + 1], *adopt[CONFIG_LIST];
    int err = load(&c);
    if (err)
        return err;
    call_process("violin-agent");
    if (config_image_cache(&c))
        return EXIT_CONFIGURATION; /* the peer says why */
    folders[0] = c.image_cache;
    for (unsigned i = 0; i < c.n_image_dirs; i++)
        folders[1 + i] = c.image_dirs[i];
    for (unsigned i = 0; i < c.n_disk_adopt; i++)
        adopt[i] = c.disk_adopt[i];
    struct agent_options o = {.run_dir = c.run_dir,
                              .hypervisor = c.hypervisor,
                              .simulated_dir = c.simulated_dir,
                              .simulated_limbo = c.simulated_limbo[0] ? c.simulated_limbo : NULL,
                              .outside_bridge = c.outside_bridge[0] ? c.outside_bridge : NULL,
                              .image_folders = folders,
                              .n_image_folders = c.n_image_dirs + 1,
                              .disk_folder = c.disk_folder[0] ? c.disk_folder : NULL,
                              .adopt_folders = adopt,
                              .n_adopt_folders = c.n_disk_adopt,
                              .user = c.user,
                              .state_dir = c.agent_dir,
                              .control_fd = AGENT_CONTROL_FD};
    return agent_main(&o);
}

/* Of the process and its threads; and, where the kernel makes a group of each session, in which alone nice values
 * count (sched(7), "autogroup"), of the group. */
static void set_priority(long nice)
{
    FILE *f;
    if (setpriority(PRIO_PROCESS, 0, (int)nice))
        fprintf(stderr, "violin: the peer keeps its priority: %s\n", strerror(errno));
    f = fopen("/proc/self/autogroup", "we");
    if (!f)
        return;
    fprintf(f, "%ld", nice);
    if (fclose(f))
        fprintf(stderr, "violin: the peer's group keeps its priority: %s\n", strerror(errno));
}

static int run_peer_child(void)
{
    struct config c;
    char why[400];
    int err = load(&c);
    if (err)
        return err;
    call_process("violin-peer");
    if (geteuid() == 0 && c.peer_nice)
        set_priority(c.peer_nice);
    if (peer_child_prepare(c.user, c.group, why, sizeof why)) {
        fprintf(stderr, "violin: %s\n", why);
        return EXIT_CONFIGURATION;
    }
    return daemon_main(&c, PEER_CHILD_LINK_FD);
}

static int run_setup(int (*what)(const struct setup *, int, char **), int argc, char **argv)
{
    struct config c;
    char name[32];
    int err = load(&c);
    if (err)
        return err;
    struct setup s = {.state_dir = c.state_dir, .user = c.user, .group = c.group, .cert_lifetime = c.cert_lifetime};
    snprintf(name, sizeof name, "violin %s", argv[0]);
    argv[0] = name;
    return what(&s, argc, argv);
}

static int run_client(const char *socket, int argc, char **argv)
{
    struct config c;
    if (!socket) {
        int err = load(&c);
        if (err)
            return err;
        socket = c.socket;
    }
    return cli_run(socket, argc, argv);
}

static int dispatch(const char *socket, int argc, char **argv)
{
    const char *command = argv[0];
    if (!strcmp(command, "peer"))
        return run_supervisor(argc, argv);
    if (!strcmp(command, "agent"))
        return run_agent();
    if (!strcmp(command, "peer-child"))
        return run_peer_child();
    if (!strcmp(command, "stream-check"))
        return stream_check_main(0, 1);
    if (!strcmp(command, "init"))
        return run_setup(setup_init, argc, argv);
    if (!strcmp(command, "join"))
        return run_setup(setup_join, argc, argv);
    if (!strcmp(command, "authority") && argc > 1 && (!strcmp(argv[1], "export") || !strcmp(argv[1], "import")))
        return run_setup(setup_authority, argc, argv);
    if (!strcmp(command, "config"))
        return config_command(config_file, argc, argv);
    if (!strcmp(command, "help")) {
        help(stdout);
        return 0;
    }
    if (cli_knows(command))
        return run_client(socket, argc, argv);
    fprintf(stderr, "violin: no command `%s`; `violin --help` lists them\n", command);
    return 2;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"socket", required_argument, NULL, 's'},
                                            {"help", no_argument, NULL, 'h'},
                                            {"version", no_argument, NULL, 'V'},
                                            {NULL, 0, NULL, 0}};
    const char *socket = NULL;
    int opt;
    if (sodium_init() < 0) {
        fprintf(stderr, "violin: libsodium can't be set up\n");
        return 1;
    }
    signal(SIGPIPE, SIG_IGN);
    argp_err_exit_status = 2;
    while ((opt = getopt_long(argc, argv, "+c:s:hV", options, NULL)) != -1) {
        switch (opt) {
        case 'c': config_file = optarg; break;
        case 's': socket = optarg; break;
        case 'h': help(stdout); return 0;
        case 'V': printf("violin " VIOLIN_VERSION "\n"); return 0;
        default: fprintf(stderr, "Try `violin --help`.\n"); return 2;
        }
    }
    if (optind >= argc) {
        help(stderr);
        return 2;
    }
    return dispatch(socket, argc - optind, argv + optind);
}
