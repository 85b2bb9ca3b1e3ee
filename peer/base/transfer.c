/* Encoding and signing of transfers. See transfer.h. */
#include "peer/base/transfer.h"

#include <sodium.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/base/wire.h"

#define SIG 64
static const char label[] = "violin guest transfer";

static void input(crypto_sign_state *st, const uint8_t *body, size_t len)
{
    crypto_sign_init(st);
    crypto_sign_update(st, (const uint8_t *)label, sizeof label);
    crypto_sign_update(st, body, len);
}

int transfer_sign(const struct transfer *t, const uint8_t sk[64], uint8_t *out, size_t cap)
{
    crypto_sign_state st;
    struct vi_writer w;
    if (t->n_macs > TRANSFER_MACS)
        return VI_EINVAL;
    vi_writer_init(&w, out, cap);
    vi_write_array(&w, 8);
    vi_write_uint(&w, 1);
    vi_write_id(&w, &t->handover);
    vi_write_id(&w, &t->guest);
    vi_write_id(&w, &t->env);
    vi_write_id(&w, &t->from);
    vi_write_id(&w, &t->to);
    vi_write_uint(&w, t->epoch);
    vi_write_bin(&w, t->macs, t->n_macs * 6U);
    if (w.err || cap - w.len < SIG)
        return VI_EFULL;
    input(&st, out, w.len);
    crypto_sign_final_create(&st, out + w.len, NULL, sk);
    return (int)(w.len + SIG);
}

int transfer_decode(struct transfer *t, const uint8_t *data, size_t len)
{
    struct vi_reader r;
    const uint8_t *macs;
    size_t n;
    memset(t, 0, sizeof *t);
    if (len <= SIG || len > TRANSFER_MAX)
        return VI_EPROTO;
    vi_reader_init(&r, data, len - SIG);
    if (vi_read_array(&r, 8) != 8)
        return VI_EPROTO;
    if (vi_read_uint(&r, 255) != 1)
        return r.err ? VI_EPROTO : VI_EVERSION;
    vi_read_id(&r, &t->handover);
    vi_read_id(&r, &t->guest);
    vi_read_id(&r, &t->env);
    vi_read_id(&r, &t->from);
    vi_read_id(&r, &t->to);
    t->epoch = vi_read_uint(&r, UINT64_MAX);
    macs = vi_read_bin(&r, sizeof t->macs, &n);
    if (vi_read_end(&r) || n % 6)
        return VI_EPROTO;
    t->n_macs = (unsigned)(n / 6);
    memcpy(t->macs, macs, n);
    return 0;
}

int transfer_verify(const uint8_t *data, size_t len, const uint8_t pk[32])
{
    crypto_sign_state st;
    if (len <= SIG)
        return VI_EAUTH;
    input(&st, data, len - SIG);
    return crypto_sign_final_verify(&st, data + len - SIG, pk) == 0 ? 0 : VI_EAUTH;
}
