/* The commands that ask a peer, against a server that answers what a test wants: what is asked, what is
 * printed, what the exit status is. Each command runs in a process of its own. */
#include <jansson.h>

#include "peer/cli_show.h"
#include "tests/unit/cli_server.h"

static void status(const char *method, uint64_t id, struct vi_writer *w)
{
    (void)method;
    response(w, id);
    vi_write_map(w, 6);
    text(w, "host", "north\xc3\xa9");
    text(w, "mode", "observe");
    number(w, "uptime_s", 7200);
    vi_write_str(w, "members");
    vi_write_map(w, 1);
    vi_write_str(w, "alive");
    vi_write_uint(w, 3);
    vi_write_str(w, "warnings");
    vi_write_array(w, 1);
    vi_write_str(w, "one copy is suspended");
    text(w, "of_a_later_version", "\"quoted\\\"\n\x01\xff");
}

static void members(const char *method, uint64_t id, struct vi_writer *w)
{
    (void)method;
    response(w, id);
    vi_write_array(w, 2);
    vi_write_map(w, 4);
    text(w, "name", "north");
    text(w, "id", "00112233445566778899aabbccddeeff");
    text(w, "state", "alive");
    number(w, "memory_free_mib", 1024.4);
    vi_write_map(w, 2);
    text(w, "name", "a-much-longer-name");
    text(w, "state", "suspect");
}

#define LONG_MAY "admit, renew, revoke, env, federate"
#define LONG_NAME "n\xc3\xb6rdlicher-rechner-mit-einem-sehr-langen-namen-im-ersten-stock.example.org"

static void wide(const char *method, uint64_t id, struct vi_writer *w)
{
    (void)method;
    response(w, id);
    vi_write_array(w, 1);
    vi_write_map(w, 9);
    text(w, "name", LONG_NAME);
    text(w, "id", "00112233445566778899aabbccddeeff");
    text(w, "state", "alive");
    text(w, "address", "[2001:db8:1234:5678:9abc:def0:1234:5678]:7946");
    number(w, "memory_free_mib", 102400);
    number(w, "memory_total_mib", 1024000);
    number(w, "cpu_capacity_pct", 12800);
    text(w, "placement", "balance");
    text(w, "capabilities", LONG_MAY);
}

static unsigned shown;

static void moving(const char *method, uint64_t id, struct vi_writer *w)
{
    static const char *const states[] = {"offered", "streaming", "done"};
    response(w, id);
    if (!strcmp(method, "migrate")) {
        shown = 0;
        vi_write_map(w, 1);
        text(w, "handover", "0123");
        return;
    }
    vi_write_map(w, 4);
    text(w, "state", states[shown < 2 ? shown : 2]);
    shown++;
    number(w, "bytes", 20971520);
    number(w, "memory_mib", 96);
    number(w, "since_s", 2);
}

static void failing(const char *method, uint64_t id, struct vi_writer *w)
{
    response(w, id);
    vi_write_map(w, 2);
    text(w, !strcmp(method, "migrate") ? "handover" : "state", !strcmp(method, "migrate") ? "0123" : "refused");
    text(w, "why", "no room at south");
}

/* A job that makes many guests: two answers, then it is over. */
static void making(const char *method, uint64_t id, struct vi_writer *w)
{
    bool over = shown > 0;
    char name[32];
    response(w, id);
    if (!strcmp(method, "env.make")) {
        shown = 0;
        vi_write_map(w, 1);
        text(w, "job", "0123");
        return;
    }
    shown++;
    vi_write_map(w, 6);
    text(w, "phase", over ? "done" : "placing");
    number(w, "done", over ? 40 : 0);
    number(w, "total", 40);
    vi_write_str(w, "over");
    vi_write_bool(w, over);
    text(w, "why", "");
    vi_write_str(w, "guests");
    vi_write_array(w, 40);
    for (unsigned i = 0; i < 40; i++) {
        snprintf(name, sizeof name, "guest-of-many-%u", i);
        vi_write_map(w, 4);
        text(w, "name", name);
        text(w, "host", "a-host-with-a-name");
        text(w, "state", over ? "running" : "asked");
        vi_write_str(w, "done");
        vi_write_bool(w, over);
    }
}

static void token(const char *method, uint64_t id, struct vi_writer *w)
{
    (void)method;
    response(w, id);
    vi_write_map(w, 2);
    text(w, "token", "violin1-abc");
    number(w, "expires_at", 1700000000);
}

static void hang_up(const char *method, uint64_t id, struct vi_writer *w)
{
    (void)method;
    (void)id;
    (void)w;
}

static void garbage(const char *method, uint64_t id, struct vi_writer *w)
{
    (void)method;
    (void)id;
    w->data[0] = 0xc1;
    w->len = 1;
}

static void bomb(const char *method, uint64_t id, struct vi_writer *w)
{
    (void)method;
    (void)id;
    memcpy(w->data, "\xdd\x00\xff\xff\xff", 5);
    w->len = 5;
}

static void deep(const char *method, uint64_t id, struct vi_writer *w)
{
    (void)method;
    (void)id;
    memset(w->data, 0x91, 40);
    w->len = 40;
}

static void cert(const char *method, uint64_t id, struct vi_writer *w)
{
    (void)method;
    response(w, id);
    vi_write_map(w, 5);
    text(w, "host", "north");
    text(w, "issued_by", "the authority");
    number(w, "not_after", 1700000000);
    text(w, "capabilities", "admit,renew");
    vi_write_str(w, "authorities");
    vi_write_array(w, 2);
    vi_write_map(w, 2);
    text(w, "id", "aa11");
    text(w, "state", "newest");
    vi_write_map(w, 3);
    text(w, "id", "bb22");
    text(w, "state", "trusted");
    number(w, "until", 1700000000);
}

static void revocations(const char *method, uint64_t id, struct vi_writer *w)
{
    (void)method;
    response(w, id);
    vi_write_array(w, 1);
    vi_write_map(w, 4);
    text(w, "peer", "00112233445566778899aabbccddeeff");
    text(w, "host", "south");
    text(w, "by", "the authority");
    text(w, "why", "lost\x1b[2J");
}

/* ---- tests ---- */

static void test_keys(void **unused)
{
    (void)unused;
    assert_int_equal(run("cert", cert), CLI_OK);
    says(out, "issued by");
    says(out, "the authority");
    says(out, "admit,renew");
    says(out, "trusted");
    says(out, "2023-11-14");
    assert_int_equal(run("revocations", revocations), CLI_OK);
    says(out, "south");
    says(out, "00112233");
    assert_null(strchr(out, 0x1b));
    assert_int_equal(run("revocations", empty), CLI_OK);
    says(out, "nobody was revoked");
    assert_int_equal(run("revoke x", refuse), CLI_FAILED);
    assert_string_equal(out, "");
}

static void test_requests(void **unused)
{
    static const struct {
        const char *words, *asked;
    } t[] = {
        {"status", "status {}\n"},
        {"members", "members {}\n"},
        {"members --state dead", "members {state dead}\n"},
        {"members a b", "members {names [a b]}\n"},
        {"members --why", "members.why {}\n"},
        {"members --why --state left a b c --json", "members.why {state left names [a b c]}\n"},
        {"reachability", "reachability {}\n"},
        {"reachability host3 --json", "reachability {peer host3}\n"},
        {"guests --json", "guests {}\n"},
        {"env list", "env.list {}\n"},
        {"env create web", "env.create {name web shares 100}\n"},
        {"env create web --shares 7", "env.create {name web shares 7}\n"},
        {"env create web --priority 9", "env.create {priority 9 name web shares 100}\n"},
        {"env rule web", "env.rules {name web}\n"},
        {"env rule web spread a b c", "env.rule {name web kind spread guests [a b c]}\n"},
        {"env rule web together a b", "env.rule {name web kind together guests [a b]}\n"},
        {"env rule web pin a host3", "env.rule {name web kind pin guests [a] host host3}\n"},
        {"env rule web never a host3 --json", "env.rule {name web kind never guests [a] host host3}\n"},
        {"env rule web --remove 2", "env.rule.remove {name web number 2}\n"},
        {"env priority web 70", "env.priority {name web priority 70}\n"},
        {"env show web", "env.show {name web}\n"},
        {"env remove web", "env.remove {name web}\n"},
        {"env remove web --force", "env.remove {name web force 1}\n"},
        {"env start web", "env.start {name web}\n"},
        {"env stop web --force", "env.stop {name web force 1}\n"},
        {"env jobs", "env.jobs {}\n"},
        {"env create web --guests 2 --head=h1 --kernel k --image a --image b --memory 64 --append x --network 10.9.0.0/24",
         "env.make {name web guests 2 first 1 head 1 head_host h1 add 0 shares 100 strict 0 memory_mib 64 max_mib 0 vcpus 1 "
         "weight 256 kernel k ramdisk  images a,b cmdline x network 10.9.0.0/24 on_poweroff  on_reboot  on_crash }\n"},
        {"env create web --guests 2 --head=h1 --kernel k --copy a:4G --image b --disk 512M --copy c --memory 64 --append x --network 10.9.0.0/24",
         "env.make {name web guests 2 first 1 head 1 head_host h1 add 0 shares 100 strict 0 memory_mib 64 max_mib 0 vcpus 1 "
         "weight 256 kernel k ramdisk  disks copy=a:4096,image=b,disk=512,copy=c cmdline x network 10.9.0.0/24 on_poweroff  on_reboot  on_crash }\n"},
        {"env allow web b.example", "env.allow {name web domain b.example allow 1}\ndomains {}\n"},
        {"env allow web b.example --json", "env.allow {name web domain b.example allow 1}\n"},
        {"explain g1", "explain {guest g1}\n"},
        {"events", "events {after 0 limit 50}\n"},
        {"events --after 9 --limit 2", "events {after 9 limit 2}\n"},
        {"handover list", "handover.list {}\n"},
        {"handover resolve 0a keep-here", "handover.resolve {id 0a action keep-here}\n"},
        {"mode", "mode.get {}\n"},
        {"mode auto", "mode.set {mode auto}\n"},
        {"invite", "invite {uses 1 ttl_s 3600}\n"},
        {"invite --uses 3 --ttl 7d", "invite {uses 3 ttl_s 604800}\n"},
        {"invite --ttl 90", "invite {uses 1 ttl_s 90}\n"},
        {"cert", "cert {}\n"},
        {"cert renew", "cert.renew {}\n"},
        {"revoke host3", "revoke {host host3}\n"},
        {"revoke host3 --why stolen", "revoke {host host3 why stolen}\n"},
        {"revocations", "revocations {}\n"},
        {"delegate host2 admit,renew", "delegate {host host2 capabilities admit,renew ttl_s 31536000}\n"},
        {"delegate host2 none --ttl 2d", "delegate {host host2 capabilities none ttl_s 172800}\n"},
        {"authority rollover", "authority.rollover {overlap_s 2592000}\n"},
        {"authority rollover --overlap 12h", "authority.rollover {overlap_s 43200}\n"},
        {"authority retire", "authority.retire {force 0}\n"},
        {"authority retire --force", "authority.retire {force 1}\n"},
    };
    (void)unused;
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        assert_int_equal(run(t[i].words, empty), CLI_OK);
        assert_string_equal(asked, t[i].asked);
    }
}

static void test_usage(void **unused)
{
    static const char *const wrong[] = {
        "env create a --guests 2", "env create a --guests 65 --kernel k", "env create a --guests x --kernel k", "env start", "env apply",
        "env create a --guests 1 --kernel k --on-crash what", "env create a --guests 1 --kernel k --memory 8", "env create a --guests 1 --kernel k --disk 10", "env create a --guests 1 --kernel k --copy a:b",
        "env create a --guests 1 --kernel k --disk 1G --disk 1G --disk 1G --disk 1G --disk 1G", "env stop a b",
        "status extra", "explain", "env", "env paint web", "env create", "env create a b", "env create a --priority 101", "env rule", "env rule a keep b c", "env rule a spread b", "env rule a pin b", "env rule a never b c d", "env rule a --remove 0", "env rule a spread --remove 1", "env priority a", "env priority a 101", "migrate", "migrate a b c",
        "env list xx", "env jobs xx", "env show a --priority 5",
        "handover", "handover resolve 0a", "mode a b", "invite --uses 0", "invite --uses -1", "invite --uses 1x",
        "invite --ttl 0", "invite --ttl h", "invite --ttl 400d", "invite --ttl 99999999999999999999s", "events --after x",
        "events --limit 0", "monitor extra", "monitor --kind ,", "monitor --kind a,,b", "monitor --kind a,", "monitor --kind member,none", "monitor --kind members", "top --times 0", "federate", "env limit a", "members --state well",
        "members a b c d e f g h i j k l m n o p q", "env create a --shares 0", "status --nonsense", "cert forge", "cert renew now", "revoke",
        "revoke a b", "delegate a", "delegate a admit --ttl 0", "delegate a admit --ttl 4000d", "authority",
        "authority burn", "authority rollover --overlap 5s", "authority rollover --overlap x"};
    (void)unused;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        if (run(wrong[i], empty) != CLI_USAGE)
            fail_msg("`%s` is no usage error", wrong[i]);
        assert_string_equal(out, "");
        says(err, "violin");
        assert_string_equal(asked, ""); /* nothing is asked by mistake */
    }
    assert_false(cli_knows("stat"));
    assert_int_equal(run("stat", empty), CLI_USAGE);
    for (const struct cli_command *c = cli_commands; c->name; c++) {
        char words[64];
        assert_true(cli_knows(c->name));
        snprintf(words, sizeof words, "%s --help", c->name);
        assert_int_equal(run(words, empty), CLI_OK);
        says(out, "--json");
    }
}

static void test_status(void **unused)
{
    json_t *j;
    (void)unused;
    assert_int_equal(run("status", status), CLI_OK);
    says(out, "host:          north\xc3\xa9\n");
    says(out, "running for:   2.0 h\n");
    says(out, "members alive: 3\n");
    says(out, "warning: one copy is suspended\n");
    assert_null(strstr(out, "hypervisor")); /* what isn't known isn't shown */
    assert_int_equal(run("status --json", status), CLI_OK);
    j = json_loads(out, 0, NULL);
    assert_non_null(j);
    assert_string_equal(json_string_value(json_object_get(j, "host")), "north\xc3\xa9");
    assert_string_equal(json_string_value(json_object_get(j, "of_a_later_version")), "\"quoted\\\"\n\x01\xef\xbf\xbd");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(j, "members"), "alive")), 3);
    json_decref(j);
}

static void test_table(void **unused)
{
    (void)unused;
    assert_int_equal(run("members", members), CLI_OK);
    says(out, "NAME                ID        STATE    ADDRESS");
    says(out, "north               00112233  alive    -");
    says(out, "1024 MiB");
    says(out, "a-much-longer-name  -         suspect  -");
    assert_int_equal(run("members --json", members), CLI_OK);
    says(out, "\"id\":\"00112233445566778899aabbccddeeff\"");
    assert_int_equal(run("guests", empty), CLI_OK);
    assert_string_equal(out, "no guests on this host\n");
}

/* No line is longer than 120 characters: columns that say nothing go, long words are cut; in JSON all is there. */
static void test_wide_table(void **unused)
{
    (void)unused;
    assert_int_equal(run("members", wide), CLI_OK);
    for (char *line = strtok(out, "\n"); line; line = strtok(NULL, "\n")) {
        assert_true(cli_width(line) <= CLI_LINE);
        assert_null(strstr(line, "WHY"));
        if (!strncmp(line, "NAME", 4))
            continue;
        says(line, "n\xc3\xb6rdlicher-");
        says(line, "\xe2\x80\xa6  00112233  alive  ");
        says(line, "1024000 MiB  balance");
    }
    assert_int_equal(run("members --json", wide), CLI_OK);
    says(out, LONG_NAME);
    says(out, LONG_MAY);
}

static unsigned reach_asked;

/* Of one peer: at first a way is still looked for. */
static void reach(const char *method, uint64_t id, struct vi_writer *w)
{
    (void)method;
    response(w, id);
    vi_write_array(w, 1);
    if (reach_asked++ < 2) {
        vi_write_map(w, 3);
        text(w, "name", "south");
        text(w, "path", "none");
        vi_write_str(w, "handshaking");
        vi_write_bool(w, true);
        return;
    }
    vi_write_map(w, 7);
    text(w, "name", "south");
    text(w, "path", "relayed");
    text(w, "via", "north");
    number(w, "rtt_ms", 12.25);
    number(w, "loss_pct", 25);
    number(w, "since_s", 7);
    text(w, "why", "nothing passes directly, either way");
}

static void test_reachability(void **unused)
{
    (void)unused;
    reach_asked = 0;
    assert_int_equal(run("reachability south", reach), CLI_OK);
    assert_string_equal(asked, "reachability {peer south}\nreachability {peer south}\nreachability {peer south}\n");
    says(out, "PEER   STATE  PATH     VIA    ADDRESS  RTT ms  LOSS  SINCE  WHY");
    says(out, "south  -      relayed  north  -        12.25   25 %    7 s  nothing passes directly, either way");
    reach_asked = 0;
    assert_int_equal(run("reachability", reach), CLI_OK); /* of all: as it is now */
    assert_string_equal(asked, "reachability {}\n");
    says(out, "none");
    assert_int_equal(run("reachability", empty), CLI_OK);
    assert_string_equal(out, "no other peers\n");
    assert_int_equal(run("reachability nosuch", refuse), CLI_FAILED);
    assert_int_equal(run("reachability a b", reach), CLI_USAGE);
}

/* Whatever `top` asks for; a guest with nothing known of it, one with everything, one beyond its bars. */
static void picture(const char *method, uint64_t id, struct vi_writer *w)
{
    if (!strcmp(method, "status")) {
        status(method, id, w);
        return;
    }
    if (!strcmp(method, "members")) {
        members(method, id, w);
        return;
    }
    response(w, id);
    vi_write_array(w, 3);
    vi_write_map(w, 1);
    text(w, "name", "new");
    vi_write_map(w, 8);
    text(w, "name", "web");
    text(w, "state", "running");
    number(w, "vcpus", 2);
    number(w, "cpu_pct", 50);
    number(w, "entitlement_pct", 100);
    number(w, "memory_mib", 200);
    number(w, "used_mib", 150);
    number(w, "weight", 256);
    vi_write_map(w, 5);
    text(w, "name", "a\x1b[2Jliar");
    number(w, "vcpus", 1);
    number(w, "cpu_pct", 1e300);
    number(w, "memory_mib", 1);
    number(w, "used_mib", 1e9);
}

static void test_top(void **unused)
{
    (void)unused;
    assert_int_equal(run("top --times 1", picture), CLI_OK);
    says(out, "mode observe");
    says(out, "warning: one copy is suspended\n");
    says(out, "web              running  [#####-----..........]");
    says(out, "[###############.....]    150/200 M");
    says(out, "a?[2Jliar        -        [####################]");
    says(out, "?/0 M"); /* what isn't known isn't made up */
    assert_int_equal(run("top --times 2 --interval 1 --json", picture), CLI_OK);
    says(out, "{\"status\":{\"host\"");
    says(out, "],\"guests\":[{\"name\":\"new\"}");
    assert_int_equal(run("top --times 1", refuse), CLI_FAILED);
    assert_int_equal(run("top --interval 0", picture), CLI_USAGE);
    assert_int_equal(run("trace --limit 513", picture), CLI_USAGE);
    assert_int_equal(run("trace", empty), CLI_OK);
    assert_string_equal(out, "nothing was traced yet\n");
}

static void test_refused(void **unused)
{
    (void)unused;
    assert_int_equal(run("explain x", refuse), CLI_FAILED);
    assert_string_equal(err, "violin: no guest `x?[2J?31m?`\n"); /* nothing that a terminal obeys */
    assert_string_equal(out, "");
    assert_int_equal(run("migrate x", refuse), CLI_FAILED);
    assert_string_equal(asked, "migrate {guest x}\n");
}

static void test_migrate(void **unused)
{
    (void)unused;
    assert_int_equal(run("migrate g south", moving), CLI_OK);
    assert_string_equal(asked, "migrate {guest g host south}\nhandover.show {id 0123}\nhandover.show {id 0123}\n"
                               "handover.show {id 0123}\n");
    says(err, "streaming    20 MiB sent, the guest has 96 MiB\n");
    assert_int_equal(run("migrate g --json", moving), CLI_OK);
    says(out, "\"state\":\"done\"");
    assert_int_equal(run("migrate g", failing), CLI_FAILED);
    says(err, "violin: the guest was not moved: no room at south\n");
}

/* However many guests: a line of progress fits a terminal's, and says how many it leaves out. */
static void test_making(void **unused)
{
    (void)unused;
    assert_int_equal(run("env create e --guests 40 --kernel k", making), CLI_OK);
    says(err, "placing: 0 of 40 guests; guest-of-many-0 asked on a-host-with-a-na, and 39 more\n");
    says(err, "done: 40 of 40 guests\n");
    for (const char *at = err; *at; at += strcspn(at, "\n") + 1)
        assert_true(strcspn(at, "\n") <= 79);
    says(out, "guest-of-many-39  a-host-with-a-name  running  -\n"); /* no column is left empty */
    assert_int_equal(run("env create e --vcpus 2", making), CLI_USAGE);
    says(err, "kernel is missing");
    assert_string_equal(asked, "");
}

static void test_invite(void **unused)
{
    (void)unused;
    assert_int_equal(run("invite", token), CLI_OK);
    assert_string_equal(out, "violin join violin1-abc\n"); /* alone on its way to a script */
    says(err, "22:13:20");
}

static void test_no_peer(void **unused)
{
    char other[128], long_path[200];
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd;
    (void)unused;
    snprintf(other, sizeof other, "%s/none", dir);
    assert_int_equal(run_at(other, "status"), CLI_NO_PEER);
    says(err, "start it");
    snprintf(a.sun_path, sizeof a.sun_path, "%s/none", dir);
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0); /* a socket that nobody listens at */
    close(fd);
    assert_int_equal(run_at(other, "status"), CLI_NO_PEER);
    says(err, "start it");
    unlink(other);
    memset(long_path, 'x', sizeof long_path - 1);
    long_path[sizeof long_path - 1] = 0;
    assert_int_equal(run_at(long_path, "status"), CLI_USAGE);
}

static void test_bad_server(void **unused)
{
    (void)unused;
    assert_int_equal(run("status", hang_up), CLI_NO_PEER);
    says(err, "closed the connection");
    assert_int_equal(run("status", garbage), CLI_NO_PEER);
    says(err, "no msgpack-RPC");
    assert_int_equal(run("status", bomb), CLI_NO_PEER);
    says(err, "no msgpack-RPC");
    assert_int_equal(run("status", deep), CLI_NO_PEER);
    says(err, "no msgpack-RPC");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests), cmocka_unit_test(test_usage), cmocka_unit_test(test_keys), cmocka_unit_test(test_status),
        cmocka_unit_test(test_table), cmocka_unit_test(test_wide_table), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_migrate), cmocka_unit_test(test_making), cmocka_unit_test(test_invite), cmocka_unit_test(test_no_peer),
        cmocka_unit_test(test_bad_server), cmocka_unit_test(test_top), cmocka_unit_test(test_reachability),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
