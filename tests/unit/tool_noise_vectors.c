/* noise_vectors FILE...: runs Noise test vectors, in the key=value format of flynn/noise or in the
 * JSON format of cacophony, against overlay/noise.c. Only Noise_IK[psk2]_25519_{ChaChaPoly,AESGCM}_
 * BLAKE2b is run, everything else counts as skipped. Each vector is also run altered: one bit of
 * one message flipped must fail, for every message. */
#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "overlay/noise.h"

#define MESSAGES 16
#define BYTES    8192

struct blob {
    uint8_t b[BYTES];
    size_t len;
    bool set;
};

struct vector {
    char name[96];
    struct blob init_static, resp_static, init_eph, resp_eph, init_prologue, resp_prologue;
    struct blob init_remote, init_psk, resp_psk;
    struct blob payload[MESSAGES], cipher[MESSAGES];
    unsigned messages;
    bool bad; /* unreadable */
};

static unsigned passed, failed, skipped;

static void unhex(struct vector *v, struct blob *out, const char *hex)
{
    size_t n = strcspn(hex, "\r\n");

    if (sodium_hex2bin(out->b, sizeof out->b, hex, n, NULL, &out->len, NULL) || out->len * 2 != n)
        v->bad = true;
    out->set = true;
}

static bool is_ours(const char *name, struct noise_setup *su)
{
    static const struct {
        const char *name;
        enum noise_cipher cipher;
        bool psk2;
    } ours[] = {{"Noise_IK_25519_ChaChaPoly_BLAKE2b", NOISE_CHACHAPOLY, false},
                {"Noise_IK_25519_AESGCM_BLAKE2b", NOISE_AESGCM, false},
                {"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2b", NOISE_CHACHAPOLY, true},
                {"Noise_IKpsk2_25519_AESGCM_BLAKE2b", NOISE_AESGCM, true}};

    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++) {
        if (strcmp(name, ours[i].name))
            continue;
        su->cipher = ours[i].cipher;
        su->psk2 = ours[i].psk2;
        return true;
    }
    return false;
}

static bool set_up(const struct vector *v, struct noise_setup su, struct noise_handshake *i,
                   struct noise_handshake *r)
{
    struct noise_setup sr = su;
    uint8_t public[NOISE_KEY];

    if (v->init_static.len != 32 || v->resp_static.len != 32 || v->init_eph.len != 32 ||
        v->resp_eph.len != 32 || (su.psk2 && (v->init_psk.len != 32 || v->resp_psk.len != 32)))
        return false;
    crypto_scalarmult_base(public, v->resp_static.b);
    if (v->init_remote.set && (v->init_remote.len != 32 || memcmp(v->init_remote.b, public, 32)))
        return false;
    su.initiator = true;
    su.prologue = v->init_prologue.b;
    su.prologue_len = v->init_prologue.len;
    su.secret = v->init_static.b;
    su.ephemeral = v->init_eph.b;
    su.remote = public;
    su.psk = su.psk2 ? v->init_psk.b : NULL;
    sr.prologue = v->resp_prologue.b;
    sr.prologue_len = v->resp_prologue.len;
    sr.secret = v->resp_static.b;
    sr.ephemeral = v->resp_eph.b;
    sr.psk = sr.psk2 ? v->resp_psk.b : NULL;
    return !noise_init(i, &su) && !noise_init(r, &sr);
}

/* One message from one side to the other. altered: flip a bit on the way. */
static bool message(const struct vector *v, unsigned m, bool altered, struct noise_handshake *from,
                    struct noise_handshake *to)
{
    static uint8_t wire[BYTES + 256], plain[BYTES + 256];
    uint8_t tx[32], rx[32], other_tx[32], other_rx[32];
    const struct blob *p = &v->payload[m], *c = &v->cipher[m];
    size_t n = 0, got = 0;

    if (m < 2) {
        if (noise_write(from, p->b, p->len, wire, sizeof wire, &n))
            return false;
    } else {
        if (noise_split(from, tx, rx) || noise_split(to, other_tx, other_rx) ||
            memcmp(tx, other_rx, 32) || memcmp(rx, other_tx, 32) ||
            noise_seal(from->cipher, tx, m / 2 - 1, NULL, 0, p->b, p->len, wire))
            return false;
        n = p->len + NOISE_TAG;
    }
    if (n != c->len || memcmp(wire, c->b, n))
        return false;
    if (altered)
        wire[(m * 7 + 5) % n] ^= 1;
    if (m < 2) {
        if (noise_read(to, wire, n, plain, sizeof plain, &got))
            return false;
    } else {
        if (noise_open(to->cipher, other_rx, m / 2 - 1, NULL, 0, wire, n, plain))
            return false;
        got = n - NOISE_TAG;
    }
    return got == p->len && !memcmp(plain, p->b, got);
}

/* altered: the message to alter, or -1. */
static bool run(const struct vector *v, const struct noise_setup *su, int altered)
{
    struct noise_handshake i, r;

    if (!set_up(v, *su, &i, &r))
        return false;
    for (unsigned m = 0; m < v->messages; m++)
        if (!message(v, m, (int)m == altered, m % 2 ? &r : &i, m % 2 ? &i : &r))
            return false;
    return true;
}

static void check(struct vector *v)
{
    struct noise_setup su = {0};
    bool good;

    if (!is_ours(v->name, &su)) {
        skipped++;
        return;
    }
    if (!(noise_ciphers() & 1U << su.cipher)) {
        printf("skipped: %s: this machine has no AES instructions\n", v->name);
        skipped++;
        return;
    }
    good = !v->bad && v->messages >= 2 && run(v, &su, -1);
    for (unsigned m = 0; good && m < v->messages; m++) {
        if (run(v, &su, (int)m)) {
            printf("message %u altered and still accepted: ", m);
            good = false;
        }
    }
    printf("%s: %s, %u messages\n", good ? "ok" : "FAILED", v->name, v->messages);
    *(good ? &passed : &failed) += 1;
}

/* ---- key=value ---------------------------------------------------------------------------------- */

static void line(struct vector *v, char *key, const char *value)
{
    char *rest;
    unsigned long m;

    if (!strcmp(key, "init_static")) {
        unhex(v, &v->init_static, value);
    } else if (!strcmp(key, "resp_static")) {
        unhex(v, &v->resp_static, value);
    } else if (!strcmp(key, "gen_init_ephemeral") || !strcmp(key, "init_ephemeral")) {
        unhex(v, &v->init_eph, value);
    } else if (!strcmp(key, "gen_resp_ephemeral") || !strcmp(key, "resp_ephemeral")) {
        unhex(v, &v->resp_eph, value);
    } else if (!strcmp(key, "prologue")) {
        unhex(v, &v->init_prologue, value);
        v->resp_prologue = v->init_prologue;
    } else if (!strcmp(key, "preshared_key")) {
        unhex(v, &v->init_psk, value);
        v->resp_psk = v->init_psk;
    } else if (!strncmp(key, "msg_", 4)) {
        m = strtoul(key + 4, &rest, 10);
        if (m >= MESSAGES) {
            v->bad = true;
        } else if (!strcmp(rest, "_payload")) {
            unhex(v, &v->payload[m], value);
        } else if (!strcmp(rest, "_ciphertext")) {
            unhex(v, &v->cipher[m], value);
            v->messages = (unsigned)m + 1;
        }
    }
}

static void run_text(FILE *f)
{
    static char text[2 * BYTES + 128];
    struct vector *v = calloc(1, sizeof *v);
    bool any = false;
    char *eq;

    while (v && fgets(text, sizeof text, f)) {
        eq = strchr(text, '=');
        if (!eq)
            continue; /* comment or blank */
        *eq = 0;
        if (!strcmp(text, "handshake")) {
            if (any)
                check(v);
            memset(v, 0, sizeof *v);
            snprintf(v->name, sizeof v->name, "%.*s", (int)strcspn(eq + 1, "\r\n"), eq + 1);
            any = true;
        } else {
            line(v, text, eq + 1);
        }
    }
    if (any)
        check(v);
    free(v);
}

/* ---- JSON ----------------------------------------------------------------------------------------- */

static void field(struct vector *v, struct blob *out, const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));

    if (s)
        unhex(v, out, s);
}

static void psk(struct vector *v, struct blob *out, const json_t *o, const char *many,
                const char *one)
{
    const char *s = json_string_value(json_array_get(json_object_get(o, many), 0));

    if (s)
        unhex(v, out, s);
    else
        field(v, out, o, one);
}

static void json_vector(const json_t *o)
{
    struct vector *v = calloc(1, sizeof *v);
    const char *name = json_string_value(json_object_get(o, "protocol_name"));
    const json_t *msgs = json_object_get(o, "messages"), *m;
    size_t n = json_array_size(msgs);

    if (!v)
        return;
    if (!name)
        name = json_string_value(json_object_get(o, "name"));
    snprintf(v->name, sizeof v->name, "%s", name ? name : "");
    field(v, &v->init_static, o, "init_static");
    field(v, &v->resp_static, o, "resp_static");
    field(v, &v->init_eph, o, "init_ephemeral");
    field(v, &v->resp_eph, o, "resp_ephemeral");
    field(v, &v->init_prologue, o, "init_prologue");
    field(v, &v->resp_prologue, o, "resp_prologue");
    field(v, &v->init_remote, o, "init_remote_static");
    psk(v, &v->init_psk, o, "init_psks", "init_psk");
    psk(v, &v->resp_psk, o, "resp_psks", "resp_psk");
    v->bad |= n > MESSAGES;
    for (size_t i = 0; i < n && i < MESSAGES; i++) {
        m = json_array_get(msgs, i);
        field(v, &v->payload[i], m, "payload");
        field(v, &v->cipher[i], m, "ciphertext");
        v->bad |= !v->cipher[i].set;
        v->messages = (unsigned)i + 1;
    }
    check(v);
    free(v);
}

static bool run_json(FILE *f)
{
    json_error_t e;
    json_t *root = json_loadf(f, 0, &e), *v;
    size_t i;

    if (!root) {
        fprintf(stderr, "line %d: %s\n", e.line, e.text);
        return false;
    }
    json_array_foreach(json_object_get(root, "vectors"), i, v)
    {
        json_vector(v);
    }
    json_decref(root);
    return true;
}

static bool run_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    bool ok = true;
    int c;

    if (!f) {
        perror(path);
        return false;
    }
    do
        c = getc(f);
    while (c == ' ' || c == '\n' || c == '\r' || c == '\t');
    rewind(f);
    if (c == '{')
        ok = run_json(f);
    else
        run_text(f);
    fclose(f);
    return ok;
}

int main(int argc, char **argv)
{
    bool ok = true;

    if (argc < 2) {
        fprintf(stderr, "usage: noise_vectors FILE...\n");
        return 2;
    }
    if (sodium_init() < 0)
        return 2;
    for (int i = 1; i < argc; i++)
        ok &= run_file(argv[i]);
    printf("%u run, %u skipped (other protocols)\n", passed + failed, skipped);
    printf("noise_vectors: %u passed, %u failed\n", passed, failed);
    return ok && passed && !failed ? 0 : 1;
}
