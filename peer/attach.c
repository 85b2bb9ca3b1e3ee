/* A LAN that is bridged into an environment. See attach.h. */
#include "peer/attach.h"

#include <sodium.h>
#include <string.h>

#include "overlay/overlay.h"

#define VERSION 1
#define SIG     64
#define BODY    (ATTACH_FRAME - SIG)

_Static_assert(ATTACH_TYPE == FORWARD_BEACON_TYPE, "the switch knows beacons");
_Static_assert(BODY == 14 + FORWARD_BEACON_MAGIC + 1 + 16 + 16 + 8 + 8, "a beacon's fields");

static const char label[] = "violin attached";

static void put64(uint8_t *p, uint64_t v)
{
    for (unsigned i = 0; i < 8; i++)
        p[i] = (uint8_t)(v >> (56 - 8 * i));
}

static uint64_t get64(const uint8_t *p)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < 8; i++)
        v = v << 8 | p[i];
    return v;
}

static void input(crypto_sign_state *st, const uint8_t *frame)
{
    crypto_sign_init(st);
    crypto_sign_update(st, (const uint8_t *)label, sizeof label);
    crypto_sign_update(st, frame, BODY);
}

void attach_beacon_encode(const struct attach_beacon *b, const uint8_t sk[64], uint8_t out[ATTACH_FRAME])
{
    crypto_sign_state st;
    uint8_t *p = out;
    memset(p, 0xff, 6);
    p[6] = 2; /* a local MAC, of this host's own */
    memcpy(p + 7, b->host.b, 5);
    p[12] = ATTACH_TYPE >> 8;
    p[13] = ATTACH_TYPE & 255;
    memcpy(p + 14, FORWARD_BEACON_TEXT, FORWARD_BEACON_MAGIC);
    p += 14 + FORWARD_BEACON_MAGIC;
    *p++ = VERSION;
    memcpy(p, b->env.b, 16);
    memcpy(p + 16, b->host.b, 16);
    put64(p + 32, b->rank);
    put64(p + 40, b->count);
    input(&st, out);
    crypto_sign_final_create(&st, out + BODY, NULL, sk);
}

bool attach_beacon_decode(struct attach_beacon *b, const uint8_t *frame, size_t len)
{
    const uint8_t *p = frame + 14 + FORWARD_BEACON_MAGIC;
    if (len != ATTACH_FRAME || frame[12] != ATTACH_TYPE >> 8 || frame[13] != (ATTACH_TYPE & 255) ||
        memcmp(frame + 14, FORWARD_BEACON_TEXT, FORWARD_BEACON_MAGIC) != 0 || p[0] != VERSION)
        return false;
    memcpy(b->env.b, p + 1, 16);
    memcpy(b->host.b, p + 17, 16);
    b->rank = get64(p + 33);
    b->count = get64(p + 41);
    return true;
}

bool attach_beacon_verify(const uint8_t frame[ATTACH_FRAME], const uint8_t pk[32])
{
    crypto_sign_state st;
    input(&st, frame);
    return crypto_sign_final_verify(&st, frame + BODY, pk) == 0;
}

/* ---- the state ---- */

void attach_begin(struct attach *a, const struct vi_id *self, uint64_t rank, bool on, vi_time now)
{
    memset(a, 0, sizeof *a);
    a->self = *self;
    a->rank = rank;
    a->state = on ? ATTACH_ON : ATTACH_LISTENING;
    a->until = now + ATTACH_LISTEN;
    a->next = now;
}

void attach_heard(struct attach *a, vi_time now, const struct attach_beacon *b)
{
    bool older = b->rank < a->rank || (b->rank == a->rank && vi_id_compare(&b->host, &a->self) < 0);
    bool same = vi_id_equal(&b->host, &a->by);
    if (vi_id_equal(&b->host, &a->self) || !older || (same && b->count <= a->by_count))
        return; /* our own; one that gives way to us; one that somebody repeats */
    a->by = b->host;
    a->by_count = b->count;
    a->state = ATTACH_HELD;
    a->until = now + ATTACH_HOLD;
}

bool attach_tick(struct attach *a, vi_time now)
{
    if (a->state != ATTACH_ON && now >= a->until) {
        a->state = ATTACH_ON;
        a->next = now;
    }
    if (a->state != ATTACH_ON || now < a->next)
        return false;
    a->next = now + ATTACH_EVERY;
    return true;
}

vi_time attach_deadline(const struct attach *a)
{
    return a->state == ATTACH_ON ? a->next : a->until;
}
