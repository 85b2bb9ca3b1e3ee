/* Invitations, seeds, and what a joiner and its inviter say to each other.
 *
 * An invitation is a line of text: "violin1-" and base64url of a msgpack array and a checksum. It
 * holds a secret: who has it may join, as often as the inviter counts.
 * A seed is "KEY@ADDRESS": KEY is base64url of the Ed25519 and the X25519 public key. */
#ifndef OVERLAY_TOKEN_H
#define OVERLAY_TOKEN_H

#include "overlay/cert.h"

#define TOKEN_PREFIX   "violin1-"
#define TOKEN_TEXT     1025 /* characters at most, with NUL */
#define TOKEN_SEEDS    4
#define TOKEN_SECRET   32
#define SEED_ADDR_MAX  63   /* "host:port", "1.2.3.4:port" or "[v6]:port" */
#define SEED_TEXT      (86 + 1 + SEED_ADDR_MAX + 1)

struct seed {
    uint8_t ed[CERT_KEY], x[CERT_KEY];
    char addr[SEED_ADDR_MAX + 1]; /* not resolved */
};

struct token {
    struct vi_id id;
    char domain[CERT_NAME_MAX + 1];
    uint8_t authority[CERT_KEY]; /* the domain's Ed25519 public key */
    uint8_t secret[TOKEN_SECRET];
    vi_time expires; /* wall clock, µs since 1970 */
    unsigned seeds;  /* 1 to TOKEN_SEEDS; the first is the inviter */
    struct seed seed[TOKEN_SEEDS];
};

/* 0 or VI_EINVAL (a name, address or count out of range). */
int token_encode(const struct token *t, char out[TOKEN_TEXT]);
/* 0, VI_EVERSION (of a later violin), VI_EPROTO (no token, or mistyped). *why, when not NULL, is a
 * phrase for people, static. Expiry isn't judged. White space around the text is allowed. */
int token_decode(struct token *t, const char *text, const char **why);

int seed_format(const struct seed *s, char out[SEED_TEXT]);
int seed_parse(struct seed *s, const char *text); /* 0 or VI_EPROTO */

#define JOIN_MAX 1024 /* encoded request or answer, at most */

/* What a joiner asks, signed with the new host's Ed25519 key. */
struct join_request {
    struct vi_id token;
    uint8_t ed[CERT_KEY], x[CERT_KEY];
    char host[CERT_NAME_MAX + 1];
};
/* What the inviter answers. */
struct join_answer {
    int err;         /* 0, or an enum vi_err: VI_EEXPIRED, VI_EREFUSED (used up), VI_EEXIST, … */
    char why[128];   /* for people */
    struct cert cert; /* when err is 0 */
};

int join_request_encode(const struct join_request *r, const uint8_t secret[64], uint8_t *out,
                        size_t cap, size_t *len);
/* 0, VI_EPROTO, or VI_EAUTH when the signature isn't that of r->ed. The caller also compares r->x
 * with the key that the admission session authenticated. */
int join_request_decode(struct join_request *r, const uint8_t *data, size_t len);
int join_answer_encode(const struct join_answer *a, uint8_t *out, size_t cap, size_t *len);
int join_answer_decode(struct join_answer *a, const uint8_t *data, size_t len);

#endif
