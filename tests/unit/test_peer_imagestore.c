/* The image cache on a real disk: taken in, fetched in chunks, resumed, wrong, changed behind our back, made room for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "peer/base/err.h"
#include "peer/imagestore.h"

#define SIZE (3 * IMAGE_CHUNK + 77)

static char dir[64], cache[80], other[80], why[200];
static uint8_t bytes[SIZE];
static struct image_file files[IMAGE_FILES_MAX];
static uint8_t parts[IMAGE_PARTS_MAX][IMAGE_HASH];
static unsigned n_parts;

static void put_file(const char *folder, const char *name, const void *data, size_t len)
{
    char path[200];
    FILE *f;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, len, f), len);
    fclose(f);
}

static bool exists(const char *folder, const char *before, const uint8_t hash[IMAGE_HASH], const char *after)
{
    char path[300], hex[IMAGE_HASH_TEXT];
    snprintf(path, sizeof path, "%s/%s%s%s", folder, before, image_hash_format(hash, hex), after);
    return access(path, F_OK) == 0;
}

static int set_up(void **unused)
{
    (void)unused;
    snprintf(dir, sizeof dir, "/tmp/violin-image-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(cache, sizeof cache, "%s/cache", dir);
    snprintf(other, sizeof other, "%s/other", dir);
    assert_int_equal(mkdir(other, 0755), 0);
    assert_int_equal(image_store_open(cache, why, sizeof why), 0);
    assert_int_equal(image_store_open(cache, why, sizeof why), 0);
    for (unsigned i = 0; i < SIZE; i++)
        bytes[i] = (uint8_t)(i * 7 + i / 65536);
    return 0;
}

static int tear_down(void **unused)
{
    char command[100];
    (void)unused;
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command);
}

static unsigned scan(unsigned known)
{
    static struct image_file before[IMAGE_FILES_MAX];
    const char *dirs[] = {other, "/nowhere/at/all"};
    struct image_progress p = {0};
    memcpy(before, files, sizeof before);
    return image_store_scan(cache, dirs, 2, before, known, files, parts, &n_parts, &p);
}

static struct image_file take(void)
{
    struct image_file f = {.added = true, .name = "root"};
    struct image_progress p = {0};
    put_file(cache, ".add-0011223344556677", bytes, SIZE);
    assert_int_equal(image_store_take(cache, ".add-0011223344556677", &f, &p), 0);
    assert_int_equal(p.done, SIZE);
    return f;
}

static void taken_in(void **unused)
{
    struct image_file f = take(), none = {.size = 0};
    uint8_t hash[IMAGE_HASH], *m;
    uint64_t size;
    size_t len;
    (void)unused;
    image_hash(bytes, SIZE, hash);
    assert_memory_equal(f.hash, hash, IMAGE_HASH);
    assert_int_equal(f.size, SIZE);
    assert_true(f.cached && f.added && exists(cache, "", hash, ""));
    m = image_store_manifest(cache, &f, &len);
    assert_non_null(m);
    assert_int_equal(image_manifest_check(m, len, &size), 0);
    for (uint32_t c = 0; c < image_chunks(size); c++)
        assert_true(image_chunk_good(m, c, bytes + (size_t)c * IMAGE_CHUNK, image_chunk_len(size, c)));
    image_hash(m, len, hash);
    assert_memory_equal(hash, f.manifest, IMAGE_HASH);
    free(m);
    put_file(cache, ".add-0011223344556677", "", 0);
    assert_int_equal(image_store_take(cache, ".add-0011223344556677", &none, NULL), VI_EINVAL);
    assert_int_equal(image_store_take(cache, ".add-0011223344556677", &none, NULL), VI_ENOTFOUND); /* it went */
    assert_true(image_store_used(cache, none.hash) >= SIZE);
    assert_int_equal(image_store_remove(cache, f.hash), 0);
    assert_int_equal(image_store_remove(cache, f.hash), VI_ENOTFOUND);
    assert_false(exists(cache, ".", f.hash, ".manifest"));
}

/* A manifest that was lost is made again. */
static void manifest_made_again(void **unused)
{
    struct image_file f = take();
    char path[300], hex[IMAGE_HASH_TEXT];
    size_t len;
    uint8_t *m;
    (void)unused;
    snprintf(path, sizeof path, ".%s.manifest", image_hash_format(f.hash, hex));
    put_file(cache, path, "nonsense", 8);
    m = image_store_manifest(cache, &f, &len);
    assert_non_null(m);
    assert_int_equal(len, image_manifest_len(SIZE));
    free(m);
}

static void looked_through(void **unused)
{
    struct image_file f = take();
    char path[300], hex[IMAGE_HASH_TEXT];
    unsigned n;
    (void)unused;
    put_file(other, "kernel", "a kernel", 8);
    put_file(other, "copy", bytes, SIZE); /* the same content: one image */
    put_file(other, "empty", "", 0);
    put_file(other, ".hidden", "x", 1);
    put_file(cache, "README", "not an image's name", 19);
    files[0] = f;
    n = scan(1);
    assert_int_equal(n, 2);
    assert_string_equal(files[0].name, "root");
    assert_true(files[0].added && files[0].cached && !files[1].cached);
    assert_int_equal(files[1].size, 8);
    /* changed, with its time set back: known by the time of the change */
    snprintf(path, sizeof path, "%s/%s", cache, image_hash_format(f.hash, hex));
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = f.mtime / 1000000000, .tv_nsec = f.mtime % 1000000000}};
    assert_int_equal(chmod(path, 0644), 0);
    int fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, "wrong", 5, IMAGE_CHUNK), 5);
    close(fd);
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    n = scan(2);
    assert_false(exists(cache, "", f.hash, "")); /* it isn't what its name says */
    assert_int_equal(n, 2); /* the copy is, still */
    assert_false(files[0].cached);
}

/* ---- parts ---- */

static uint8_t *manifest_of(uint8_t hash[IMAGE_HASH], size_t *len)
{
    uint8_t *m;
    *len = image_manifest_len(SIZE);
    m = malloc(*len);
    image_manifest_begin(m, SIZE);
    for (uint32_t c = 0; c < 4; c++)
        image_hash(bytes + (size_t)c * IMAGE_CHUNK, image_chunk_len(SIZE, c), image_manifest_chunk(m, c));
    image_hash(bytes, SIZE, hash);
    return m;
}

static int put(int fd, const uint8_t *m, uint32_t c)
{
    return image_part_put(fd, m, c, bytes + (size_t)c * IMAGE_CHUNK, image_chunk_len(SIZE, c), why, sizeof why);
}

static void fetched_and_resumed(void **unused)
{
    uint8_t hash[IMAGE_HASH], kept[4];
    struct image_file f;
    size_t len;
    uint8_t *m = manifest_of(hash, &len);
    int fd = image_part_open(cache, hash, m, len, kept, why, sizeof why);
    (void)unused;
    assert_true(fd >= 0);
    assert_memory_equal(kept, ((uint8_t[]){0, 0, 0, 0}), 4);
    assert_int_equal(put(fd, m, 2), 0);
    assert_int_equal(put(fd, m, 3), 0);
    bytes[5]++;
    assert_int_equal(put(fd, m, 0), VI_EAUTH);
    bytes[5]--;
    close(fd); /* killed */
    assert_int_equal(scan(0), 0);
    assert_int_equal(n_parts, 1);
    assert_memory_equal(parts[0], hash, IMAGE_HASH);
    fd = image_part_open(cache, hash, m, len, kept, why, sizeof why);
    assert_memory_equal(kept, ((uint8_t[]){0, 0, 1, 1}), 4);
    assert_int_equal(put(fd, m, 0), 0);
    assert_int_equal(image_part_finish(cache, hash, fd, SIZE, &f, why, sizeof why), VI_EAUTH); /* one is missing */
    assert_int_equal(put(fd, m, 1), 0);
    assert_int_equal(image_part_finish(cache, hash, fd, SIZE, &f, why, sizeof why), 0);
    close(fd);
    assert_true(exists(cache, "", hash, "") && !exists(cache, ".", hash, ".part"));
    assert_int_equal(f.size, SIZE);
    files[0] = f;
    assert_int_equal(scan(1), 1);
    assert_int_equal(n_parts, 0);
    assert_memory_equal(files[0].manifest, f.manifest, IMAGE_HASH);
    free(m);
}

/* Half of a chunk was written when the power went: it isn't taken for one. */
static void torn_chunk(void **unused)
{
    uint8_t hash[IMAGE_HASH], kept[4];
    size_t len;
    uint8_t *m = manifest_of(hash, &len);
    int fd = image_part_open(cache, hash, m, len, kept, why, sizeof why);
    (void)unused;
    assert_int_equal(pwrite(fd, bytes, IMAGE_CHUNK / 2, 0), IMAGE_CHUNK / 2);
    assert_int_equal(put(fd, m, 1), 0);
    close(fd);
    fd = image_part_open(cache, hash, m, len, kept, why, sizeof why);
    assert_memory_equal(kept, ((uint8_t[]){0, 1, 0, 0}), 4);
    close(fd);
    image_part_remove(cache, hash);
    assert_false(exists(cache, ".", hash, ".part") || exists(cache, ".", hash, ".manifest"));
    free(m);
}

static void full_disk(void **unused)
{
    uint8_t hash[IMAGE_HASH];
    size_t len;
    uint8_t *m = manifest_of(hash, &len);
    int fd = open("/dev/full", O_WRONLY);
    (void)unused;
    assert_int_equal(put(fd, m, 0), VI_EIO);
    assert_non_null(strstr(why, "No space left"));
    close(fd);
    free(m);
}

static void old_parts_go(void **unused)
{
    uint8_t hash[IMAGE_HASH], kept[4];
    char path[300], hex[IMAGE_HASH_TEXT];
    struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    size_t len;
    uint8_t *m = manifest_of(hash, &len);
    int fd = image_part_open(cache, hash, m, len, kept, why, sizeof why);
    (void)unused;
    close(fd);
    free(m);
    snprintf(path, sizeof path, "%s/.%s.part", cache, image_hash_format(hash, hex));
    assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
    put_file(cache, ".add-0011223344556677", "x", 1);
    assert_int_equal(scan(0), 0);
    assert_int_equal(n_parts, 0);
    assert_false(exists(cache, ".", hash, ".part"));
    snprintf(path, sizeof path, "%s/.add-0011223344556677", cache);
    assert_int_equal(access(path, F_OK), 0); /* it is new: somebody copies */
}

/* ---- room ---- */

static void room(void **unused)
{
    struct image_file f[4] = {{.size = 10, .used = 4}, {.size = 10, .used = 1}, {.size = 10, .used = 2}, {.size = 10, .used = 3}};
    bool keep[4] = {false, true, false, false};
    unsigned out[4], n;
    (void)unused;
    assert_int_equal(image_store_choose(f, 4, keep, 10, 40, 50, 100, 5, out, &n), 0);
    assert_int_equal(n, 0);
    assert_int_equal(image_store_choose(f, 4, keep, 15, 40, 50, 100, 5, out, &n), 0);
    assert_int_equal(n, 1);
    assert_int_equal(out[0], 2); /* 1 is older, but in use */
    assert_int_equal(image_store_choose(f, 4, keep, 40, 40, 50, 100, 5, out, &n), 0);
    assert_int_equal(n, 3);
    assert_true(out[0] == 2 && out[1] == 3 && out[2] == 0);
    assert_int_equal(image_store_choose(f, 4, keep, 41, 40, 50, 100, 5, out, &n), VI_EFULL);
    assert_int_equal(image_store_choose(f, 4, keep, 10, 40, 50, 14, 5, out, &n), 0); /* the disk's own end */
    assert_int_equal(n, 1);
    assert_int_equal(image_store_choose(f, 4, keep, 10, 40, 1000, 0, 50, out, &n), VI_EFULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(taken_in, set_up, tear_down),
        cmocka_unit_test_setup_teardown(manifest_made_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(looked_through, set_up, tear_down),
        cmocka_unit_test_setup_teardown(fetched_and_resumed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(torn_chunk, set_up, tear_down),
        cmocka_unit_test_setup_teardown(full_disk, set_up, tear_down),
        cmocka_unit_test_setup_teardown(old_parts_go, set_up, tear_down),
        cmocka_unit_test(room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
