/* Datagrams of the gossip: bytes to fields and back; little-endian, bounded, nothing allocated.
 *
 * A datagram is version, type, the type's body, then items to the end: members' own words,
 * accusations. README.md has them as a table. After the first error a cursor stays bad and gives
 * zeros; an output that is full stays full and its length is what fitted before. */
#ifndef GOSSIP_CODEC_H
#define GOSSIP_CODEC_H

#include "gossip/gossip.h"

#define GSP_ACCUSERS 9 /* the first and 8 independent confirmations */
#define GSP_PREFIX   8 /* bytes of an id that tell members apart in lists */

enum gsp_type {
    GSP_PING = 1, GSP_ACK, GSP_NACK, GSP_PING_REQ, GSP_GOSSIP, GSP_JOIN, GSP_HASH, GSP_BUCKETS,
    GSP_LIST, GSP_PULL, GSP_DIGEST, GSP_VALUES, GSP_WANT
};

/* _LONG: as versions before 0.2 wrote them, with whole ids; still read, so that a domain is upgraded host
 * by host. Those versions skip ours, and find out by their own probes. */
enum gsp_item { GSP_WORD = 1, GSP_FULL, GSP_ACCUSE_LONG, GSP_DEATH_LONG, GSP_ACCUSE, GSP_DEATH };

struct gsp_out {
    uint8_t *p;
    size_t len, cap;
    bool full;
};

struct gsp_cur {
    const uint8_t *p, *end;
    bool bad;
};

/* What a member says and signs about itself. */
struct gsp_statement {
    struct vi_id id;
    uint64_t incarnation;
    bool left;
    struct gossip_addr addr;
    uint8_t name_len, meta_len;
    char name[GOSSIP_NAME_MAX];
    uint8_t meta[GOSSIP_META_MAX];
    uint32_t cert_tag; /* which certificate is the present one */
};
#define GSP_STATEMENT_MAX (16 + 8 + 1 + 1 + GOSSIP_ADDR_MAX + 1 + GOSSIP_NAME_MAX + 1 + GOSSIP_META_MAX + 4)

/* There are many of these while something is wrong, so ids are cut to GSP_PREFIX bytes, and the
 * incarnation takes as few bytes as it needs (LEB128). */
struct gsp_accusation {
    bool death;
    uint8_t id[GSP_PREFIX];
    uint64_t incarnation;
    unsigned n; /* 1 … GSP_ACCUSERS */
    uint8_t accusers[GSP_ACCUSERS][GSP_PREFIX];
};

/* An item as it lies in the datagram. */
struct gsp_read_item {
    enum gsp_item kind;
    struct gsp_statement st;      /* WORD, FULL */
    const uint8_t *signed_bytes;  /*   the statement as signed */
    size_t signed_len;
    const uint8_t *sig;
    const uint8_t *key, *cert;    /* FULL */
    size_t cert_len;
    struct gsp_accusation ac;     /* ACCUSE, DEATH */
};

void gsp_out_init(struct gsp_out *o, uint8_t *p, size_t cap);
void gsp_put_u8(struct gsp_out *o, uint8_t v);
void gsp_put_u16(struct gsp_out *o, uint16_t v);
void gsp_put_u32(struct gsp_out *o, uint32_t v);
void gsp_put_u64(struct gsp_out *o, uint64_t v);
void gsp_put(struct gsp_out *o, const void *p, size_t len);

void gsp_cur_init(struct gsp_cur *c, const void *p, size_t len);
size_t gsp_left(const struct gsp_cur *c);
uint8_t gsp_get_u8(struct gsp_cur *c);
uint16_t gsp_get_u16(struct gsp_cur *c);
uint32_t gsp_get_u32(struct gsp_cur *c);
uint64_t gsp_get_u64(struct gsp_cur *c);
void gsp_put_leb(struct gsp_out *o, uint64_t v);
uint64_t gsp_get_leb(struct gsp_cur *c); /* only the shortest form is taken */
/* Points into the datagram; NULL if there is less. */
const uint8_t *gsp_get(struct gsp_cur *c, size_t len);
void gsp_get_id(struct gsp_cur *c, struct vi_id *id);

void gsp_put_statement(struct gsp_out *o, const struct gsp_statement *s);
void gsp_get_statement(struct gsp_cur *c, struct gsp_statement *s);

/* Each writes an item whole or (false) not at all. */
bool gsp_put_word(struct gsp_out *o, const struct gsp_statement *s, const uint8_t sig[GOSSIP_SIG]);
bool gsp_put_full(struct gsp_out *o, const struct gsp_statement *s, const uint8_t sig[GOSSIP_SIG],
                  const uint8_t key[GOSSIP_KEY], const uint8_t *cert, size_t cert_len);
bool gsp_put_accusation(struct gsp_out *o, const struct gsp_accusation *a);
/* The next item; false at the end, or at what can't be read (c->bad). */
bool gsp_get_item(struct gsp_cur *c, struct gsp_read_item *it);

#endif
