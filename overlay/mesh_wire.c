#include "overlay/mesh_internal.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/base/wire.h"

void mesh_put32(uint8_t *p, uint32_t v)
{
    for (unsigned i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> 8 * i);
}

void mesh_put64(uint8_t *p, uint64_t v)
{
    for (unsigned i = 0; i < 8; i++)
        p[i] = (uint8_t)(v >> 8 * i);
}

uint32_t mesh_get32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

uint64_t mesh_get64(const uint8_t *p)
{
    return mesh_get32(p) | (uint64_t)mesh_get32(p + 4) << 32;
}

void mesh_header_write(uint8_t out[MESH_HEADER], const struct mesh_header *h)
{
    out[0] = h->type;
    out[1] = 0;
    out[2] = (uint8_t)h->queue;
    out[3] = (uint8_t)(h->queue >> 8);
    mesh_put32(out + 4, h->receiver);
    mesh_put64(out + 8, h->counter);
}

int mesh_header_read(struct mesh_header *h, const uint8_t *data, size_t len)
{
    if (len < MESH_OVERHEAD || data[1] != 0 ||
        (data[0] != MESH_CONTROL && data[0] != MESH_DATA && data[0] != MESH_RELAY))
        return VI_EPROTO;
    h->type = data[0];
    h->queue = (uint16_t)(data[2] | data[3] << 8);
    h->receiver = mesh_get32(data + 4);
    h->counter = mesh_get64(data + 8);
    return 0;
}

/* RFC 6479: whole words are cleared as the window moves; one word more than the window's size. */
#define WORDS (MESH_WINDOW / 64 + 1)

bool mesh_window_fresh(const struct mesh_window *w, uint64_t n)
{
    if (n >= w->next)
        return n != UINT64_MAX;
    if (w->next - n > MESH_WINDOW)
        return false;
    return !(w->bits[n / 64 % WORDS] >> n % 64 & 1);
}

bool mesh_window_mark(struct mesh_window *w, uint64_t n)
{
    uint64_t word, top;

    if (!mesh_window_fresh(w, n))
        return false;
    if (n >= w->next) {
        word = n / 64;
        top = w->next ? (w->next - 1) / 64 : 0;
        for (uint64_t i = 0; i < word - top && i < WORDS; i++)
            w->bits[(word - i) % WORDS] = 0;
        w->next = n + 1;
    }
    w->bits[n / 64 % WORDS] |= UINT64_C(1) << n % 64;
    return true;
}

void mesh_queue_key(const uint8_t base[NOISE_HASH], enum noise_cipher c, uint16_t queue,
                    uint8_t key[NOISE_KEY])
{
    uint8_t label[15] = "violin queue", one[NOISE_HASH], two[NOISE_HASH];

    label[12] = (uint8_t)c;
    label[13] = (uint8_t)queue;
    label[14] = (uint8_t)(queue >> 8);
    noise_hkdf(base, label, sizeof label, 2, one, two, NULL);
    memcpy(key, one, NOISE_KEY);
    sodium_memzero(one, sizeof one);
    sodium_memzero(two, sizeof two);
}

void mesh_label_key(const char *label, const uint8_t x[32], uint8_t key[32])
{
    crypto_generichash_state st;

    crypto_generichash_init(&st, NULL, 0, 32);
    crypto_generichash_update(&st, (const uint8_t *)label, strlen(label));
    crypto_generichash_update(&st, x, 32);
    crypto_generichash_final(&st, key, 32);
}

void mesh_mac(const void *data, size_t len, const uint8_t *key, size_t key_len,
              uint8_t out[MESH_MAC])
{
    crypto_generichash(out, MESH_MAC, data, len, key, key_len);
}

bool mesh_mac_ok(const void *data, size_t len, const uint8_t *key, size_t key_len,
                 const uint8_t *mac)
{
    uint8_t good[MESH_MAC];

    mesh_mac(data, len, key, key_len, good);
    return !sodium_memcmp(good, mac, MESH_MAC);
}

/* Two bytes of length, msgpack, zeros. */
int mesh_hello_write(const struct mesh_hello *h, bool pad, uint8_t *out, size_t cap, size_t *len)
{
    uint8_t c[CERT_MAX];
    struct vi_writer w;
    size_t n = 0;

    if (h->cert && cert_encode(h->cert, c, sizeof c, &n))
        return VI_EINVAL;
    vi_writer_init(&w, out + 2, cap - 2);
    vi_write_array(&w, 8);
    vi_write_uint(&w, h->counter);
    vi_write_uint(&w, h->oldest);
    vi_write_uint(&w, h->newest);
    vi_write_uint(&w, h->ciphers);
    vi_write_uint(&w, h->queues);
    vi_write_uint(&w, h->index);
    vi_write_int(&w, h->err);
    vi_write_bin(&w, c, n);
    if (w.err)
        return VI_EFULL;
    out[0] = (uint8_t)w.len;
    out[1] = (uint8_t)(w.len >> 8);
    *len = w.len + 2;
    if (pad) {
        memset(out + *len, 0, cap - *len);
        *len = cap;
    }
    return 0;
}

int mesh_hello_read(struct mesh_hello *h, const uint8_t *data, size_t len)
{
    struct vi_reader r;
    size_t n;

    memset(h, 0, sizeof *h);
    if (len < 2)
        return VI_EPROTO;
    n = (size_t)(data[0] | data[1] << 8);
    if (n > len - 2)
        return VI_EPROTO;
    vi_reader_init(&r, data + 2, n);
    if (vi_read_array(&r, 8) != 8)
        return VI_EPROTO;
    h->counter = vi_read_uint(&r, INT64_MAX);
    h->oldest = (unsigned)vi_read_uint(&r, 255);
    h->newest = (unsigned)vi_read_uint(&r, 255);
    h->ciphers = (unsigned)vi_read_uint(&r, 255);
    h->queues = (uint16_t)vi_read_uint(&r, MESH_QUEUES);
    h->index = (uint32_t)vi_read_uint(&r, UINT32_MAX);
    h->err = (int)vi_read_int(&r, -1000, 0);
    h->cert_bytes = vi_read_bin(&r, CERT_MAX, &h->cert_len);
    if (vi_read_end(&r))
        return VI_EPROTO;
    if (h->newest < MESH_WIRE_OLDEST || h->oldest > MESH_WIRE)
        return VI_EVERSION;
    if (!h->err && (!h->queues || !(h->ciphers & (1U << NOISE_CHACHAPOLY | 1U << NOISE_AESGCM))))
        return VI_EPROTO;
    return 0;
}

enum noise_cipher mesh_cipher_choose(unsigned ours, unsigned theirs)
{
    return ours & theirs & 1U << NOISE_AESGCM ? NOISE_AESGCM : NOISE_CHACHAPOLY;
}

int mesh_cert_check(const struct mesh_config *cfg, const struct mesh_trust *trust, unsigned trusts,
                    const uint8_t *data, size_t len, const uint8_t *x, vi_time wall, struct cert *c,
                    struct vi_id *id)
{
    int err = cert_decode(c, data, len);

    if (err)
        return err;
    if (sodium_memcmp(c->x, x, CERT_KEY))
        return VI_EAUTH;
    err = VI_EAUTH;
    for (unsigned i = 0; i < trusts; i++) {
        if (strcmp(trust[i].domain, c->domain))
            continue;
        err = cert_verify(c, trust[i].authority, wall);
        if (err != VI_EAUTH)
            break;
    }
    cert_peer_id(id, c->ed);
    if (err == VI_EAUTH && cfg->vouch && cfg->vouch(cfg->arg, id, c, wall))
        err = 0;
    if (err)
        return err;
    if (cfg->refuse && cfg->refuse(cfg->arg, id, c))
        return VI_EREFUSED;
    return 0;
}

/* ---- addresses ---------------------------------------------------------------------------------- */

bool mesh_addr_equal(const struct mesh_addr *a, const struct mesh_addr *b)
{
    return a->family == b->family && a->port == b->port && !memcmp(a->ip, b->ip, sizeof a->ip) &&
           (a->family != MESH_VIA || vi_id_equal(&a->to, &b->to));
}

/* RFC 5952: the longest run of at least two zero groups becomes "::", the first of equals. */
static int v6_text(const uint8_t ip[16], char *out, size_t cap)
{
    unsigned g[8], at = 8, run = 1, n;
    int len = 0;

    for (unsigned i = 0; i < 8; i++)
        g[i] = (unsigned)(ip[2 * i] << 8 | ip[2 * i + 1]);
    for (unsigned i = 0; i < 8; i++) {
        for (n = 0; i + n < 8 && !g[i + n]; n++)
            ;
        if (n > run) {
            run = n;
            at = i;
        }
    }
    for (unsigned i = 0; i < 8; i++) {
        if (i == at) {
            len += snprintf(out + len, cap - (size_t)len, "::");
            i += run - 1;
        } else {
            len += snprintf(out + len, cap - (size_t)len, "%s%x", i && i != at + run ? ":" : "",
                            g[i]);
        }
    }
    return len;
}

char *mesh_addr_format(const struct mesh_addr *a, char out[MESH_ADDR_TEXT])
{
    char v6[48];

    if (a->family == 4) {
        snprintf(out, MESH_ADDR_TEXT, "%u.%u.%u.%u:%u", a->ip[0], a->ip[1], a->ip[2], a->ip[3],
                 a->port);
    } else if (a->family == 6) {
        v6_text(a->ip, v6, sizeof v6);
        snprintf(out, MESH_ADDR_TEXT, "[%s]:%u", v6, a->port);
    } else if (a->family == MESH_VIA) {
        snprintf(out, MESH_ADDR_TEXT, "via %02x%02x%02x%02x", a->ip[0], a->ip[1], a->ip[2], a->ip[3]);
    } else {
        strcpy(out, "-");
    }
    return out;
}

/* Up to max digits of the base; -1 when there are none or the value is above most. */
static long number(const char **s, int base, unsigned max, long most)
{
    long v = 0;
    unsigned n = 0;
    int d;

    for (; n < max; n++, (*s)++) {
        char c = **s;

        d = c >= '0' && c <= '9'                ? c - '0'
            : base == 16 && c >= 'a' && c <= 'f' ? c - 'a' + 10
            : base == 16 && c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                 : -1;
        if (d < 0)
            break;
        v = v * base + d;
    }
    return n && v <= most ? v : -1;
}

static int parse_v4(uint8_t *ip, const char **s)
{
    for (unsigned i = 0; i < 4; i++) {
        long v;

        if (i && *(*s)++ != '.')
            return VI_EINVAL;
        v = number(s, 10, 3, 255);
        if (v < 0)
            return VI_EINVAL;
        ip[i] = (uint8_t)v;
    }
    return 0;
}

static int parse_v6(uint8_t ip[16], const char **s)
{
    uint8_t head[16] = {0}, tail[16] = {0};
    unsigned nh = 0, nt = 0;
    bool gap = false;

    if ((*s)[0] == ':' && (*s)[1] == ':') {
        gap = true;
        *s += 2;
    }
    while (**s != ']' && nh + nt < 8) {
        long v = number(s, 16, 4, 0xffff);
        uint8_t *to = gap ? tail + 2 * nt++ : head + 2 * nh++;

        if (v < 0)
            return VI_EINVAL;
        to[0] = (uint8_t)(v >> 8);
        to[1] = (uint8_t)v;
        if ((*s)[0] == ':' && (*s)[1] == ':' && !gap) {
            gap = true;
            *s += 2;
        } else if (**s == ':' && (*s)[1] != ']') {
            (*s)++;
        } else {
            break;
        }
    }
    if (**s != ']' || (gap ? nh + nt > 7 : nh != 8))
        return VI_EINVAL;
    memcpy(ip, head, 2 * nh);
    memcpy(ip + 16 - 2 * nt, tail, 2 * nt);
    return 0;
}

int mesh_addr_parse(struct mesh_addr *a, const char *text)
{
    bool v6 = *text == '[';
    long port;
    int err;

    memset(a, 0, sizeof *a);
    if (v6) {
        text++;
        err = parse_v6(a->ip, &text);
        if (!err && *text++ != ']')
            err = VI_EINVAL;
    } else {
        err = parse_v4(a->ip, &text);
    }
    if (!err && *text++ != ':')
        err = VI_EINVAL;
    port = err ? -1 : number(&text, 10, 5, 65535);
    if (port <= 0 || *text) {
        memset(a, 0, sizeof *a);
        return VI_EINVAL;
    }
    a->port = (uint16_t)port;
    a->family = v6 ? 6 : 4;
    return 0;
}

/* ---- path messages ------------------------------------------------------------------------------- */

static uint8_t *put_addr(uint8_t *p, const struct mesh_addr *a)
{
    bool direct = mesh_direct(a);

    *p++ = direct ? a->family : 0;
    *p++ = direct ? (uint8_t)(a->port >> 8) : 0;
    *p++ = direct ? (uint8_t)a->port : 0;
    if (direct)
        memcpy(p, a->ip, 16);
    else
        memset(p, 0, 16);
    return p + 16;
}

size_t mesh_path_write(const struct mesh_path_msg *msg, uint8_t out[MESH_PATH_MAX])
{
    uint8_t *p = out;

    *p++ = MESH_CHANNEL_PATH;
    *p++ = (uint8_t)msg->kind;
    switch (msg->kind) {
    case MESH_PROBE:
    case MESH_ACK:
        *p++ = msg->flags;
        mesh_put64(p, msg->nonce);
        p += 8;
        if (msg->kind == MESH_ACK)
            p = put_addr(p, &msg->addr);
        break;
    case MESH_MEET:
    case MESH_SEEN:
    case MESH_REFUSED:
        memcpy(p, msg->peer.b, VI_ID_SIZE);
        p += VI_ID_SIZE;
        if (msg->kind == MESH_REFUSED)
            *p++ = msg->flags;
        break;
    }
    if (msg->kind == MESH_SEEN)
        p = put_addr(p, &msg->addr);
    return (size_t)(p - out);
}

static bool take_addr(struct mesh_addr *a, const uint8_t *p)
{
    static const uint8_t zero[12];

    a->family = p[0];
    a->port = (uint16_t)(p[1] << 8 | p[2]);
    memcpy(a->ip, p + 3, 16);
    if (a->family == 4)
        return a->port && !memcmp(p + 7, zero, 12);
    return a->family == 6 ? a->port != 0 : a->family == 0;
}

/* Longer messages are a later version's: what is behind is skipped. */
int mesh_path_read(struct mesh_path_msg *msg, const uint8_t *data, size_t len)
{
    static const uint8_t least[] = {[MESH_PROBE] = 10, [MESH_ACK] = 29, [MESH_MEET] = 17,
                                    [MESH_SEEN] = 36, [MESH_REFUSED] = 18};

    memset(msg, 0, sizeof *msg);
    if (!len || data[0] < MESH_PROBE || data[0] > MESH_REFUSED || len < least[data[0]])
        return VI_EPROTO;
    msg->kind = data[0];
    if (msg->kind == MESH_PROBE || msg->kind == MESH_ACK) {
        msg->flags = data[1];
        msg->nonce = mesh_get64(data + 2);
        if (!msg->nonce || (msg->kind == MESH_ACK && !take_addr(&msg->addr, data + 10)))
            return VI_EPROTO;
        return 0;
    }
    memcpy(msg->peer.b, data + 1, VI_ID_SIZE);
    if (msg->kind == MESH_REFUSED)
        msg->flags = data[17];
    if (msg->kind == MESH_SEEN && (!take_addr(&msg->addr, data + 17) || !msg->addr.family))
        return VI_EPROTO;
    return 0;
}
