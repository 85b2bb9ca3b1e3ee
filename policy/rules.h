/* Rules of an environment for where its guests may be: pure questions, answered from a list of rules and from where the
 * guests are, as far as is known. Whoever chooses a host asks: policy/move.c, policy/drain.c, policy/mend.c, the plan of
 * an environment's move, and the destination itself before it takes a guest in, for it knows its own guests best.
 *
 *   spread    no two of these guests on one host
 *   together  these guests on one host, where that is possible: a preference, never a reason to refuse
 *   pin       this guest on that host only
 *   never     this guest never on that host
 *
 * Guests are named by a tag, 8 bytes of a hash of the UUID: a rule of 16 guests fits beside a certificate. */
#ifndef POLICY_RULES_H
#define POLICY_RULES_H

#include "peer/base/id.h"

#define POLICY_RULE_GUESTS 16
#define POLICY_RULE_TAG    8
#define POLICY_RULE_TEXT   80

enum policy_rule_kind { POLICY_RULE_SPREAD = 1, POLICY_RULE_TOGETHER, POLICY_RULE_PIN, POLICY_RULE_NEVER };
const char *policy_rule_kind_text(enum policy_rule_kind k); /* "spread" … */

struct policy_rule {
    struct vi_id env;
    unsigned number; /* of the environment's rules: 1 … */
    enum policy_rule_kind kind;
    struct vi_id host; /* pin, never */
    unsigned n;
    uint8_t guest[POLICY_RULE_GUESTS][POLICY_RULE_TAG];
};

/* Where a guest is; one that is arriving somewhere is there already. */
struct policy_place {
    struct vi_id env, guest, host;
    uint8_t tag[POLICY_RULE_TAG];
    uint64_t epoch; /* of the guest: how often it moved. 0: not known */
};

struct policy_rules { /* borrowed */
    const struct policy_rule *rule;
    unsigned n;
    const struct policy_place *place;
    unsigned n_places;
};

void policy_rule_tag(const struct vi_id *guest, uint8_t tag[POLICY_RULE_TAG]);
bool policy_rule_names(const struct policy_rule *r, const uint8_t tag[POLICY_RULE_TAG]);

/* The rule that forbids the guest to be on that host; NULL: none. */
const struct policy_rule *policy_rule_against(const struct policy_rules *r, const struct vi_id *env,
                                              const uint8_t tag[POLICY_RULE_TAG], const struct vi_id *host);
/* The rule that pins the guest to that host; NULL: none. */
const struct policy_rule *policy_rule_pins(const struct policy_rules *r, const struct vi_id *env,
                                           const uint8_t tag[POLICY_RULE_TAG], const struct vi_id *host);
/* The rule that is broken by the guest's being where it is, and that its leaving would mend; NULL: none. *to: the only
 * host that mends it, or zero: any that no rule forbids. For `together` that is the host that has most of the rule's
 * guests, of several the one with the lowest id, so that two guests never change places. */
const struct policy_rule *policy_rule_broken(const struct policy_rules *r, const struct vi_id *env,
                                             const uint8_t tag[POLICY_RULE_TAG], const struct vi_id *host,
                                             struct vi_id *to);
/* How many of the guests that it should be together with are on that host. */
unsigned policy_rule_companions(const struct policy_rules *r, const struct vi_id *env,
                                const uint8_t tag[POLICY_RULE_TAG], const struct vi_id *host);
/* "rule 3 (spread: another of its guests is there)", for `why it isn't there`. Returns out. */
const char *policy_rule_text(const struct policy_rule *r, char out[POLICY_RULE_TEXT]);
/* Are these two ruled apart? For plans that place several guests at once. */
const struct policy_rule *policy_rule_apart(const struct policy_rules *r, const struct vi_id *env,
                                            const uint8_t a[POLICY_RULE_TAG], const uint8_t b[POLICY_RULE_TAG]);

#endif
