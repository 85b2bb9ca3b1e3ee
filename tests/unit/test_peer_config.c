/* The configuration: what is printed parses again, what is wrong is said, the example is true. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "peer/base/err.h"
#include "peer/config.h"

static struct config c, d;
static char why[600];

static int parse(const char *text)
{
    return config_parse(&c, text, strlen(text), "test.conf", why, sizeof why);
}

static void test_values(void **unused)
{
    (void)unused;
    assert_int_equal(parse("port = 9\nmode = \"auto\"\nrange-high = 0.8\nseeds = {\"a@b:1\", \"c@d:2\"}\n# hm\n"), 0);
    assert_int_equal(c.port, 9);
    assert_string_equal(c.mode, "auto");
    assert_true(c.range_high > 0.79 && c.range_high < 0.81);
    assert_int_equal(c.n_seeds, 2);
    assert_string_equal(c.seeds[1], "c@d:2");
    assert_int_equal(c.evaluation_period, 5);
    assert_int_equal(parse(""), 0);
}

static void wrong(const char *text, const char *word)
{
    assert_int_equal(parse(text), VI_EINVAL);
    if (!strstr(why, word))
        fail_msg("`%s` doesn't say `%s`", why, word);
    assert_int_equal(c.port, 7411); /* the defaults, not a half */
}

static void test_wrong(void **unused)
{
    char *big = malloc(CONFIG_FILE_MAX + 2);
    (void)unused;
    wrong("port = 99999999\n", "port");
    wrong("port = 0\n", "1 to 65535");
    wrong("mode = \"auto\"\n# a comment\nport = 70000\n", "test.conf:3: port: 70000");
    wrong("\n\nrange-low = 7\n", "test.conf:3: range-low: 7 is not allowed; 0.05 to 0.9");
    wrong("cooldown = -1\n", "0 to 86400 s");
    wrong("cooldown = soon\n", "0 to 86400 s");
    wrong("cooldown = 99999999999999999999999\n", "0 to 86400 s");
    wrong("range-low = nan\n", "range-low");
    wrong("range-low = inf\n", "range-low");
    wrong("seeds = {\"a@b:1\", \"\"}\n", "test.conf:1: seeds");
    wrong("prot = 1\n", "did you mean `port`");
    wrong("\nxyzzy = 1\n", "test.conf:2: no such option 'xyzzy'");
    wrong("state-dir = '${HOME}'\n", "state-dir"); /* would be printed as something else */
    wrong("mode = \"sometimes\"\n", "observe|auto");
    wrong("port = \n", "test.conf");
    wrong("port = \"x\n", "test.conf");
    wrong("range-low = 0.8\nrange-high = 0.5\n", "range-low");
    wrong("overlay-path-mtu = 575\n", "at least 576");
    wrong("overlay-gso = \"on\"\n", "auto|off");
    wrong("evaluations-needed = 6\n", "evaluations-needed");
    wrong("socket = \"a\\tb\"\n", "socket");
    memset(big, '#', CONFIG_FILE_MAX + 1);
    big[CONFIG_FILE_MAX + 1] = 0;
    wrong(big, "1 MiB");
    free(big);
    assert_int_equal(config_load(&c, "/nonexistent", why, sizeof why), VI_EIO);
}

/* A comment's lines count once, and what looks like a comment inside quotes isn't one. */
static void test_comments(void **unused)
{
    (void)unused;
    wrong("# a\n# b\n// c\n/* d\n e */ /**/\nport = 0 # f\n", "test.conf:6: port");
    wrong("port = 9 // a\n/* b */\nport = 0\n", "test.conf:3: port");
    wrong("port = 9\n/* never ends\nmode = auto\n/", "test.conf:2: a comment");
    wrong("# a\n/* b\n */\nport = 9 /*", "test.conf:4: a comment");
    if (parse("socket = \"/a#b\" # c\nuser = '//x' run-dir = /a/b\nport = 9 /* d */"))
        fail_msg("%s", why);
    assert_string_equal(c.socket, "/a#b");
    assert_string_equal(c.user, "//x");
    assert_string_equal(c.run_dir, "/a/b");
    assert_int_equal(parse("#"), 0);
    assert_int_equal(parse("/"), VI_EINVAL);
}

static void test_bounds(void **unused)
{
    char text[CONFIG_LIST * 8 + CONFIG_TEXT + 64] = "seeds = {";
    size_t n;
    (void)unused;
    for (int i = 0; i < CONFIG_LIST; i++)
        strcat(text, i ? ", \"s\"" : "\"s\"");
    n = strlen(text);
    strcat(text, "}\n");
    assert_int_equal(parse(text), 0);
    assert_int_equal(c.n_seeds, CONFIG_LIST);
    strcpy(text + n, ", \"s\"}\n");
    wrong(text, "32 entries");
    n = (size_t)sprintf(text, "socket = \"");
    memset(text + n, 'a', CONFIG_TEXT - 1);
    strcpy(text + n + CONFIG_TEXT - 1, "\"\n");
    assert_int_equal(parse(text), 0);
    assert_int_equal(strlen(c.socket), CONFIG_TEXT - 1);
    strcpy(text + n + CONFIG_TEXT - 1, "a\"\n");
    wrong(text, "at most 255");
}

static void print(const struct config *from, char **text, size_t *len)
{
    FILE *f = open_memstream(text, len);
    config_print(from, f);
    fclose(f);
}

static void test_prints_what_parses(void **unused)
{
    char *text;
    size_t len;
    (void)unused;
    assert_int_equal(parse("port = 9\nseeds = {\"a@b:1\"}\nrange-low = 0.333\nlisten = \"::\"\n"), 0);
    print(&c, &text, &len);
    assert_int_equal(config_parse(&d, text, len, "printed", why, sizeof why), 0);
    assert_memory_equal(&c, &d, sizeof c);
    free(text);
}

static void test_example(void **unused)
{
    char *text, *file = NULL;
    size_t len, n, cap = 0;
    FILE *f = fopen("deploy/violin.conf.example", "r");
    (void)unused;
    assert_non_null(f);
    n = (size_t)getdelim(&file, &cap, 0, f);
    fclose(f);
    config_defaults(&c);
    print(&c, &text, &len);
    assert_int_equal(n, len); /* `violin -c /dev/null config print` writes it */
    assert_memory_equal(file, text, len);
    free(text);
    free(file);
}

static unsigned fits(const char *text, const char *word)
{
    char *said = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&said, &len);
    unsigned wrong;
    assert_non_null(f);
    assert_int_equal(parse(text), 0);
    wrong = config_surroundings(&c, f);
    fclose(f);
    if (!strstr(said, word))
        fail_msg("`%s` says `%s`, not `%s`", text, said, word);
    free(said);
    return wrong;
}

static void test_surroundings(void **unused)
{
#define HERE "user = root\ngroup = root\n"
    (void)unused;
    assert_int_equal(fits(HERE, ""), 0);
    assert_int_equal(fits(HERE "listen = \"host\"\n", "listen: `host`"), 1);
    assert_int_equal(fits(HERE "listen = \"::1\"\nadvertise = \"127.0.0.1:7411\"\n", ""), 0);
    assert_int_equal(fits(HERE "advertise = \"127.0.0.1\"\n", "advertise"), 1);
    assert_int_equal(fits(HERE "seeds = {\"a@b:1\", \"c\"}\n", "seeds: `c`"), 2);
    assert_int_equal(fits(HERE "image-dirs = {\"/nowhere/at/all\", \"/\"}\n", "/nowhere/at/all: No such file"), 1);
    assert_int_equal(fits(HERE "image-dirs = {\"/dev/null\"}\n", "no folder"), 1);
    assert_int_equal(fits(HERE "outside-bridge = lo\n", "there is no bridge `lo`"), 1);
    assert_int_equal(fits(HERE "state-dir = \"here\"\n", "whole path"), 1);
    assert_int_equal(fits("user = nobody-at-all\ngroup = none-at-all\n", "useradd --system nobody-at-all"), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values), cmocka_unit_test(test_wrong), cmocka_unit_test(test_comments), cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_prints_what_parses), cmocka_unit_test(test_example),
        cmocka_unit_test(test_surroundings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
