/* Where the guests of an environment may be. See rules.h. */
#include "policy/rules.h"

#include <stdio.h>
#include <string.h>

#define MENTIONS (4 * POLICY_RULE_GUESTS) /* of a rule's guests: on its way one is heard of in two places */

const char *policy_rule_kind_text(enum policy_rule_kind k)
{
    static const char *const text[] = {"?", "spread", "together", "pin", "never"};
    return (unsigned)k < sizeof text / sizeof *text ? text[k] : "?";
}

void policy_rule_tag(const struct vi_id *guest, uint8_t tag[POLICY_RULE_TAG])
{
    struct vi_id h;
    vi_id_hash(&h, "violin guest of a rule", guest->b, sizeof guest->b, NULL, 0);
    memcpy(tag, h.b, POLICY_RULE_TAG);
}

bool policy_rule_names(const struct policy_rule *r, const uint8_t tag[POLICY_RULE_TAG])
{
    for (unsigned i = 0; i < r->n; i++)
        if (!memcmp(r->guest[i], tag, POLICY_RULE_TAG))
            return true;
    return false;
}

static bool concerns(const struct policy_rule *r, const struct vi_id *env, const uint8_t tag[POLICY_RULE_TAG])
{
    return vi_id_equal(&r->env, env) && policy_rule_names(r, tag);
}

/* Guests of the rule on that host, without this one. */
static unsigned others_there(const struct policy_rules *r, const struct policy_rule *rule,
                             const uint8_t tag[POLICY_RULE_TAG], const struct vi_id *host)
{
    unsigned n = 0;
    for (unsigned i = 0; i < r->n_places; i++) {
        const struct policy_place *p = &r->place[i];
        n += vi_id_equal(&p->host, host) && vi_id_equal(&p->env, &rule->env) &&
             memcmp(p->tag, tag, POLICY_RULE_TAG) != 0 && policy_rule_names(rule, p->tag);
    }
    return n;
}

static bool forbids(const struct policy_rules *r, const struct policy_rule *rule, const uint8_t tag[POLICY_RULE_TAG],
                    const struct vi_id *host)
{
    switch (rule->kind) {
    case POLICY_RULE_SPREAD: return others_there(r, rule, tag, host) > 0;
    case POLICY_RULE_PIN: return !vi_id_equal(&rule->host, host);
    case POLICY_RULE_NEVER: return vi_id_equal(&rule->host, host);
    default: return false;
    }
}

const struct policy_rule *policy_rule_against(const struct policy_rules *r, const struct vi_id *env,
                                              const uint8_t tag[POLICY_RULE_TAG], const struct vi_id *host)
{
    for (unsigned i = 0; i < r->n; i++)
        if (concerns(&r->rule[i], env, tag) && forbids(r, &r->rule[i], tag, host))
            return &r->rule[i];
    return NULL;
}

const struct policy_rule *policy_rule_pins(const struct policy_rules *r, const struct vi_id *env,
                                           const uint8_t tag[POLICY_RULE_TAG], const struct vi_id *host)
{
    for (unsigned i = 0; i < r->n; i++)
        if (r->rule[i].kind == POLICY_RULE_PIN && vi_id_equal(&r->rule[i].host, host) && concerns(&r->rule[i], env, tag))
            return &r->rule[i];
    return NULL;
}

/* The host with most of the rule's guests, of several the one with the lowest id. False: none is anywhere. */
static bool gathering_place(const struct policy_rules *r, const struct policy_rule *rule, struct vi_id *out)
{
    const struct vi_id *at[MENTIONS];
    unsigned n = 0, most = 0;
    for (unsigned i = 0; i < r->n_places && n < MENTIONS; i++) {
        const struct policy_place *p = &r->place[i];
        if (vi_id_equal(&p->env, &rule->env) && policy_rule_names(rule, p->tag))
            at[n++] = &p->host;
    }
    for (unsigned i = 0; i < n; i++) {
        unsigned there = 0;
        for (unsigned k = 0; k < n; k++)
            there += vi_id_equal(at[k], at[i]);
        if (there > most || (there == most && vi_id_compare(at[i], out) < 0)) {
            most = there;
            *out = *at[i];
        }
    }
    return most > 0;
}

const struct policy_rule *policy_rule_broken(const struct policy_rules *r, const struct vi_id *env,
                                             const uint8_t tag[POLICY_RULE_TAG], const struct vi_id *host,
                                             struct vi_id *to)
{
    const struct policy_rule *rule = policy_rule_against(r, env, tag, host);
    memset(to, 0, sizeof *to);
    if (rule) {
        for (unsigned i = 0; i < r->n; i++)
            if (r->rule[i].kind == POLICY_RULE_PIN && concerns(&r->rule[i], env, tag))
                *to = r->rule[i].host;
        return rule;
    }
    for (unsigned i = 0; i < r->n; i++) {
        struct vi_id there;
        rule = &r->rule[i];
        if (rule->kind != POLICY_RULE_TOGETHER || !concerns(rule, env, tag) || !gathering_place(r, rule, &there) ||
            vi_id_equal(&there, host) || policy_rule_against(r, env, tag, &there))
            continue;
        *to = there;
        return rule;
    }
    return NULL;
}

unsigned policy_rule_companions(const struct policy_rules *r, const struct vi_id *env,
                                const uint8_t tag[POLICY_RULE_TAG], const struct vi_id *host)
{
    unsigned n = 0;
    for (unsigned i = 0; i < r->n; i++)
        if (r->rule[i].kind == POLICY_RULE_TOGETHER && concerns(&r->rule[i], env, tag))
            n += others_there(r, &r->rule[i], tag, host);
    return n;
}

const struct policy_rule *policy_rule_apart(const struct policy_rules *r, const struct vi_id *env,
                                            const uint8_t a[POLICY_RULE_TAG], const uint8_t b[POLICY_RULE_TAG])
{
    for (unsigned i = 0; i < r->n; i++)
        if (r->rule[i].kind == POLICY_RULE_SPREAD && concerns(&r->rule[i], env, a) && policy_rule_names(&r->rule[i], b))
            return &r->rule[i];
    return NULL;
}

const char *policy_rule_text(const struct policy_rule *r, char out[POLICY_RULE_TEXT])
{
    static const char *const why[] = {
        [POLICY_RULE_SPREAD] = "another of its guests is there", [POLICY_RULE_TOGETHER] = "others of its guests are elsewhere",
        [POLICY_RULE_PIN] = "it has its place on one host only", [POLICY_RULE_NEVER] = "it may not be there"};
    snprintf(out, POLICY_RULE_TEXT, "rule %u (%s: %s)", r->number, policy_rule_kind_text(r->kind),
             (unsigned)r->kind < sizeof why / sizeof *why && why[r->kind] ? why[r->kind] : "?");
    return out;
}
