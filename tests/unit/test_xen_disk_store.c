/* A host's disks: what a record may be, and what operators and handovers do to copies. No device is made here: that
 * wants a kernel with a device mapper (tests/xen/check_disks.py). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "peer/base/err.h"
#include "xen/disk_store.h"

static char folder[64], why[256];
static struct disk_store *s;
static const struct vi_id a = {.b = {1}}, b = {.b = {2}}, c = {.b = {3}}, out = {.b = {0x77}}, back = {.b = {0x78}};

static int set_up(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/violin-disks.XXXXXX");
    assert_non_null(mkdtemp(folder));
    s = disk_store_open(folder, why, sizeof why);
    assert_non_null(s);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    while (disk_store_count(s))
        if (disk_store_remove(s, &disk_store_at(s, 0)->id, why, sizeof why))
            assert_int_equal(disk_store_discard(s, &disk_store_at(s, 0)->by, &disk_store_at(s, 0)->id, why, sizeof why), 0);
    disk_store_close(s);
    assert_int_equal(rmdir(folder), 0); /* nothing is left in it */
    return 0;
}

static void again(void)
{
    disk_store_close(s);
    s = disk_store_open(folder, why, sizeof why);
    assert_non_null(s);
}

static enum disk_kind kind_of(const struct vi_id *id)
{
    const struct disk_record *r = disk_store_find(s, id);
    assert_non_null(r);
    return r->kind;
}

static long size_of(const struct vi_id *id)
{
    char path[160], text[VI_ID_TEXT];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s.img", folder, vi_id_format(id, text));
    return stat(path, &st) ? -1 : (long)st.st_size;
}

static void records_there_and_back(void **state)
{
    struct disk_record r = {.id = a, .name = "web-1", .kind = DISK_OLD, .sectors = 409600, .generation = 7, .by = out,
                            .below = "/dev/vg0/web-1"}, t;
    char text[DISK_RECORD_MAX];
    int n = disk_record_encode(&r, text, sizeof text);
    (void)state;
    assert_true(n > 0);
    assert_int_equal(disk_record_decode(&t, text, (size_t)n), 0);
    assert_memory_equal(&t.id, &r.id, sizeof r.id);
    assert_string_equal(t.name, r.name);
    assert_string_equal(t.below, r.below);
    assert_int_equal(t.kind, DISK_OLD);
    assert_int_equal(t.sectors, 409600);
    assert_int_equal(t.generation, 7);
    for (int i = 0; i < n; i++)
        assert_int_equal(disk_record_decode(&t, text, (size_t)i), VI_EPROTO);
    text[n] = 'x';
    assert_int_equal(disk_record_decode(&t, text, (size_t)n + 1), VI_EPROTO);
    r.sectors = DISK_SECTORS_MAX + 1;
    assert_int_equal(disk_record_encode(&r, text, sizeof text), VI_EINVAL);
    r.sectors = 8;
    strcpy(r.below, "/dev/../etc/passwd");
    assert_int_equal(disk_record_encode(&r, text, sizeof text), VI_EINVAL);
    strcpy(r.below, "");
    strcpy(r.name, "../x");
    assert_int_equal(disk_record_encode(&r, text, sizeof text), VI_EINVAL);
}

static void an_operators(void **state)
{
    (void)state;
    assert_int_equal(disk_store_create(s, &a, "web", 2048, why, sizeof why), 0);
    assert_int_equal(size_of(&a), 1048576);
    assert_int_equal(disk_store_create(s, &b, "web", 2048, why, sizeof why), VI_EEXIST);
    assert_int_equal(disk_store_create(s, &b, "a/b", 2048, why, sizeof why), VI_EINVAL);
    assert_int_equal(disk_store_create(s, &b, "b", 0, why, sizeof why), VI_EINVAL);
    assert_int_equal(disk_store_adopt(s, &b, "b", "/etc", why, sizeof why), VI_ENOTFOUND);
    again();
    assert_int_equal(disk_store_count(s), 1);
    assert_int_equal(kind_of(&a), DISK_TRUE);
    assert_int_equal(disk_store_remove(s, &a, why, sizeof why), 0);
    assert_int_equal(size_of(&a), -1);
    assert_int_equal(disk_store_remove(s, &a, why, sizeof why), VI_ENOTFOUND);
}

/* As many as there can be: an old one makes room for one more, a true one doesn't. */
static void full_of_disks(void **state)
{
    (void)state;
    for (unsigned i = 0; i < DISKS_MAX; i++) {
        struct vi_id id = {.b = {0xe0, (uint8_t)i, 1}};
        char name[16];
        snprintf(name, sizeof name, "d%u", i);
        assert_int_equal(disk_store_create(s, &id, name, 8, why, sizeof why), 0);
    }
    assert_int_equal(disk_store_make(s, &out, &a, "web", 8, false, why, sizeof why), VI_EFULL);
    assert_int_equal(disk_store_count(s), DISKS_MAX);
    assert_int_equal(disk_store_retire(s, &back, &(struct vi_id){.b = {0xe0, 7, 1}}, 1, why, sizeof why), 0);
    assert_int_equal(disk_store_make(s, &out, &a, "web", 8, false, why, sizeof why), 0);
    assert_null(disk_store_find(s, &(struct vi_id){.b = {0xe0, 7, 1}}));
    assert_int_equal(disk_store_count(s), DISKS_MAX);
}

/* Comes, is owned, goes again, comes back on the old copy; each step twice, with a restart in between. */
static void a_handovers(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++, again())
        assert_int_equal(disk_store_make(s, &out, &a, "web", 2048, false, why, sizeof why), 0);
    assert_int_equal(kind_of(&a), DISK_ARRIVING);
    assert_int_equal(disk_store_make(s, &back, &a, "web", 2048, false, why, sizeof why), VI_ESTATE);
    assert_int_equal(disk_store_own(s, &back, &a, 2, why, sizeof why), VI_ENOTFOUND);
    for (int i = 0; i < 2; i++, again())
        assert_int_equal(disk_store_own(s, &out, &a, 2, why, sizeof why), 0);
    assert_int_equal(kind_of(&a), DISK_TRUE);
    assert_int_equal(disk_store_make(s, &back, &a, "web", 2048, false, why, sizeof why), VI_EEXIST);
    assert_int_equal(disk_store_discard(s, &back, &a, why, sizeof why), 0); /* not what that one made */
    assert_int_equal(kind_of(&a), DISK_TRUE);
    assert_int_equal(disk_store_retire(s, &back, &a, 1, why, sizeof why), 0); /* not of that generation */
    assert_int_equal(kind_of(&a), DISK_TRUE);
    for (int i = 0; i < 2; i++, again())
        assert_int_equal(disk_store_retire(s, &back, &a, 2, why, sizeof why), 0);
    assert_int_equal(kind_of(&a), DISK_OLD);
    assert_true(vi_id_equal(&disk_store_find(s, &a)->by, &back));
    assert_int_equal(disk_store_make(s, &c, &a, "web", 4096, true, why, sizeof why), VI_EINVAL);
    assert_int_equal(disk_store_make(s, &c, &a, "web", 2048, true, why, sizeof why), 0);
    assert_int_equal(kind_of(&a), DISK_ARRIVING);
    for (int i = 0; i < 2; i++, again())
        assert_int_equal(disk_store_discard(s, &c, &a, why, sizeof why), 0);
    assert_int_equal(disk_store_count(s), 0);
    assert_int_equal(size_of(&a), -1);
}

static void an_old_copy_is_not_started_from(void **state)
{
    char path[DISK_PATH], below[DISK_PATH];
    (void)state;
    assert_int_equal(disk_store_create(s, &a, "web", 2048, why, sizeof why), 0);
    assert_int_equal(disk_store_retire(s, &out, &a, 1, why, sizeof why), 0);
    assert_int_equal(disk_store_device(s, &a, path, below, why, sizeof why), VI_ESTATE);
    assert_non_null(strstr(why, "old copy"));
    assert_int_equal(disk_store_device(s, &b, path, below, why, sizeof why), VI_ENOTFOUND);
}

static void no_old_copy_goes_for_nothing(void **state)
{
    uint64_t room;
    (void)state;
    assert_int_equal(disk_store_create(s, &a, "web", 2048, why, sizeof why), 0);
    assert_int_equal(disk_store_create(s, &b, "db", 2048, why, sizeof why), 0);
    assert_int_equal(disk_store_retire(s, &out, &a, 1, why, sizeof why), 0);
    room = disk_store_room(s);
    if (room >= DISK_SECTORS_MAX)
        skip(); /* it would be there */
    assert_int_equal(disk_store_make(s, &out, &c, "web", room < DISK_SECTORS_MAX / 2 ? room * 2 : DISK_SECTORS_MAX, false, why,
                                     sizeof why), VI_EFULL);
    assert_non_null(strstr(why, " are wanted, "));
    assert_non_null(strstr(why, " are left in the disks' folder (violin disk list)"));
    assert_int_equal(kind_of(&a), DISK_OLD); /* with it there would be no room, either */
    assert_int_equal(kind_of(&b), DISK_TRUE);
    assert_int_equal(kind_of(&c), DISK_ARRIVING);
    assert_int_equal(disk_store_discard(s, &out, &c, why, sizeof why), 0);
}

/* On a file system of 16 MiB, which root may mount for itself. */
static void old_copies_go_when_room_is_needed(void **state)
{
    const uint64_t mib = 2048;
    (void)state;
    if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) || mount("none", folder, "tmpfs", 0, "size=16m"))
        skip();
    again();
    assert_int_equal(disk_store_create(s, &a, "web", 4 * mib, why, sizeof why), 0);
    assert_int_equal(disk_store_create(s, &b, "db", 4 * mib, why, sizeof why), 0);
    assert_int_equal(disk_store_make(s, &out, &c, "old", 9 * mib, false, why, sizeof why), VI_EFULL);
    assert_int_equal(disk_store_discard(s, &out, &c, why, sizeof why), 0);
    assert_int_equal(disk_store_retire(s, &out, &a, 1, why, sizeof why), 0);
    assert_in_range(disk_store_room(s), 7 * mib, 8 * mib); /* some is kept for records */
    assert_int_equal(disk_store_make(s, &out, &c, "web", 6 * mib, false, why, sizeof why), 0);
    assert_null(disk_store_find(s, &a));
    assert_int_equal(kind_of(&b), DISK_TRUE);
    assert_int_equal(disk_store_own(s, &out, &c, 2, why, sizeof why), 0);
    assert_int_equal(disk_store_remove(s, &b, why, sizeof why), 0);
    assert_int_equal(disk_store_remove(s, &c, why, sizeof why), 0);
    disk_store_close(s);
    assert_int_equal(umount(folder), 0);
    s = disk_store_open(folder, why, sizeof why);
    assert_non_null(s);
}

/* Who offers a disk chooses its id and name: they may be so that the name with some of the id is another's. */
static void no_two_disks_of_one_name(void **state)
{
    const struct vi_id chosen = {.b = {0xaa, 0xbb, 0xcc, 1}};
    (void)state;
    assert_int_equal(disk_store_create(s, &a, "db", 2048, why, sizeof why), 0);
    assert_int_equal(disk_store_create(s, &b, "db-aabbcc", 2048, why, sizeof why), 0);
    assert_int_equal(disk_store_make(s, &out, &chosen, "db", 2048, false, why, sizeof why), VI_EEXIST);
    assert_null(disk_store_find(s, &chosen));
    assert_int_equal(disk_store_make(s, &out, &c, "db", 2048, false, why, sizeof why), 0);
    assert_string_equal(disk_store_find(s, &c)->name, "db-030000");
    assert_int_equal(disk_store_discard(s, &out, &c, why, sizeof why), 0);
}

/* What took it away says so again when it is on its way back: it is left alone. */
static void late_words_of_older_handovers(void **state)
{
    (void)state;
    assert_int_equal(disk_store_create(s, &a, "web", 2048, why, sizeof why), 0);
    assert_int_equal(disk_store_retire(s, &out, &a, 1, why, sizeof why), 0);
    assert_int_equal(disk_store_make(s, &back, &a, "web", 2048, true, why, sizeof why), 0);
    assert_int_equal(disk_store_retire(s, &out, &a, 1, why, sizeof why), 0);
    assert_int_equal(disk_store_discard(s, &out, &a, why, sizeof why), 0);
    assert_int_equal(kind_of(&a), DISK_ARRIVING);
    assert_true(vi_id_equal(&disk_store_find(s, &a)->by, &back));
}

/* A device that was there before under the disk's name may be on something else. */
static void what_a_device_lies_on(void **state)
{
    char one[96], two[96], loop[DISK_PATH] = "";
    int fd;
    (void)state;
    snprintf(one, sizeof one, "%s/one", folder);
    snprintf(two, sizeof two, "%s/two", folder);
    for (int i = 0; i < 2; i++) {
        fd = open(i ? two : one, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        assert_int_equal(ftruncate(fd, 1 << 20), 0);
        close(fd);
    }
    assert_false(disk_lies_on(one, one)); /* no device */
    if (disk_loop_open(one, loop, why, sizeof why) == 0) {
        bool there = disk_lies_on(loop, one), itself = disk_lies_on(loop, loop), other = disk_lies_on(loop, two), gone;
        unlink(one);
        gone = disk_lies_on(loop, one);
        assert_int_equal(disk_loop_close(loop), 0);
        assert_true(there && itself);
        assert_false(other || gone);
    }
    unlink(one);
    unlink(two);
}

static void strange_files_are_left_alone(void **state)
{
    char path[160];
    FILE *f;
    (void)state;
    snprintf(path, sizeof path, "%s/%032d.disk", folder, 0);
    f = fopen(path, "w");
    fputs("violin disk 9\n", f);
    fclose(f);
    again();
    assert_int_equal(disk_store_count(s), 0);
    assert_int_equal(unlink(path), 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_there_and_back),
        cmocka_unit_test_setup_teardown(an_operators, set_up, tear_down),
        cmocka_unit_test_setup_teardown(full_of_disks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_handovers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_old_copy_is_not_started_from, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_old_copy_goes_for_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(old_copies_go_when_room_is_needed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_two_disks_of_one_name, set_up, tear_down),
        cmocka_unit_test_setup_teardown(late_words_of_older_handovers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_a_device_lies_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(strange_files_are_left_alone, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
