/* Image folders: found by content and by path, again when a file changes, never when it is gone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include <sodium.h>

#include "peer/base/err.h"
#include "xen/images.h"

static char folder[64], other[64];

static void put(const char *dir, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void hash_of(const char *text, uint8_t hash[IMAGES_HASH])
{
    crypto_generichash(hash, IMAGES_HASH, (const uint8_t *)text, strlen(text), NULL, 0);
}

static int setup(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/violin-images-XXXXXX");
    snprintf(other, sizeof other, "/tmp/violin-images-XXXXXX");
    return mkdtemp(folder) && mkdtemp(other) ? 0 : -1;
}

static int teardown(void **state)
{
    char cmd[256];
    (void)state;
    snprintf(cmd, sizeof cmd, "rm -rf %s %s", folder, other);
    return system(cmd);
}

static struct images *both(void)
{
    const char *folders[] = {folder, other, "/nonexistent/violin"};
    struct images *im = images_new(folders, 3);
    assert_non_null(im);
    assert_int_equal(images_refresh(im), 0);
    return im;
}

static void test_lookup(void **state)
{
    uint8_t h[IMAGES_HASH], want[IMAGES_HASH];
    char path[IMAGES_PATH], full[256];
    (void)state;
    put(folder, "vmlinux", "kernel bytes");
    put(other, "initrd", "ramdisk bytes");
    put(folder, ".hidden", "hidden bytes");
    struct images *im = both();
    hash_of("kernel bytes", want);
    snprintf(full, sizeof full, "%s/vmlinux", folder);
    assert_int_equal(images_path_of(im, want, path), 0);
    assert_string_equal(path, full);
    assert_int_equal(images_hash_of(im, full, h), 0);
    assert_memory_equal(h, want, IMAGES_HASH);
    snprintf(full, sizeof full, "%s/../%s/vmlinux", folder, strrchr(folder, '/') + 1);
    assert_int_equal(images_hash_of(im, full, h), 0);
    hash_of("ramdisk bytes", want);
    assert_int_equal(images_path_of(im, want, path), 0);
    hash_of("hidden bytes", want);
    assert_int_equal(images_path_of(im, want, path), VI_ENOTFOUND);
    assert_int_equal(images_hash_of(im, "/etc/passwd", h), VI_ENOTFOUND);
    assert_int_equal(images_hash_of(im, "vmlinux", h), VI_ENOTFOUND);
    images_free(im);
}

static void test_changes(void **state)
{
    uint8_t was[IMAGES_HASH], now[IMAGES_HASH], h[IMAGES_HASH];
    char path[IMAGES_PATH], full[256];
    (void)state;
    put(folder, "disk", "one");
    struct images *im = both();
    snprintf(full, sizeof full, "%s/disk", folder);
    hash_of("one", was);
    hash_of("two and more", now);
    assert_int_equal(images_path_of(im, was, path), 0);
    put(folder, "disk", "two and more");
    /* Changed but not hashed again: known by neither. */
    assert_int_equal(images_path_of(im, was, path), VI_ENOTFOUND);
    assert_int_equal(images_hash_of(im, full, h), VI_EAGAIN);
    assert_int_equal(images_refresh(im), 0);
    assert_int_equal(images_path_of(im, was, path), VI_ENOTFOUND);
    assert_int_equal(images_path_of(im, now, path), 0);
    unlink(full);
    assert_int_equal(images_path_of(im, now, path), VI_ENOTFOUND);
    assert_int_equal(images_refresh(im), 0);
    assert_int_equal(images_hash_of(im, full, h), VI_ENOTFOUND);
    images_free(im);
}

/* The peer's user writes the cache: what it can't read itself it gets by no link, and by no other name. */
static void test_folder_of_another(void **state)
{
    uint8_t want[IMAGES_HASH];
    char path[IMAGES_PATH], full[256], link_name[256], moved[256];
    (void)state;
    if (geteuid() != 0)
        skip();
    put(other, "own", "what the user wrote");
    put(other, "roots", "another name of root's file");
    put(folder, "secret", "for root's eyes");
    snprintf(full, sizeof full, "%s/own", other);
    assert_int_equal(chown(full, 65534, 65534), 0);
    assert_int_equal(chown(other, 65534, 65534), 0);
    snprintf(full, sizeof full, "%s/secret", folder);
    snprintf(link_name, sizeof link_name, "%s/link", other);
    assert_int_equal(symlink(full, link_name), 0);
    assert_int_equal(lchown(link_name, 65534, 65534), 0);
    struct images *im = both();
    hash_of("what the user wrote", want);
    assert_int_equal(images_path_of(im, want, path), 0);
    assert_false(images_led_astray(path));
    assert_true(images_led_astray(link_name));
    assert_int_equal(images_named(im, "link", want), VI_ENOTFOUND);
    assert_int_equal(images_named(im, "roots", want), VI_ENOTFOUND);
    assert_int_equal(images_hash_of(im, link_name, want), VI_ENOTFOUND);
    assert_int_equal(images_named(im, "secret", want), 0); /* in a folder of root's */
    images_free(im);
    snprintf(moved, sizeof moved, "%s-moved", other); /* the folder itself becomes a link */
    assert_int_equal(rename(other, moved), 0);
    assert_int_equal(symlink(folder, other), 0);
    assert_int_equal(lchown(other, 65534, 65534), 0);
    const char *folders[] = {other};
    im = images_new(folders, 1);
    assert_non_null(im);
    assert_int_equal(images_refresh(im), VI_EIO);
    assert_int_equal(images_named(im, "secret", want), VI_ENOTFOUND);
    images_free(im);
    assert_int_equal(unlink(other), 0);
    assert_int_equal(rename(moved, other), 0);
}

static void test_bound(void **state)
{
    char name[32];
    (void)state;
    for (int i = 0; i < IMAGES_MAX + 10; i++) {
        snprintf(name, sizeof name, "f%d", i);
        put(folder, name, name);
    }
    snprintf(name, sizeof name, "fifo");
    char path[256];
    snprintf(path, sizeof path, "%s/%s", other, name);
    assert_int_equal(mkfifo(path, 0600), 0);
    struct images *im = both();
    assert_int_equal(images_left_out(im), 10);
    images_free(im);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_lookup, setup, teardown),
        cmocka_unit_test_setup_teardown(test_changes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_folder_of_another, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bound, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
