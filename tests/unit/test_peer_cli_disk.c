/* `violin disk` against a server that answers what a test wants; and what hosts say to each other of their copies. */
#include "tests/unit/cli_server.h"

#include "peer/diskcopy.h"

static unsigned shown;

static void flag(struct vi_writer *w, const char *key, bool v)
{
    vi_write_str(w, key);
    vi_write_bool(w, v);
}

static void a_disk(struct vi_writer *w, const char *name, const char *state, const char *guest)
{
    vi_write_map(w, guest ? 6 : 5);
    text(w, "name", name);
    number(w, "size", 10737418240.0);
    text(w, "state", state);
    text(w, "kind", "true");
    text(w, "device", "/dev/mapper/violin-data");
    if (guest)
        text(w, "guest", guest);
}

static void disk_list(const char *method, uint64_t id, struct vi_writer *w)
{
    (void)method;
    response(w, id);
    vi_write_map(w, 2);
    number(w, "room", 536870912);
    vi_write_str(w, "disks");
    vi_write_array(w, 3);
    a_disk(w, "data", "true copy, being moved to host2, 41 %", "web-1");
    a_disk(w, "web-2-xvda", "arriving from host2, 41 %", NULL);
    a_disk(w, "logs", "old copy, of 10:12, kept as a base until its room is needed", NULL);
}

static void nothing_there(const char *method, uint64_t id, struct vi_writer *w)
{
    (void)method;
    response(w, id);
    vi_write_map(w, 2);
    number(w, "room", 0);
    vi_write_str(w, "disks");
    vi_write_array(w, 0);
}

static void disk_show(const char *method, uint64_t id, struct vi_writer *w)
{
    (void)method;
    response(w, id);
    vi_write_map(w, 6);
    text(w, "name", "data");
    text(w, "id", "0123");
    text(w, "state", "true copy");
    vi_write_str(w, "copies");
    vi_write_array(w, 1);
    vi_write_map(w, 3);
    text(w, "host", "host2");
    text(w, "state", "old copy, of 10:12, kept as a base until its room is needed");
    number(w, "generation", 3);
    vi_write_str(w, "silent");
    vi_write_array(w, 1);
    vi_write_str(w, "host3");
    number(w, "unasked", 2);
}

/* Copied in three looks. */
static void creating(const char *method, uint64_t id, struct vi_writer *w)
{
    bool over = shown > 1;
    response(w, id);
    if (!strcmp(method, "disk.create")) {
        shown = 0;
        vi_write_map(w, 1);
        text(w, "id", "0123");
        return;
    }
    shown++;
    vi_write_map(w, over ? 7 : 6);
    text(w, "name", "data");
    number(w, "size", 10737418240.0);
    number(w, "done_bytes", over ? 1048576 : 524288);
    number(w, "of_bytes", 1048576);
    flag(w, "over", over);
    text(w, "why", "");
    if (over)
        text(w, "device", "/dev/mapper/violin-data");
}

static void creating_fails(const char *method, uint64_t id, struct vi_writer *w)
{
    response(w, id);
    vi_write_map(w, strcmp(method, "disk.create") ? 2 : 1);
    text(w, strcmp(method, "disk.create") ? "why" : "id", "disk data: there is no room for it");
    if (strcmp(method, "disk.create"))
        flag(w, "over", true);
}

static void adopting(const char *method, uint64_t id, struct vi_writer *w)
{
    (void)method;
    response(w, id);
    a_disk(w, "data", "true copy", NULL);
}

static void attaching(const char *method, uint64_t id, struct vi_writer *w)
{
    (void)method;
    response(w, id);
    vi_write_map(w, 4);
    text(w, "disk", "data");
    text(w, "guest", "web-1");
    text(w, "vdev", "xvdb");
    text(w, "why", "");
}

static void nothing(const char *method, uint64_t id, struct vi_writer *w)
{
    (void)method;
    response(w, id);
    vi_write_map(w, 0);
}

static void test_list(void **unused)
{
    (void)unused;
    assert_int_equal(run("disk list", disk_list), CLI_OK);
    assert_string_equal(asked, "disk.list {}\n");
    says(out, "NAME");
    says(out, "10 GiB");
    says(out, "web-1");
    says(out, "arriving from host2, 41 %");
    says(out, "old copy, of 10:12, kept as a base until its room is needed");
    says(out, "room for more: 512 MiB\n");
    assert_int_equal(run("disk list --json", disk_list), CLI_OK);
    says(out, "\"room\":536870912");
    assert_int_equal(run("disk list", nothing_there), CLI_OK);
    says(out, "violin disk create NAME SIZE");
}

static void test_show(void **unused)
{
    (void)unused;
    assert_int_equal(run("disk show data", disk_show), CLI_OK);
    assert_string_equal(asked, "disk.show {disk data}\n");
    says(out, "host2");
    says(out, "old copy, of 10:12");
    says(out, "host3 doesn't say whether it has one\n");
    says(out, "2 further hosts weren't asked\n");
}

/* A host's old copy of a disk that may be in another domain: nobody here says that it is gone. */
static void moved_out(const char *method, uint64_t id, struct vi_writer *w)
{
    (void)method;
    response(w, id);
    vi_write_map(w, 6);
    text(w, "name", "data");
    text(w, "kind", "old");
    text(w, "state", "old copy, of 10:12; it went to host3.venus.example.org");
    vi_write_str(w, "copies");
    vi_write_array(w, 0);
    vi_write_str(w, "silent");
    vi_write_array(w, 0);
    number(w, "unasked", 0);
}

static void test_show_moved_out(void **unused)
{
    (void)unused;
    assert_int_equal(run("disk show data", moved_out), CLI_OK);
    says(out, "it went to host3.venus.example.org\n");
    says(out, "no other host of this domain has a copy of it; where its guest went the true one is (violin history)\n");
}

static void test_create(void **unused)
{
    (void)unused;
    assert_int_equal(run("disk create data 10G", creating), CLI_OK);
    assert_string_equal(asked, "disk.create {name data size 10737418240}\ndisk.making {id 0123}\ndisk.making {id 0123}\n"
                               "disk.making {id 0123}\n");
    says(out, "disk data of 10 GiB is made\n");
    says(out, "violin disk attach data GUEST\n");
    says(out, "disk = [ 'phy:/dev/mapper/violin-data,xvda,w' ]\n");
    assert_int_equal(run("disk create data --copy root.img:512M --json", creating), CLI_OK);
    says(asked, "disk.create {name data size 536870912 image root.img}\n");
    says(out, "\"device\":\"/dev/mapper/violin-data\"");
    assert_string_equal(err, "");
    assert_int_equal(run("disk create data --copy root.img", creating), CLI_OK);
    says(asked, "disk.create {name data image root.img}\n");
    assert_int_equal(run("disk create data 10G", creating_fails), CLI_FAILED);
    says(err, "violin: disk data isn't made: there is no room for it\n");
    assert_string_equal(out, "");
}

static void test_adopt(void **unused)
{
    (void)unused;
    assert_int_equal(run("disk adopt data /dev/vg0/data", adopting), CLI_OK);
    assert_string_equal(asked, "disk.adopt {name data path /dev/vg0/data}\n");
    assert_string_equal(out, "disk = [ 'phy:/dev/mapper/violin-data,xvda,w' ]\n"); /* alone: for a script */
    says(err, "put that line into the guest's configuration");
    assert_int_equal(run("disk adopt data Makefile", adopting), CLI_OK);
    says(asked, "/Makefile}\n"); /* a whole path */
    says(asked, "path /");
}

static void test_others(void **unused)
{
    static const struct {
        const char *words, *asks;
    } t[] = {
        {"disk remove data", "disk.remove {disk data}\n"},
        {"disk remove data --force", "disk.show {disk data}\ndisk.remove {disk data force 1}\n"},
    };
    (void)unused;
    for (unsigned i = 0; i < sizeof t / sizeof *t; i++) {
        assert_int_equal(run(t[i].words, nothing), CLI_OK);
        assert_string_equal(asked, t[i].asks);
        assert_string_equal(out, "");
        assert_int_equal(run(t[i].words, refuse), CLI_FAILED);
    }
    assert_int_equal(run("disk attach data web-1", attaching), CLI_OK);
    assert_string_equal(asked, "disk.attach {disk data guest web-1}\n");
    assert_string_equal(out, "web-1 has data as xvdb\n");
    assert_int_equal(run("disk detach data", attaching), CLI_OK);
    assert_string_equal(asked, "disk.detach {disk data}\n");
    assert_string_equal(out, "data is taken from web-1; it stays here, also when that is removed (violin disk remove data)\n");
    assert_int_equal(run("disk detach data", refuse), CLI_FAILED);
    assert_int_equal(run("disk remove data --force", disk_show), CLI_OK);
    says(out, "copies of it stay on host2: there, violin disk remove 0123\n");
    assert_int_equal(run("disk attach data web-1 xvdb --json", attaching), CLI_OK);
    assert_string_equal(asked, "disk.attach {disk data guest web-1 vdev xvdb}\n");
    says(out, "\"guest\":\"web-1\"");
}

static void test_wrong_use(void **unused)
{
    static const char *const bad[] = {
        "disk", "disk paint data", "disk create", "disk create data", "disk create data 10", "disk create data 10G --copy a",
        "disk create data --copy a --copy b", "disk create data --copy a:b", "disk create data 3T", "disk create data 0M",
        "disk show", "disk attach data", "disk attach a b c d", "disk adopt data", "disk remove", "disk detach", "disk list x"};
    (void)unused;
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(run(bad[i], nothing), CLI_USAGE);
        assert_string_equal(asked, "");
        assert_string_not_equal(err, "");
    }
}

/* What is missing is said, not that the command isn't known. */
static void test_missing(void **unused)
{
    static const struct {
        const char *words, *says;
    } t[] = {{"disk show", "violin: disk show wants a DISK; `violin disk list` shows them\n"},
             {"disk remove", "violin: disk remove wants a DISK"}, {"disk detach", "violin: disk detach wants a DISK"},
             {"disk create", "violin: disk create wants a NAME and a SIZE"}, {"disk create x 1M more", "violin: disk create wants a NAME and a SIZE"},
             {"disk list x", "violin: disk list wants nothing more\n"},
             {"disk paint data", "not `paint`"}};
    (void)unused;
    for (unsigned i = 0; i < sizeof t / sizeof *t; i++) {
        assert_int_equal(run(t[i].words, nothing), CLI_USAGE);
        says(err, t[i].says);
    }
}

static void test_copies(void **unused)
{
    struct diskcopy a = {.here = true, .kind = DISK_OLD, .generation = 7, .since = 1700000000}, b;
    struct vi_id id = {.b = {1, 2, 3}}, got;
    uint8_t buf[DISKCOPY_MAX + 1];
    int n = diskcopy_ask(&id, buf);
    (void)unused;
    assert_true(n > 0);
    assert_int_equal(diskcopy_asked(&got, buf, (size_t)n), 0);
    assert_true(vi_id_equal(&id, &got));
    for (int cut = 0; cut < n; cut++)
        assert_int_equal(diskcopy_asked(&got, buf, (size_t)cut), VI_EPROTO);
    n = diskcopy_encode(&a, buf);
    assert_true(n > 0);
    assert_int_equal(diskcopy_decode(&b, buf, (size_t)n), 0);
    assert_true(b.here && b.kind == DISK_OLD && b.generation == 7 && b.since == 1700000000);
    for (int cut = 0; cut < n; cut++)
        assert_int_equal(diskcopy_decode(&b, buf, (size_t)cut), VI_EPROTO);
    buf[n] = 0;
    assert_int_equal(diskcopy_decode(&b, buf, (size_t)n + 1), VI_EPROTO);
    a.here = false;
    n = diskcopy_encode(&a, buf);
    assert_int_equal(diskcopy_decode(&b, buf, (size_t)n), 0);
    assert_false(b.here);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_show),
        cmocka_unit_test(test_show_moved_out),
        cmocka_unit_test(test_create),
        cmocka_unit_test(test_adopt),
        cmocka_unit_test(test_others),
        cmocka_unit_test(test_wrong_use),
        cmocka_unit_test(test_missing),
        cmocka_unit_test(test_copies),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
