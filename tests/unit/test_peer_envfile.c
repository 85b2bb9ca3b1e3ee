/* The file of `violin env apply`, and what a guest is made of. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "peer/base/err.h"
#include "peer/envfile.h"
#include "peer/envmake_internal.h"

static struct envfile f;
static char why[400];
static const uint8_t was_long[ENVMAKE_DESCRIPTION];

static int parse(const char *text)
{
    return envfile_parse(&f, text, strlen(text), "web.env", why, sizeof why);
}

static void test_whole(void **state)
{
    (void)state;
    assert_int_equal(parse("# an environment\n\nname = web # here\nguests=6\r\nhead = host-2\nkernel = vmlinuz\n"
                           "ramdisk = \"initrd.img\"\nimage = {\"root.img\", data.img}\ncopy = \"var.img:4G\"\ndisk = 512M\nmemory = 512\nmax-memory = 1024\n"
                           "vcpus = 2\nweight = 300\ncommand-line = \"root=/dev/xvda ro # no comment\"\n"
                           "network = \"10.9.0.0/24\"\non-poweroff = destroy\non-crash = restart\nshares = 50\nstrict = yes"), 0);
    assert_string_equal(f.name, "web");
    assert_int_equal(f.guests, 6);
    assert_true(f.head && f.strict);
    assert_string_equal(f.head_host, "host-2");
    assert_string_equal(f.ramdisk, "initrd.img");
    assert_int_equal(f.n_disks, 4);
    assert_string_equal(f.disk[1].image, "data.img");
    assert_int_equal(f.disk[1].kind, ENVFILE_IMAGE);
    assert_int_equal(f.disk[2].kind, ENVFILE_COPY);
    assert_string_equal(f.disk[2].image, "var.img");
    assert_int_equal(f.disk[2].mib, 4096);
    assert_int_equal(f.disk[3].kind, ENVFILE_EMPTY);
    assert_int_equal(f.disk[3].mib, 512);
    assert_string_equal(f.cmdline, "root=/dev/xvda ro # no comment");
    assert_int_equal(f.max_memory, 1024);
    assert_int_equal(f.shares, 50);
    assert_string_equal(f.on_crash, "restart");
    assert_string_equal(f.on_reboot, "");
}

static void test_least(void **state)
{
    (void)state;
    assert_int_equal(parse("name = a\nkernel = k\nhead = yes\n"), 0);
    assert_int_equal(f.memory, 256);
    assert_int_equal(f.max_memory, 0);
    assert_string_equal(f.head_host, "");
    assert_int_equal(parse("name = a\nkernel = k\nhead = yes\nmemory = 512M\nmax-memory = 2G\n"), 0);
    assert_int_equal(f.memory, 512);
    assert_int_equal(f.max_memory, 2048);
    assert_int_equal(parse("name = a\nkernel = k\nimage = one\nimage = two\nguests = 1\n"), 0);
    assert_int_equal(f.n_disks, 2);
    assert_int_equal(parse("name = a\nkernel = k\ncopy = {\"one\", \"two:1T\"}\nimage = three\nguests = 1\n"), 0);
    assert_int_equal(f.disk[0].mib, 0);
    assert_int_equal(f.disk[1].mib, 1024 * 1024);
    assert_int_equal(f.disk[2].kind, ENVFILE_IMAGE);
}

static void test_refused(void **state)
{
    static const struct {
        const char *text, *says;
    } bad[] = {
        {"", "web.env: name is missing"},
        {"name = a\nguests = 1\n", "web.env: kernel is missing"},
        {"name = a\nkernel = k\n", "web.env: guests is missing"},
        {"name = a\nkernel = k\nguests = 65\n", "web.env:3: guests: a number from 0 to 64, not `65`"},
        {"name = a\nkernel = k\nguests = -1\n", "web.env:3: guests"},
        {"name = a\nkernel = k\nguests = 99999999999999999999\n", "web.env:3: guests"},
        {"name = a\nkernel = k\nguests = 1\nmax-memory = 100\n", "max-memory is less"},
        {"name = a\nkernal = k\n", "web.env:2: `kernal` is no key"},
        {"name a\n", "web.env:1: should be like"},
        {"name = a b\n", "web.env:1: should be like"},
        {"name = \"a\n", "web.env:1: should be like"},
        {"name = {a}\n", "web.env:1: should be like"},
        {"name = \"a\x01\"\n", "web.env:1: should be like"},
        {"image = {a, b\n", "web.env:1: should be like"},
        {"image = {a b}\n", "web.env:1: should be like"},
        {"image = {a, b, c, d, e}\n", "web.env:1: image, copy, disk: at most 4"},
        {"image = {a, b, c, d}\ndisk = 1G\n", "web.env:2: image, copy, disk: at most 4"},
        {"disk = 10\n", "web.env:1: disk: a size like 512M or 10G"},
        {"disk = 0G\n", "web.env:1: disk: a size"},
        {"disk = 3T\n", "web.env:1: disk: a size"},
        {"disk = 10GB\n", "web.env:1: disk: a size"},
        {"disk = 99999999999999999999M\n", "web.env:1: disk: a size"},
        {"copy = \"a:big\"\n", "web.env:1: copy: an image"},
        {"copy = \":4G\"\n", "web.env:1: copy: an image"},
        {"copy = \"a,b\"\n", "web.env:1: copy: an image"},
        {"kernel = {a, b}\n", "web.env:1: should be like"},
        {"strict = maybe\n", "web.env:1: strict: yes or no"},
        {"on-crash = explode\n", "web.env:1: on-crash: destroy"},
        {"\n\nmemory = 8\n", "web.env:3: memory: MiB from 16"},
        {"memory = 8M\n", "web.env:1: memory: MiB from 16"},
        {"memory = 2T\n", "web.env:1: memory: MiB from 16"},
        {"memory = 512MB\n", "web.env:1: memory: MiB from 16 to 1048576, or like 512M or 2G, not `512MB`"},
        {"priority = 101\n", "web.env:1: priority: a number from 0 to 100"},
        {"name = a\nkernel = k\nguests = 17\nspread = yes\n", "spread is for 16 guests"},
    };
    static char big[ENVFILE_MAX + 2];
    (void)state;
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(parse(bad[i].text), VI_EINVAL);
        if (!strstr(why, bad[i].says))
            fail_msg("`%s` says: %s", bad[i].text, why);
    }
    memset(big, '\n', sizeof big);
    assert_int_equal(envfile_parse(&f, big, sizeof big, "big", why, sizeof why), VI_EINVAL);
}

static void test_example(void **state)
{
    static char text[ENVFILE_MAX];
    FILE *in = fopen("deploy/examples/web.env", "r");
    size_t n;
    (void)state;
    assert_non_null(in);
    n = fread(text, 1, sizeof text, in);
    fclose(in);
    if (envfile_parse(&f, text, n, "web.env", why, sizeof why))
        fail_msg("%s", why);
    assert_string_equal(f.name, "web");
}

static void test_description(void **state)
{
    struct envmake_spec s = {.vcpus = 1, .kb = 64 * 1024, .max_kb = 128 * 1024, .weight = 256, .kernel = {1}};
    struct hv_description d, e;
    struct vi_id job = {.b = {5}}, env = {.b = {6}}, other = {.b = {7}};
    (void)state;
    s.n_disks = 1;
    s.disk[0][0] = 9;
    s.net = true;
    memcpy(s.net4, (uint8_t[]){10, 9, 0, 0}, 4);
    s.prefix = 24;
    snprintf(s.cmdline, sizeof s.cmdline, "root=/dev/xvda ro host=%%N n=%%n ip=%%a/%%p 100%%%%");
    assert_int_equal(envmake_spec_check(&s, why, sizeof why), 0);
    assert_int_equal(envmake_describe(&s, &job, &env, "web", 3, &d), 0);
    assert_string_equal(d.name, "web-3");
    assert_string_equal(d.cmdline, "root=/dev/xvda ro host=web-3 n=3 ip=10.9.0.13/24 100% violin.name=web-3 "
                                   "violin.root=tmpfs violin.address=10.9.0.13/24");
    assert_true(d.kept && d.disks[0].readonly && d.n_vifs == 1);
    assert_int_equal(envmake_describe(&s, &job, &env, "web", 0, &e), 0);
    assert_string_equal(e.name, "web-head");
    assert_true(e.n_vifs == 2 && vi_id_is_zero(&e.vifs[1].environment));
    assert_memory_not_equal(d.vifs[0].mac, e.vifs[0].mac, 6);
    assert_int_equal(envmake_describe(&s, &other, &env, "web", 3, &e), 0);
    assert_memory_equal(d.vifs[0].mac, e.vifs[0].mac, 6); /* of the environment and the number, always */
    assert_false(vi_id_equal(&d.uuid, &e.uuid));
    snprintf(s.cmdline, sizeof s.cmdline, "a;b");
    assert_int_equal(envmake_spec_check(&s, why, sizeof why), VI_EINVAL);
    snprintf(s.cmdline, sizeof s.cmdline, "%%x");
    assert_int_equal(envmake_spec_check(&s, why, sizeof why), VI_EINVAL);
    snprintf(s.cmdline, sizeof s.cmdline, "a%%");
    assert_int_equal(envmake_spec_check(&s, why, sizeof why), VI_EINVAL);
}

static void test_writable(void **state)
{
    struct envmake_spec s = {.vcpus = 1, .kb = 64 * 1024, .max_kb = 128 * 1024, .weight = 256, .kernel = {1}};
    struct vi_id job = {.b = {5}}, env = {.b = {6}}, id;
    struct hv_description d;
    char name[HV_NAME_MAX];
    (void)state;
    s.n_disks = 3;
    s.disk[0][0] = 9;
    s.sectors[0] = 4096;
    s.disk[1][0] = 8;
    s.sectors[2] = 2048;
    assert_int_equal(envmake_spec_check(&s, why, sizeof why), 0);
    assert_int_equal(envmake_describe(&s, &job, &env, "web", 3, &d), 0);
    assert_string_equal(d.cmdline, "violin.name=web-3"); /* its root can be written to */
    assert_int_equal(d.n_disks, 3);
    assert_true(d.disks[0].kind == HV_DISK_MOVABLE && !d.disks[0].readonly);
    assert_true(d.disks[1].kind == HV_DISK_IMAGE && d.disks[1].readonly);
    envmake_disk_id(&d.uuid, 2, &id);
    assert_true(vi_id_equal(&d.disks[2].id, &id) && !vi_id_equal(&d.disks[0].id, &id));
    assert_string_equal(d.disks[2].vdev, "xvdc");
    envmake_disk_name(d.name, 2, name);
    assert_string_equal(name, "web-3-xvdc");
    s.sectors[2] = DISK_SECTORS_MAX + 1;
    assert_int_equal(envmake_spec_check(&s, why, sizeof why), VI_EINVAL);
    assert_non_null(strstr(why, "2 TiB"));
}

static size_t read_file(const char *name, uint8_t *out, size_t cap)
{
    char path[100];
    FILE *in;
    size_t n;
    snprintf(path, sizeof path, "tests/fuzz/corpus/envmake/%s", name);
    in = fopen(path, "rb");
    assert_non_null(in);
    n = fread(out, 1, cap, in);
    fclose(in);
    return n;
}

/* What a version before writable disks said and wrote is read, and said and written again byte for byte: it reads ours. */
static void test_version_before(void **state)
{
    static struct mk_job j;
    struct mk_question q;
    struct mk_guest g;
    uint8_t was[ENVMAKE_RECORD_MAX], is[ENVMAKE_RECORD_MAX];
    static const char *const questions[] = {"lease", "make", "run", "set", "what", "list"};
    size_t n;
    (void)state;
    for (unsigned i = 0; i < sizeof questions / sizeof *questions; i++) {
        n = read_file(questions[i], was, sizeof was);
        assert_int_equal(mk_question_decode(&q, was, n), 0);
        assert_int_equal(mk_question_encode(&q, is, sizeof is), n);
        assert_memory_equal(was, is, n);
    }
    n = read_file("guest", was, sizeof was);
    assert_int_equal(mk_guest_decode(&g, was, n), 0);
    assert_int_equal(mk_guest_encode(&g, is, sizeof is), n);
    assert_memory_equal(was, is, n);
    n = read_file("job", was, sizeof was);
    assert_int_equal(mk_job_decode(&j, was, n), 0);
    assert_int_equal(mk_job_encode(&j, is, sizeof is), n);
    assert_memory_equal(was, is, n);
}

/* The longest question about disks fits a datagram, and one whose disks aren't those of its description is refused. */
static void test_questions_with_disks(void **state)
{
    struct mk_question q, got;
    uint8_t b[ENVMAKE_QUESTION_MAX];
    size_t len = read_file("make_disks", b, sizeof b);
    int n;
    (void)state;
    assert_int_equal(mk_question_decode(&q, b, len), 0);
    assert_int_equal(q.disks.sectors[1], 2048);
    assert_int_equal(q.disks.image[1][0], 3);
    assert_int_equal(q.disks.sectors[2], 4096);
    for (size_t cut = 0; cut < len; cut++)
        assert_int_not_equal(mk_question_decode(&got, b, cut), 0);
    q.disks.sectors[0] = 8;
    n = mk_question_encode(&q, b, sizeof b);
    assert_true(n > 0);
    assert_int_equal(mk_question_decode(&got, b, (size_t)n), VI_EINVAL);
    for (unsigned i = 0; i < ENVMAKE_DISKS; i++) {
        q.disks.sectors[i] = DISK_SECTORS_MAX;
        q.disks.image[i][0] = 1;
    }
    q.len = ENVMAKE_DESCRIPTION - 4 * ENVMAKE_DISKS;
    q.description = was_long;
    n = mk_question_encode(&q, b, sizeof b);
    assert_in_range(n, 1, ENVMAKE_QUESTION_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_least),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_example),
        cmocka_unit_test(test_description),
        cmocka_unit_test(test_writable),
        cmocka_unit_test(test_version_before),
        cmocka_unit_test(test_questions_with_disks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
