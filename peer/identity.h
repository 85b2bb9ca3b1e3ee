/* Who this host is: its keys, its certificate, its domain; as files in the state folder.
 *
 *   key         the host's Ed25519 and X25519 secret keys (0600)
 *   cert        its certificate                        delegation   its right to admit, if it has one
 *   authority.pub  the domain's public key             authority    the domain's secret key, only
 *   authority.next, authority.old   around a rollover: peer/daemon_authority.c
 *   seeds       `key@address`, one a line               where `violin init` ran: may be moved off line
 *
 * Every file is written whole (a new file, fsync, rename, fsync of the folder). */
#ifndef PEER_IDENTITY_H
#define PEER_IDENTITY_H

#include "overlay/overlay.h"

#define IDENTITY_SEEDS 32

struct identity {
    struct vi_id id;
    uint8_t ed_pk[32], ed_sk[64], x_pk[32], x_sk[32];
    uint8_t authority[32]; /* the domain's public key */
    struct cert cert;
    bool has_delegation;
    struct cert_delegation delegation;
};

/* Makes new keys, in memory. */
void identity_generate(struct identity *me);

/* The keys that were left in the folder, without a certificate: for joining again as the same peer. 0,
 * VI_ENOTFOUND, VI_EIO (damaged). */
int identity_load_key(struct identity *me, const char *dir);

/* Reads what `save` wrote. 0; VI_ENOTFOUND: this host is in no domain yet; else why says what is
 * wrong with which file and what to do. */
int identity_load(struct identity *me, const char *dir, char *why, size_t cap);
/* Writes key, cert, delegation and authority.pub. Files belong to the folder's owner. */
int identity_save(const struct identity *me, const char *dir, char *why, size_t cap);
/* Is there an identity already? */
bool identity_exists(const char *dir);

/* One file of the state folder, whole and durable, mode 0600, owned by the folder's owner. */
int identity_write_file(const char *dir, const char *name, const void *data, size_t len, char *why,
                        size_t cap);
/* At most cap bytes; a longer file is VI_EFULL. Absent: VI_ENOTFOUND. */
int identity_read_file(const char *dir, const char *name, void *data, size_t cap, size_t *len);

/* Our own seed text, `key@address`, for others' configuration and for invitations. */
int identity_seed(const struct identity *me, const char *address, char out[SEED_TEXT]);

/* The seeds file: at most IDENTITY_SEEDS are read; lines that are none are skipped. */
unsigned identity_seeds(const char *dir, struct seed *seeds, unsigned max);

#endif
